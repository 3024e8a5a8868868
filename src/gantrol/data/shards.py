"""Writing datasets beyond 100,000 images as a folder of shards, so that no single file grows without bounds.

    faces/00000.zip         a dataset of its own: 100,000 images and their dataset.json
    faces/00001.zip         goes on with the numbers of the images
    …
    faces/index.json        {"format": "gantrol shards", "layout": "shards", "images": 812345,
                             "shards": [{"file": "00000.zip", "images": 100000, "bytes": …, "sha256": …}, …],
                             "schema": {…}, "meta": {…}}

With the layout `webdataset` the shards are tars, see `gantrol.data.webdataset`. The folder appears under its name when
all shards are whole and on the disk, as a single zip does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import numpy as np

from gantrol.atomic import describe, sync, write_json
from gantrol.data import images
from gantrol.data.partial_zip import locked_folder
from gantrol.data.tarstore import TarStore
from gantrol.data.webdataset import TarWriter, sample_name
from gantrol.data.writer import DatasetWriter, Intake, Label, Taken, image_name, plain
from gantrol.data.zipstore import ZipStore
from gantrol.errors import DataError

Layout = Literal["auto", "zip", "shards", "webdataset"]

INDEX_NAME = "index.json"
INDEX_FORMAT = "gantrol shards"
SHARD_IMAGES = 100_000
"""Images of a shard, by default."""

_ENDINGS = {"shards": "zip", "webdataset": "tar"}


class Writer(Protocol):
    """What a `DatasetWriter` and a `ShardWriter` have in common."""

    path: Path
    count: int
    """Images added so far."""
    partial: Path | None
    """Where an interrupted attempt is kept; None without a resume_token."""

    @property
    def recovered(self) -> int:
        """How many images of an earlier attempt are there, inside the `with` block."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def add(
        self,
        image: np.ndarray | bytes | None,
        *,
        label: Label | None = None,
        attributes: Mapping[str, Any] | None = None,
        attachment: bytes | None = None,
    ) -> str:
        """Appends an image; see `DatasetWriter.add`."""


def open_writer(
    out: str | os.PathLike[str], *, layout: Layout = "auto", shard_images: int = SHARD_IMAGES, **options: Any
) -> Writer:
    """The writer of a dataset, in one file or in several.

    Args:
        out: `NAME.zip`, or a folder for shards.
        layout: "zip", one file; "shards", a folder of zips; "webdataset", a folder of tars; "auto" is "zip" if `out`
            ends so, otherwise "shards".
        shard_images: images of a shard (of the last one at most so many).
        options: schema, meta, overwrite, image_format, resume_token and resume_limit of `DatasetWriter`.

    Raises:
        DataError: `out` does not fit the layout, exists, or cannot be written.
    """
    path = Path(out)
    is_zip = path.suffix.lower() == ".zip"
    if layout == "auto":
        layout = "zip" if is_zip else "shards"
    if layout == "zip":
        if not is_zip:
            raise DataError(f"{path}: a single file is named {path.name}.zip; without the ending, write shards")
        return DatasetWriter(path, **options)
    if is_zip or path.suffix.lower() == ".tar":
        raise DataError(f"{path}: shards fill a folder; name it without an ending, like {path.with_suffix('').name}")
    return ShardWriter(path, layout=layout, shard_images=shard_images, **options)


class ShardWriter:
    """Writes a dataset as a folder of shards, all or nothing; used as a `DatasetWriter` is.

    Each shard is brought to the disk when it is full. Without `resume_token` an exception leaves nothing; with it, a
    hidden folder keeps the shards that were finished and what there is of the next, and a later writer goes on there.

    Args:
        path: the folder to write.
        layout: "shards" (zips) or "webdataset" (tars).
        shard_images: images of a shard.
        schema, meta, image_format, resume_token, resume_limit: as for `DatasetWriter`.
        overwrite: replace an existing folder of shards; any other folder is left alone.

    Raises:
        DataError: as for `DatasetWriter`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        layout: Literal["shards", "webdataset"] = "shards",
        shard_images: int = SHARD_IMAGES,
        schema: Mapping[str, Mapping[str, Any]] | None = None,
        meta: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        image_format: images.ImageFormat = "png",
        resume_token: str | None = None,
        resume_limit: int | None = None,
    ) -> None:
        if shard_images < 1:
            raise DataError(f"{shard_images} images per shard: expected at least 1")
        self.path = Path(path)
        self.count = 0
        self._layout = layout
        self._shard_images = shard_images
        self._schema, self._meta = plain(schema, "schema"), plain(meta, "meta")
        self._overwrite = overwrite
        self._intake = Intake(self.path, image_format)
        self._token = resume_token or secrets.token_hex(4)
        self._resume_limit = resume_limit
        self._folder = self.path.with_name(f".{self.path.name}.{self._token}.part")
        self.partial = None if resume_token is None else self._folder
        self._finished: list[dict[str, Any]] = []
        self._first_header: images.Header | None = None
        self._recovered = 0
        self._shard: DatasetWriter | TarWriter | None = None
        self._shards = contextlib.ExitStack()
        self._is_open = False
        self._check_target()
        self._session = self._open()

    @property
    def recovered(self) -> int:
        """How many images of an earlier attempt are there, inside the `with` block."""
        return self._recovered

    def __enter__(self) -> Self:
        self._session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session.__exit__(kind, error, traceback)

    def add(
        self,
        image: np.ndarray | bytes | None,
        *,
        label: Label | None = None,
        attributes: Mapping[str, Any] | None = None,
        attachment: bytes | None = None,
    ) -> str:
        """Appends an image; arguments, result and errors are those of `DatasetWriter.add`."""
        if not self._is_open:
            raise RuntimeError("ShardWriter.add is called inside its `with` block")
        place = self.count % self._shard_images
        is_finished = self.count < len(self._finished) * self._shard_images
        header = self._first_header if is_finished else None
        if not is_finished and self._shard is not None:
            header = self._shard.recovered_header(place)
        taken = self._intake.take(image, label, attributes, attachment, header)
        if not is_finished:
            self._put(taken)
        self.count += 1
        name = image_name if self._layout == "shards" else sample_name
        return name(self.count - 1, taken.ending)

    def _put(self, taken: Taken) -> None:
        if self._shard is None:
            self._begin_shard()
        assert self._shard is not None
        self._shard.put(taken)
        if self._shard.count == self._shard_images:
            self._end_shard()

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        """The hidden folder, filled shard by shard; renamed if that ends well."""
        try:
            with locked_folder(self._folder, self.path):
                try:
                    with self._shards:
                        self._resume()
                        self._is_open = True
                        yield
                        if self._shard is not None:
                            self._end_shard()
                    self._finish()
                finally:
                    self._is_open = False
                    if self.partial is None or not _files(self._folder):
                        shutil.rmtree(self._folder, ignore_errors=True)
        except OSError as problem:
            kept = f"; what was finished is kept: the same command continues from {self.partial}"
            raise DataError(describe(self.path, problem) + (kept if self.partial is not None else "")) from problem

    def _resume(self) -> None:
        """Takes over the shards of an earlier attempt: the full ones as they are, what follows image by image."""
        limit = self._resume_limit
        while (shard := self._shard_path(len(self._finished))).exists():
            is_within = limit is None or (len(self._finished) + 1) * self._shard_images <= limit
            record, header = self._record(shard)
            if record["images"] != self._shard_images or not is_within:
                os.replace(shard, self._partial_path(shard))  # opened again: it was the last, or is to be shorter
                break
            self._first_header = self._first_header or header
            self._finished.append(record)
        self._recovered = len(self._finished) * self._shard_images
        following = self._shard_path(len(self._finished))
        keep = {record["file"] for record in self._finished} | {self._partial_path(following).name}
        for file in _files(self._folder):
            if file.name not in keep:
                file.unlink()
        if self._partial_path(following).exists() and (limit is None or limit > self._recovered):
            self._begin_shard()
            assert self._shard is not None
            self._recovered += self._shard.recovered

    def _begin_shard(self) -> None:
        number = len(self._finished)
        first = number * self._shard_images
        limit = self._shard_images
        if self._resume_limit is not None:
            limit = min(limit, self._resume_limit - first)
        path = self._shard_path(number)
        options: dict[str, Any] = {"first_index": first, "resume_token": self._token, "resume_limit": max(limit, 0)}
        if self._layout == "shards":
            self._shard = DatasetWriter(path, schema=self._schema, meta=self._meta, **options)
        else:
            self._shard = TarWriter(path, **options)
        self._shards.enter_context(self._shard)

    def _end_shard(self) -> None:
        assert self._shard is not None
        path, self._shard = self._shard.path, None
        self._shards.pop_all().close()  # completes the shard, or raises
        self._finished.append(self._record(path)[0])

    def _record(self, path: Path) -> tuple[dict[str, Any], images.Header]:
        """What index.json says about a finished shard, and the header of its first image."""
        store = ZipStore(path) if self._layout == "shards" else TarStore(path)
        names = [name for name in store.names if name.endswith((".png", ".webp"))]
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        record = {"file": path.name, "images": len(names), "bytes": path.stat().st_size, "sha256": digest}
        return record, images.probe(store.read(names[0]), store.where(names[0]))

    def _shard_path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.{_ENDINGS[self._layout]}"

    def _partial_path(self, shard: Path) -> Path:
        return shard.with_name(f".{shard.name}.{self._token}.part")

    def _finish(self) -> None:
        """index.json, and the folder's final name."""
        if self.count < self.recovered:
            raise DataError(f"{self.path}: {self.recovered} images were recovered, but {self.count} were added")
        if self.count == 0:
            raise DataError(f"{self.path}: no image was added, so nothing was written")
        index: dict[str, Any] = {"format": INDEX_FORMAT, "layout": self._layout, "images": self.count}
        index["shards"] = self._finished
        for key, value in (("schema", self._schema), ("meta", self._meta)):
            if value is not None:
                index[key] = value
        write_json(self._folder / INDEX_NAME, index, DataError)
        self._check_target()  # another program may have been faster
        retired = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.old")
        if self.path.exists():
            os.replace(self.path, retired)
        os.replace(self._folder, self.path)
        sync(self.path.parent)
        shutil.rmtree(retired, ignore_errors=True)

    def _check_target(self) -> None:
        if not self.path.exists():
            return
        if not self._overwrite:
            raise DataError(f"{self.path}: exists already: choose another name or --overwrite it")
        if not self.path.is_dir() or not is_shard_folder(self.path):
            raise DataError(f"{self.path}: is no folder of shards, so it is not overwritten; choose another name")


def is_shard_folder(path: Path) -> bool:
    """Whether a folder was written by a `ShardWriter`."""
    return read_index(path) is not None


def read_index(folder: Path) -> dict[str, Any] | None:
    """index.json of a folder of shards; None if there is none, or it is something else's."""
    try:
        content = json.loads((folder / INDEX_NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and content.get("format") == INDEX_FORMAT else None


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
