"""Writing a dataset zip: StyleGAN's layout, plus named attributes.

A dataset is a zip of stored (not compressed) PNG or WebP files and one JSON file:

    00000/img00000000.png       the first five digits of the eight-digit index are the folder
    00000/img00000001.png
    …
    dataset.json                {"labels": [["00000/img00000000.png", 3], …]        or null
                                 "attributes": [["00000/img00000000.png", {"age": 41.5, "yaw": -12.0}], …]
                                 "schema": {"age": {"unit": "years", "low": 3, "high": 90, "default": 30, "help": …}}
                                 "meta": {…}}

Readers of StyleGAN datasets look at `labels` alone, so the files work there too. The same images give the
same bytes. An image may have an attachment, `00000/img00000000.npz`: arrays such as a depth map, which readers of
images pass over.
"""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np

from gantrol.atomic import atomic_file
from gantrol.data import images
from gantrol.data.partial_zip import resumable_file
from gantrol.errors import DataError

Label = int | Sequence[float] | np.ndarray


def image_name(number: int, ending: str) -> str:
    """The name of image `number` in a zip."""
    return f"{number // 1000:05d}/img{number:08d}.{ending}"


class Taken(NamedTuple):
    """An image that fits those before it, ready to be written."""

    header: images.Header
    data: bytes | None
    """None if it was recovered from an earlier attempt."""
    label: int | list[float] | None
    attributes: dict[str, Any] | None
    attachment: bytes | None

    @property
    def ending(self) -> str:
        """Of its file's name: "png" or "webp"."""
        return self.header.format.lower()


class Intake:
    """What the images of a dataset must have in common, checked as they come in.

    Args:
        path: how errors name the dataset.
        image_format: how arrays are encoded.
    """

    def __init__(self, path: Path, image_format: images.ImageFormat) -> None:
        self.count = 0
        self._path = path
        self._image_format = image_format
        self._shape: tuple[int, int] | None = None  # side and channels of the first image
        self._label_kind: str | None = None
        self._has_attributes: bool | None = None

    def take(
        self,
        image: np.ndarray | bytes | None,
        label: Label | None,
        attributes: Mapping[str, Any] | None,
        attachment: bytes | None,
        recovered: images.Header | None,
    ) -> Taken:
        """The image as it will be written; arguments as for `DatasetWriter.add`, and the header of one that is there.

        Raises:
            DataError: it does not fit; nothing has changed then.
        """
        where = f"{self._path}: image {self.count}"
        if (image is None) != (recovered is not None):
            raise DataError(f"{where}: {'is missing' if image is None else 'was recovered, so pass None'}")
        data, header = None, recovered
        if image is not None:
            data = image if isinstance(image, bytes) else self._encode(image, where)
            header = images.probe(data, where)
        assert header is not None
        if header.format not in ("PNG", "WEBP"):
            raise DataError(f"{where}: datasets hold PNG or WebP, not {header.format}")
        shape = header.width_px, images.check_plain(header, where)
        if header.width_px != header.height_px:
            raise DataError(f"{where}: {header.width_px}×{header.height_px} is not square")
        if self._shape is not None and self._shape != shape:
            raise DataError(f"{where}: is {images.describe(*shape)}, but the first is {images.describe(*self._shape)}")
        kind, value = _label_kind(label, where)
        if self._label_kind not in (None, kind):
            raise DataError(f"{where}: has {kind}, but the images before it have {self._label_kind}")
        if self._has_attributes not in (None, attributes is not None):
            raise DataError(f"{where}: either all images have attributes or none has")
        taken = Taken(header, data, value, plain(attributes, where), attachment)
        self._shape, self._label_kind, self._has_attributes = shape, kind, attributes is not None
        self.count += 1
        return taken

    def _encode(self, image: np.ndarray, where: str) -> bytes:
        try:
            return images.encode(np.asarray(image), self._image_format)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error


class DatasetWriter:
    """Writes a dataset zip, all or nothing.

    The file appears under its name when the `with` block ends well, complete and flushed to the disk; after
    any exception (Ctrl-C and a full disk included) nothing is left, and a file that was to be replaced is
    unharmed. With `resume_token`, a hidden file keeps the images that were finished, and a later writer with the same
    path and token goes on from there: its first `recovered` calls of `add` take None for the image.

        with DatasetWriter("faces.zip", schema={"yaw": {"unit": "deg", "low": -90, "high": 90}}) as writer:
            writer.add(image, attributes={"yaw": 12.5})

    Args:
        path: the zip to write; its folder is made if need be.
        schema: for each attribute an object with any of `unit`, `low`, `high`, `default`, `help`, and
            `mirror`: what a left-right flip does to the value. `mirror` is a factor (-1 for a yaw), a list
            of factors for a list of numbers, or the name of the attribute that takes its place (a left wink
            becomes a right one); without it a flip changes nothing.
        meta: anything worth keeping about the whole dataset: generator, licence, command.
        overwrite: replace an existing file.
        image_format: how `add` encodes arrays: "png" (uncompressed) or "webp" (lossless; no grey).
        resume_token: a short name for what is being written, the same only if the images would be the same.
        resume_limit: go on from at most so many images.
        first_index: number of the first image, where the zip is one of several of a dataset.

    Raises:
        DataError: the target exists or cannot be written; nothing was added; from `add`, a wrong image or
            label.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        schema: Mapping[str, Mapping[str, Any]] | None = None,
        meta: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        image_format: images.ImageFormat = "png",
        resume_token: str | None = None,
        resume_limit: int | None = None,
        first_index: int = 0,
    ) -> None:
        self.path = Path(path)
        self.count = 0
        self._first_index = first_index
        self._intake = Intake(self.path, image_format)
        self._resume_limit = resume_limit
        self._recovered: list[tuple[str, images.Header]] = []
        self.partial = None if resume_token is None else self.path.with_name(f".{self.path.name}.{resume_token}.part")
        self._schema, self._meta = plain(schema, "schema"), plain(meta, "meta")
        self._labels: list[tuple[str, Any]] = []
        self._attributes: list[tuple[str, Any]] = []
        self._overwrite = overwrite
        self._check_target()
        self._zip: zipfile.ZipFile | None = None
        self._session = self._open()

    @property
    def recovered(self) -> int:
        """How many images of an earlier attempt are there, inside the `with` block."""
        return len(self._recovered)

    def __enter__(self) -> Self:
        self._session.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session.__exit__(kind, error, traceback)

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        """The zip, open while images are added; finished and renamed if that ends well."""
        with contextlib.ExitStack() as stack:
            if self.partial is None:
                temporary = stack.enter_context(atomic_file(self.path, DataError))
                file: BinaryIO = stack.enter_context(open(temporary, "xb"))
                members: Iterable[tuple[str, bytes]] = ()
            else:
                file, members = stack.enter_context(resumable_file(self.path, self.partial))
            self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
            try:
                self._recover(members)
                yield
                self._finish()
            finally:
                self._zip.fp = None  # or a zip that failed would try to write its directory when collected
                self._zip = None

    def _recover(self, members: Iterable[tuple[str, bytes]]) -> None:
        """Takes over the images of an earlier attempt, each after its attachment."""
        attachment: tuple[str, bytes] | None = None
        for name, data in members:
            if name == "dataset.json" or len(self._recovered) == self._resume_limit:
                continue  # the earlier attempt failed at its very end, or was to be longer
            if name.endswith(".npz"):
                attachment = name, data
                continue
            if attachment is not None:
                self._write(*attachment)
            self._write(name, data)
            attachment = None
            self._recovered.append((name, images.probe(data, name)))

    def add(
        self,
        image: np.ndarray | bytes | None,
        *,
        label: Label | None = None,
        attributes: Mapping[str, Any] | None = None,
        attachment: bytes | None = None,
    ) -> str:
        """Appends an image.

        Args:
            image: uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; or the bytes of a PNG or WebP, which are stored as
                they are; None for one that was `recovered`.
            label: class index, or a vector of floats; all images have the same kind, or none has one.
            attributes: named values: numbers, texts, booleans, lists of numbers, or objects of these.
            attachment: the bytes of an npz file that belongs to the image.

        Returns:
            The image's name in the zip.

        Raises:
            DataError: the image differs from the first in size or channels, is not square or not grey/RGB(A);
                its label differs in kind; a value cannot be written as JSON.
            OSError: the disk is full; it leaves the `with` block as a DataError.
        """
        if self._zip is None:
            raise RuntimeError("DatasetWriter.add is called inside its `with` block")
        return self.put(self._intake.take(image, label, attributes, attachment, self.recovered_header(self.count)))

    def recovered_header(self, index: int) -> images.Header | None:
        """The header of image `index` of this file if it was recovered, otherwise None."""
        return self._recovered[index][1] if index < self.recovered else None

    def put(self, taken: Taken) -> str:
        """Appends what an `Intake` has let through; returns its name."""
        name = image_name(self._first_index + self.count, taken.ending)
        if taken.data is not None:
            if taken.attachment is not None:
                self._write(f"{name.rpartition('.')[0]}.npz", taken.attachment)
            self._write(name, taken.data)
        if taken.label is not None:
            self._labels.append((name, taken.label))
        if taken.attributes is not None:
            self._attributes.append((name, taken.attributes))
        self.count += 1
        return name

    def _write(self, name: str, data: bytes) -> None:
        assert self._zip is not None
        member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
        member.create_system, member.external_attr = 3, 0o644 << 16  # the same bytes on every system
        self._zip.writestr(member, data)

    def _finish(self) -> None:
        """dataset.json and the zip's directory."""
        assert self._zip is not None
        if self.count < self.recovered:
            raise DataError(f"{self.path}: {self.recovered} images were recovered, but {self.count} were added")
        if self.count == 0:
            raise DataError(f"{self.path}: no image was added, so nothing was written")
        content: dict[str, Any] = {"labels": self._labels or None}
        if self._attributes:
            content["attributes"] = self._attributes
        for key, value in (("schema", self._schema), ("meta", self._meta)):
            if value is not None:
                content[key] = value
        self._write("dataset.json", json.dumps(content, ensure_ascii=False, allow_nan=False).encode())
        self._zip.close()
        self._check_target()  # another program may have been faster

    def _check_target(self) -> None:
        if self.path.is_dir():
            raise DataError(f"{self.path}: is a folder; name the zip file to write")
        if self.path.exists() and not self._overwrite:
            raise DataError(f"{self.path}: exists already: choose another name or --overwrite it")


def _label_kind(label: Label | None, where: str) -> tuple[str, int | list[float] | None]:
    """What kind of label this is, in words that all images must share, and its value for dataset.json."""
    if label is None:
        return "no label", None
    if isinstance(label, int | np.integer) and not isinstance(label, bool):
        if label < 0:
            raise DataError(f"{where}: class index {label} is negative")
        return "a class index", int(label)
    try:
        vector = np.asarray(label, dtype=np.float64)
    except (TypeError, ValueError):
        vector = np.array(np.nan)
    if vector.ndim != 1 or len(vector) == 0 or not np.isfinite(vector).all():
        raise DataError(f"{where}: a label is a class index or a vector of finite numbers, not {label!r}")
    return f"a vector of {len(vector)}", vector.tolist()


def plain(value: Any, where: str) -> Any:
    """`value` as JSON types, NumPy and torch scalars and arrays as numbers and lists; raises DataError for others."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not np.isfinite(value):
            raise DataError(f"{where}: {value} is not a finite number")
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, where) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist(), where)
    if isinstance(value, Sequence):
        return [plain(item, where) for item in value]
    raise DataError(f"{where}: {type(value).__name__} values cannot be stored in dataset.json")
