"""A dataset of images: a zip, a folder or shards of equal, square, 8-bit images, with optional labels and attributes.

Everything that could stop a training halfway is checked at opening: sizes and channels of all images (from
their headers), labels and attributes against the images. The pixels themselves are read when asked for, from
any thread or process.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from gantrol.data import images
from gantrol.data.annotations import mirrored, summarize
from gantrol.data.stores import ShardStore, open_store, stored_annotations
from gantrol.data.tarstore import TarStore
from gantrol.data.writer import DatasetWriter
from gantrol.data.zipstore import FolderStore, Store
from gantrol.errors import DataError

__all__ = ["DatasetWriter", "ImageDataset", "Skipped"]

Progress = Callable[[int, int], None]


class Skipped(NamedTuple):
    """An image that was left out."""

    name: str
    reason: str


class ImageDataset(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images sorted by name; item `i` is `(image uint8 [C, H, W], label float32 [label_dim])`.

    Args:
        path: a dataset zip (see `gantrol.data.writer`), a folder of images, sub-folders included, or shards: a folder
            of zips (see `gantrol.data.shards`) or of tars (WebDataset), one tar, or `folder/{000..012}.tar`.
        use_labels: give the labels of dataset.json; without, labels have length 0.
        x_flip: append a left-right flipped copy of every image; items `n … 2n − 1` are the flips of `0 … n −
            1`.
        max_size: keep a random subset of so many images (before flipping), in order.
        seed: of that subset.
        skip_bad: decode every image now and leave damaged ones out; without, a damaged image is an error
            when it is read.
        progress: called with (done, total) images while `skip_bad` decodes.

    Attributes:
        resolution_px, channels: of every image.
        label_dim: length of a label: 0, the classes, or the length of the label vectors.
        name: the file's name without ending; of chosen shards that of their folder.
        names: of the images, without the flipped copies.
        schema, meta: of dataset.json; {} if absent.
        skipped: the damaged images that were left out.

    Raises:
        DataError: nothing is there; it is no zip; it is empty; sizes or channels differ; an image is not
            square, or has another pixel type; dataset.json is invalid or disagrees with the
            images.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        use_labels: bool = False,
        x_flip: bool = False,
        max_size: int | None = None,
        seed: int = 0,
        skip_bad: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self._store = open_store(path)
        self.path = self._store.path
        self.name = _name(self.path)
        names = [name for name in self._store.names if name.lower().endswith(images.DATASET_SUFFIXES)]
        if not names:
            endings = " ".join(images.DATASET_SUFFIXES)
            raise DataError(f"{self.path}: holds no images ({endings}); make a dataset with `gantrol data import`")
        self._annotations = stored_annotations(self._store, names)
        self.schema, self.meta = self._annotations.schema, self._annotations.meta
        if use_labels and self._annotations.labels is None:
            raise DataError(f"{self.path}: has no labels in dataset.json; train without labels, or add them")
        self.label_dim = self._annotations.label_dim if use_labels else 0
        self.skipped: list[Skipped] = []
        self.names, (self.resolution_px, self.channels) = self._check_images(names, skip_bad, progress)
        if max_size is not None:
            if max_size < 1:
                raise DataError(f"max_size={max_size}: expected at least 1 image")
            chosen = np.random.default_rng(seed).permutation(len(self.names))[:max_size]
            self.names = [self.names[index] for index in sorted(chosen)]
        self.x_flip = x_flip

    def __len__(self) -> int:
        return len(self.names) * (1 + self.x_flip)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.pixels(index)), torch.from_numpy(self.label(index))

    def pixels(self, index: int, out: np.ndarray | None = None) -> np.ndarray:
        """Image `index` as uint8 [C, H, W], in `out` if given.

        Raises:
            DataError: the image is damaged (naming it), or the file has changed.
        """
        name, is_flipped = self._locate(index)
        where = self._store.where(name)
        try:
            image = images.decode(self._store.read(name), where)  # [H, W, C]
        except DataError as error:
            raise DataError(f"{error}; to leave damaged images out, use --skip-bad") from error
        if image.shape != (self.resolution_px, self.resolution_px, self.channels):
            raise DataError(f"{where}: has changed since the dataset was opened")
        if out is None:
            out = np.empty((self.channels, self.resolution_px, self.resolution_px), dtype=np.uint8)
        out[:] = (image[:, ::-1] if is_flipped else image).transpose(2, 0, 1)
        return out

    def label(self, index: int) -> np.ndarray:
        """The label of image `index` as float32 [label_dim]; class indices are one-hot."""
        name, _ = self._locate(index)
        return self._annotations.label(name) if self.label_dim else np.zeros(0, dtype=np.float32)

    def attributes(self, index: int) -> dict[str, Any]:
        """The named attributes of image `index`, {} if there are none; for flipped copies mirrored by the schema."""
        name, is_flipped = self._locate(index)
        if self._annotations.attributes is None:
            return {}
        attributes = self._annotations.attributes[name]
        return mirrored(attributes, self.schema) if is_flipped else dict(attributes)

    def attachment(self, index: int) -> dict[str, np.ndarray]:
        """The arrays that are stored beside image `index` (its npz), {} if there are none.

        Raises:
            DataError: the npz is damaged; the index is a flipped copy, whose arrays are not stored.
        """
        name, is_flipped = self._locate(index)
        if is_flipped:
            raise DataError(f"{self.path}: image {index} is a flipped copy; attachments are stored for originals only")
        beside = f"{name.rpartition('.')[0]}.npz"
        if beside not in self._store.names:
            return {}
        try:
            with np.load(io.BytesIO(self._store.read(beside)), allow_pickle=False) as arrays:
                return dict(arrays)
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{self._store.where(beside)}: is no readable npz ({error})") from error

    def check_unchanged(self, indices: Iterable[int]) -> None:
        """Looks whether the files behind images are still those that were opened, without reading them.

        Raises:
            DataError: one was replaced, overwritten, shortened or removed; it is named.
        """
        for name in {self._locate(index)[0] for index in indices}:
            self._store.check(name)

    def fingerprint(self) -> str:
        """A digest by which a run knows its dataset again: of names, sizes, and check sums (zips) or times (others)."""
        return self._store.fingerprint()

    def describe(self) -> dict[str, Any]:
        """A JSON-ready summary: counts, sizes, formats, labels, ranges of the attributes, meta; decodes no image."""
        annotations = self._annotations
        labels: dict[str, Any] = {"kind": annotations.label_kind, "dim": annotations.label_dim}
        if annotations.labels is not None and annotations.label_kind == "class":
            counts = Counter(str(annotations.labels[name]) for name in self.names)
            labels["class_counts"] = {key: counts[key] for key in sorted(counts, key=int)}
        rows = [] if annotations.attributes is None else [annotations.attributes[name] for name in self.names]
        return {
            "path": str(self.path),
            "kind": _kind(self._store),
            "images": len(self.names),
            "resolution_px": self.resolution_px,
            "channels": self.channels,
            "formats": dict(Counter(name.rpartition(".")[2].lower() for name in self.names)),
            "bytes": self._store.total_bytes(),
            "labels": labels,
            "attributes": summarize(rows, self.schema),
            "schema": dict(self.schema),
            "skipped": [skipped._asdict() for skipped in self.skipped],
            "meta": dict(self.meta),
        }

    def _locate(self, index: int) -> tuple[str, bool]:
        """Name of image `index`, and whether the item is its flipped copy."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return self.names[index % len(self.names)], index >= len(self.names)

    def _check_images(
        self, names: Sequence[str], skip_bad: bool, progress: Progress | None
    ) -> tuple[list[str], tuple[int, int]]:
        """The usable images, and the size and channels that they share; damaged ones go to `self.skipped`."""
        good: list[str] = []
        shape: tuple[int, int] | None = None
        for done, (name, header, reason) in enumerate(self._inspect(names, skip_bad), 1):
            if header is not None:
                where = self._store.where(name)
                found = header.width_px, images.check_plain(header, where)
                if header.width_px != header.height_px:
                    raise DataError(f"{where}: {_size(header)} is not square; {_REMEDY}")
                if shape is not None and found != shape:
                    raise DataError(
                        f"{where}: is {images.describe(*found)}, but {good[0]} is {images.describe(*shape)}; {_REMEDY}"
                    )
            if header is None or reason:
                self.skipped.append(Skipped(name, reason))
            else:
                shape = found
                good.append(name)
            if progress is not None and skip_bad:
                progress(done, len(names))
        if shape is None:
            raise DataError(f"{self.path}: all {len(names)} images are damaged; the first: {self.skipped[0].reason}")
        return good, shape

    def _inspect(self, names: Sequence[str], skip_bad: bool) -> Iterator[tuple[str, images.Header | None, str]]:
        """For each image its header (None if unreadable) and, with `skip_bad`, what is wrong with it."""
        if not skip_bad:
            for name in names:
                try:
                    yield name, probe_stored(self._store, name), ""
                except DataError as error:
                    raise DataError(f"{error}; to leave damaged images out, use --skip-bad") from error
            return
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside the interpreter's lock
            for start in range(0, len(names), 1024):
                yield from pool.map(self._verify, names[start : start + 1024])

    def _verify(self, name: str) -> tuple[str, images.Header | None, str]:
        header = None
        try:
            header = probe_stored(self._store, name)
            if header.mode in images.CHANNELS:  # other pixel types are refused by the caller
                images.decode(self._store.read(name), self._store.where(name))
        except DataError as error:
            return name, header, str(error)
        return name, header, ""


def _name(path: Path) -> str:
    if path.is_dir():
        return path.resolve().name
    return path.stem if path.exists() else path.absolute().parent.name


def _kind(store: Store) -> str:
    if isinstance(store, ShardStore):
        return "shards"
    return "folder" if isinstance(store, FolderStore) else "tar" if isinstance(store, TarStore) else "zip"


_REMEDY = "make all images alike with `gantrol data import`"


def probe_stored(store: Store, name: str) -> images.Header:
    """Size and pixel type of an image in a store, from its first bytes where they suffice."""
    head = store.peek(name, images.HEADER_BYTES)
    data = head if images.has_short_header(head) else store.read(name)
    return images.probe(data, store.where(name))


def _size(header: images.Header) -> str:
    return f"{header.width_px}×{header.height_px}"
