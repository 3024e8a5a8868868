"""Frames to an H.264 film that every browser and phone plays, through PyAV (extra `video`; no ffmpeg needed)."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from gantrol.atomic import atomic_file
from gantrol.errors import ConfigError, DataError, require_extra
from gantrol.pictures import Enlargement, enlarge, enlargement_factor, opaque, to_pil


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    *,
    fps: int = 60,
    min_side_px: int = 256,
    enlargement: Enlargement = "lanczos",
    crf: int = 16,
) -> int:
    """Writes frames as they come to an mp4 (H.264, yuv420p); memory does not grow with the length.

    Small pictures are enlarged by a whole factor, which is made even where a side is odd: H.264 with halved
    colour resolution has even sides only, and 32-pixel films are not worth watching.

    Args:
        path: ends in .mp4; written atomically.
        frames: uint8 [H, W, C] with C = 1 or 3, all of one size.
        fps: frames per second.
        min_side_px: the shorter side is brought near this, unless it is longer anyway.
        enlargement: "lanczos" smooths, "nearest" shows the pixels.
        crf: quality, 0 (lossless) to 51; 16 is visually lossless.

    Returns:
        The number of frames written.

    Raises:
        ConfigError: the name, rate or a frame's size does not fit, or there is no frame.
        DataError: the file cannot be written.
        MissingExtraError: PyAV is not installed.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise ConfigError(f"{path.name}: films are written as .mp4; choose this ending")
    if fps < 1:
        raise ConfigError(f"fps={fps}: expected at least 1 frame per second")
    av = require_extra("av", "video")
    count = 0
    # Faststart puts the index first, so that the film plays while it is still loading.
    with (
        atomic_file(path, DataError) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as container,
    ):
        stream = None
        for frame in frames:
            picture = opaque(to_pil(frame)).convert("RGB")
            if stream is None:
                size = picture.size
                factor = enlargement_factor(size, min_side_px)
                if any(side * factor % 2 for side in size):
                    factor += 1
                stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": str(crf)})
                stream.width, stream.height = (side * factor for side in size)
                stream.pix_fmt = "yuv420p"
            if picture.size != size:
                raise ConfigError(f"frame {count} has {picture.size} pixels, the first one had {size}")
            pixels = np.asarray(enlarge(picture, factor, enlargement))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            count += 1
        if stream is None:
            raise ConfigError(f"{path.name}: there is no frame to write")
        container.mux(stream.encode())
    return count
