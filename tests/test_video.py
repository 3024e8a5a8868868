"""Films: what is written can be read, small pictures are enlarged, failures leave nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gantrol.errors import ConfigError, DataError, MissingExtraError
from gantrol.video import write_video

av = pytest.importorskip("av")


def fading(count: int, height: int, width: int, channels: int = 3) -> Iterator[np.ndarray]:
    for index in range(count):
        yield np.full((height, width, channels), 16 * index, dtype=np.uint8)


def test_frames_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "fade.mp4"
    assert write_video(path, fading(10, 32, 64), fps=25) == 10
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (512, 256)
        assert stream.average_rate == 25
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
    assert len(frames) == 10
    for index, frame in enumerate(frames):
        assert abs(frame.mean() - 16 * index) < 4
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(33, 31, (264, 248)), (301, 300, (602, 600)), (512, 512, (512, 512))]
)
def test_sides_are_made_even_by_whole_factors(
    tmp_path: Path, height: int, width: int, expected: tuple[int, int]
) -> None:
    write_video(tmp_path / "a.mp4", fading(1, height, width, 1))
    with av.open(str(tmp_path / "a.mp4")) as film:
        stream = film.streams.video[0]
        assert (stream.height, stream.width) == expected


def test_failures_leave_nothing_and_keep_an_older_film(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"older")

    def broken() -> Iterator[np.ndarray]:
        yield from fading(2, 64, 64)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, broken())
    with pytest.raises(ConfigError, match="frame 1 has"):
        write_video(path, [np.zeros((64, 64, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)])
    with pytest.raises(ConfigError, match="no frame to write"):
        write_video(path, [])
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_impossible_requests_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"a\.gif: films are written as \.mp4"):
        write_video(tmp_path / "a.gif", fading(1, 8, 8))
    with pytest.raises(ConfigError, match="fps=0"):
        write_video(tmp_path / "a.mp4", fading(1, 8, 8), fps=0)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write"):
        write_video(tmp_path / "file" / "a.mp4", fading(1, 8, 8))
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"gantrol\[video\]"):
        write_video(tmp_path / "a.mp4", fading(1, 8, 8))
