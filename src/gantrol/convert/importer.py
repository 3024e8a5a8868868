"""`import_checkpoint`: a file of somebody else's training as a model of ours.

    model = gantrol.convert.import_checkpoint("stylegan3-t-ffhq-1024x1024.pkl")
    model.generate(seeds=[0])[0].save("0.png")
    model.save_pretrained("ffhq")

Of GAN-Control a folder can be given: a run, or a generator with its controllers.

Nothing of the file is run: it is read as data (`inert_pickle`, `torch_files`), compared with what the official code
writes, and copied into modules of ours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from gantrol.convert.allowed_names import pickle_names, torch_names
from gantrol.convert.autogan import convert_autogan, is_autogan
from gantrol.convert.foreign import ForeignFormat, Request, Weights
from gantrol.convert.gan_control import convert_gan_control, is_gan_control
from gantrol.convert.gan_control_files import RunFiles, find_run
from gantrol.convert.imported_model import ImportedModel
from gantrol.convert.nvidia import convert_nvidia, is_nvidia
from gantrol.convert.torch_files import OLD_START, ZIP_START, read_torch_file
from gantrol.convert.transgan import convert_transgan, is_transgan
from gantrol.device import choose_device
from gantrol.errors import CheckpointError, ConfigError, nearest
from gantrol.inert_pickle import Budget, ByteSource, Cursor, Span, read_pickle

FORMATS = (
    ForeignFormat(name="NVIDIA StyleGAN pickle", container="pickle", recognises=is_nvidia, convert=convert_nvidia),
    ForeignFormat(name="TransGAN checkpoint", container="torch", recognises=is_transgan, convert=convert_transgan),
    ForeignFormat(name="AutoGAN checkpoint", container="torch", recognises=is_autogan, convert=convert_autogan),
    ForeignFormat(
        name="GAN-Control checkpoint", container="torch", recognises=is_gan_control, convert=convert_gan_control
    ),
)
"""Every origin that can be imported; the first one that recognises a file's value takes it."""

_NOT_CHECKPOINTS = {
    b"\x1f\x8b": "it is compressed: unpack it first (gunzip)",
    b"BZh": "it is compressed: unpack it first (bunzip2)",
    b"\xfd7zXZ": "it is compressed: unpack it first (unxz)",
    b"<": "it is a web page, not a checkpoint: download the file itself",
    b"version https://git-lfs": "it only names the file that Git LFS keeps elsewhere: fetch it with `git lfs pull`",
}
"""What some files begin with that are mistaken for checkpoints."""

_CHUNK = 1 << 20


def import_checkpoint(
    path: str | Path,
    *,
    weights: Weights = "ema",
    discriminator: bool = True,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> ImportedModel:
    """Reads an official StyleGAN2, StyleGAN3, TransGAN, AutoGAN or GAN-Control checkpoint; executes nothing in it.

    Args:
        path: the `.pkl` of `stylegan2-ada-pytorch` or `stylegan3`; the `.pth` of TransGAN (any version) or AutoGAN; the
            `.pt` of GAN-Control with its `args.json` beside it or in the folder above, the folder of such a run, or the
            folder with `generator/` and the controllers.
        weights: "ema" for the averaged generator, which makes the best pictures; "raw" for that of the last step.
        discriminator: bring it along, if it is there and one of the official code.
        device: "auto" (CUDA, then Apple's MPS, then the CPU), "cpu", "cuda", "cuda:N" or "mps".
        progress: called with (done, total) bytes.

    Returns:
        A model like any other, with `notes` on what was found.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or asks for anything that no network needs.
        ConfigError: `weights` or `device` cannot be.
    """
    if weights not in get_args(Weights):
        raise ConfigError(f"weights={weights!r}; {nearest(str(weights), get_args(Weights))}")
    target = choose_device(device)
    path = Path(path).expanduser()
    try:
        files = find_run(path) if path.is_dir() else RunFiles(checkpoint=path, controllers={}, notes=[])
        with open(files.checkpoint, "rb", buffering=0) as file:
            source = ByteSource(file)
            found, content = _read(source.whole())
            if path.is_dir() and not is_gan_control(content):
                raise CheckpointError(f"it is no folder of GAN-Control: its file is a {found.name}, import that alone")
            request = Request(
                weights=weights,
                discriminator=discriminator,
                size=source.size,
                path=files.checkpoint,
                controllers=files.controllers,
            )
            imported = found.convert(content, request)
            digest = _sha256(source, progress)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except CheckpointError as error:
        raise CheckpointError(
            f"cannot import {path.name or path.resolve().name}: {error} (nothing in it was run)"
        ) from error
    origin = {"imported_from": re.sub(r"[^\w. -]", "_", files.checkpoint.name), "format": found.name, "sha256": digest}
    known = {name: value for name, value in imported.facts.items() if value is not None}
    return ImportedModel(
        imported.generator.to(target),
        None if imported.discriminator is None else imported.discriminator.to(target),
        control_set=imported.control_set,
        training={"license": "other", **known, **origin},
        notes=[*files.notes, *imported.notes],
    )


def _read(span: Span) -> tuple[ForeignFormat, object]:
    """The value in the file and where it comes from."""
    start = span.part(0, min(span.length, 64)).read(64)
    if not start:
        raise CheckpointError("it is empty")
    for opening, message in _NOT_CHECKPOINTS.items():
        if start.startswith(opening):
            raise CheckpointError(message)
    budget = Budget()
    is_torch = start.startswith((ZIP_START, OLD_START))
    if is_torch:
        content = read_torch_file(span, torch_names(), budget)
    else:
        content = read_pickle(Cursor(span), pickle_names(budget), budget)
    for candidate in FORMATS:
        if candidate.container == ("torch" if is_torch else "pickle") and candidate.recognises(content):
            return candidate, content
    known = ", ".join(candidate.name for candidate in FORMATS)
    raise CheckpointError(f"it can be read, but comes from none of the codes that can be imported ({known})")


def _sha256(source: ByteSource, progress: Callable[[int, int], None] | None) -> str:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(min(_CHUNK, source.size)))
    for start in range(0, source.size, _CHUNK):
        part = buffer[: min(_CHUNK, source.size - start)]
        source.read_into(start, part)
        digest.update(part)
        if progress is not None:
            progress(start + len(part), source.size)
    return digest.hexdigest()
