"""MNIST and its relatives (Fashion-MNIST, KMNIST, …): idx files, gzipped or not, alone or in a folder.

Images of 28 px get a border of two black pixels on each side, because networks want a power of two; this is what the
official StyleGAN tool does as well.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from gantrol.data.sources.arrays import ArrayStore, Block, content
from gantrol.data.sources.source import Part, Source, choose_parts, joined
from gantrol.data.zipstore import FolderStore, Store
from gantrol.errors import DataError

_NAME = re.compile(r"(?P<part>.*?)[-_.]?(?P<kind>images|labels)[-_.]idx(?P<axes>[13])[-_.]ubyte(\.gz)?", re.IGNORECASE)
_PARTS = {"train": "train", "t10k": "test", "test": "test"}
_MAX_BYTES = 1 << 31


def is_idx(path: Path) -> bool:
    """Whether a file's name is that of an idx file."""
    return _NAME.fullmatch(path.name) is not None


def recognise(store: Store, split: str | None, only: str | None = None) -> Source | None:
    """The source in `store`, or None if it has no idx files.

    Args:
        store: the files.
        split: train (the default), test or all.
        only: take only this file of images (and the labels that belong to it).

    Raises:
        DataError: it has, but they are damaged, or there is no such split.
    """
    images: dict[str, str] = {}
    labels: dict[str, str] = {}
    for name in store.names:
        match = _NAME.fullmatch(PurePosixPath(name).name)
        if match is not None:
            part = _PARTS.get(match["part"].lower(), match["part"] or "images")
            (images if match["kind"].lower() == "images" else labels)[part] = name
    if only is not None:
        images = {part: name for part, name in images.items() if name == only}
        if not images:
            raise DataError(f"{store.where(only)}: holds labels; give the file of images or their folder")
        split = next(iter(images))
    if not images:
        return None
    blocks: list[Block] = []
    parts: dict[str, Part] = {}
    for part, name in images.items():
        pixels = _read(store, name, 3)
        border = (32 - pixels.shape[1]) // 2 if pixels.shape[1:] == (28, 28) else 0
        block = Block(prefix=f"{part}/", count=len(pixels), pixels=partial(_image, pixels, border))
        blocks.append(block)
        classes = None
        if part in labels:
            values = _read(store, labels[part], 1)
            if len(values) != block.count:
                raise DataError(f"{store.where(labels[part])}: {len(values)} labels for {block.count} images")
            classes = {image: int(value) for image, value in zip(block.names, values, strict=True)}
        parts[part] = Part(names=block.names, labels=classes)
    default = "train" if "train" in parts else next(iter(parts))
    return joined(ArrayStore(store, blocks), choose_parts(parts, split, default, str(store.path)))


def _image(pixels: np.ndarray, border_px: int, index: int) -> np.ndarray:
    return np.pad(pixels[index], border_px)


def single_file(path: Path, split: str | None) -> Source:
    """The source that one idx file of images is, with the labels beside it."""
    source = recognise(_Siblings(path.parent), split, only=path.name)
    assert source is not None
    return source


class _Siblings(FolderStore):
    """The idx files of one folder, without those below it."""

    def _walk(self) -> Iterator[str]:
        return (path.name for path in self.path.iterdir() if path.is_file() and is_idx(path))


def _read(store: Store, name: str, axes: int) -> np.ndarray:
    """uint8 array of an idx file: two zero bytes, type 8, number of axes, their lengths (big-endian), the values."""
    where = store.where(name)
    data = content(store, name)
    if name.lower().endswith(".gz"):
        try:
            data = np.frombuffer(_inflated(bytes(data), where), dtype=np.uint8)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{where}: is damaged or cut short ({error}): fetch it again") from error
    if len(data) < 4 + 4 * axes or bytes(data[:4]) != bytes([0, 0, 8, axes]):
        raise DataError(f"{where}: is no idx file of bytes with {axes} axes")
    shape = [int.from_bytes(bytes(data[4 + 4 * axis : 8 + 4 * axis]), "big") for axis in range(axes)]
    body = data[4 + 4 * axes :]
    count = 1
    for length in shape:
        count *= length
    if len(body) != count or count == 0:
        raise DataError(f"{where}: has {len(body):,} bytes of values where its header says {count:,}: fetch it again")
    return body.reshape(shape)


def _inflated(data: bytes, where: str) -> bytes:
    machine = zlib.decompressobj(16 + zlib.MAX_WBITS)
    result = machine.decompress(data, _MAX_BYTES)
    if machine.unconsumed_tail:
        raise DataError(f"{where}: expands to more than {_MAX_BYTES:,} bytes, which no idx file of images has")
    if not machine.eof:
        raise gzip.BadGzipFile("no end of the stream")
    return result
