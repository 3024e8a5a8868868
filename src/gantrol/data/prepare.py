"""Making a dataset zip of the images that people have: any sizes and kinds, from any of `gantrol.data.sources`.

Two passes in sorted order: the headers of all images decide about channels and sizes, then each image is
decoded, turned upright, cropped, resized and written. A source that is itself a dataset keeps its labels and
attributes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

import gantrol
from gantrol.data import images
from gantrol.data.annotations import Annotations
from gantrol.data.dataset import Skipped, probe_stored
from gantrol.data.sources import open_source
from gantrol.data.writer import DatasetWriter
from gantrol.data.zipstore import Store
from gantrol.errors import DataError

MAX_SIZE_PX = 8192

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import did."""

    out: Path
    """The dataset that was written."""
    count: int
    """Images in it."""
    size_px: int
    """Side of every image."""
    channels: int
    """1 (grey) or 3 (RGB)."""
    upscaled: int
    """How many images were smaller than `size_px` and had to be enlarged."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of their indices."""
    skipped: tuple[Skipped, ...]
    """Damaged images that were left out."""


def import_images(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    size_px: int | None = None,
    crop: Literal["center", "none"] = "center",
    max_images: int | None = None,
    skip_bad: bool = False,
    image_format: images.ImageFormat = "png",
    classes_from_folders: bool = False,
    split: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Writes the images of `source` as a dataset zip.

    Images become upright (EXIF), opaque (over white) and 8-bit: grey if all of them are (PNG only), RGB
    otherwise.

    Args:
        source: a folder, sub-folders included, a zip or tar, a published dataset (CIFAR, STL-10, MNIST, CelebA), an
            LMDB database, or a Hugging Face dataset (`hf:owner/name`, a saved folder, Parquet).
        out: the zip to write.
        size_px: side of the result, resized with an antialiased Lanczos filter; None keeps sizes, which must
            then agree.
        crop: "center" cuts the longer side; "none" refuses images that are not square.
        max_images: take the first so many images in sorted order.
        skip_bad: leave damaged images out and report them, instead of stopping at the first.
        image_format: "png" (uncompressed) or "webp" (lossless).
        classes_from_folders: the top-level folder of an image becomes its class; replaces labels of the
            source.
        split: part of a published dataset (train, test, all, …); None is what training uses.
        overwrite: replace an existing `out`.
        progress: called with (done, total) images.

    Raises:
        DataError: the source is of another kind, empty or damaged; sizes differ and `size_px` is None; an
            image is not square and `crop` is "none"; `out` exists or cannot be written. Nothing is left then.
    """
    if size_px is not None and not 1 <= size_px <= MAX_SIZE_PX:
        raise DataError(f"size {size_px} px: expected 1 to {MAX_SIZE_PX}")
    if max_images is not None and max_images < 1:
        raise DataError(f"max {max_images}: expected at least 1 image")
    found = open_source(source, split, wants_plain=classes_from_folders)
    store, annotations = found.store, Annotations() if classes_from_folders else found.annotations
    classes = _folder_classes(store, found.names) if classes_from_folders else {}
    skipped: list[Skipped] = []
    names, is_grey = _survey(store, found.names, max_images, skip_bad, skipped)
    mode = "L" if is_grey and image_format == "png" else "RGB"
    class_names = tuple(sorted(set(classes.values()))) if classes_from_folders else found.classes
    class_indices = {name: index for index, name in enumerate(class_names)}
    total = min(len(names), max_images or len(names))
    side, upscaled = size_px, 0

    def convert(name: str) -> _Converted | DataError:
        try:
            image = images.open_any(store.read(name), store.where(name))
        except DataError as error:
            return error
        is_small = size_px is not None and min(image.size) < size_px
        square = images.fit_square(image.convert(mode), size_px, crop=crop == "center", where=store.where(name))
        return _Converted(np.asarray(square), is_small)

    with DatasetWriter(
        out,
        schema=annotations.schema or None,
        meta=_meta(annotations, store, size_px, crop, class_names),
        overwrite=overwrite,
        image_format=image_format,
    ) as writer:
        for name, converted in _in_order(convert, names):
            if isinstance(converted, DataError):
                if not skip_bad:
                    raise DataError(f"{converted}; to leave damaged images out, use --skip-bad") from converted
                skipped.append(Skipped(name, str(converted)))
                continue
            found_px = len(converted.pixels)
            side = side or found_px
            if found_px != side:
                raise DataError(
                    f"{store.where(name)}: gives {found_px}×{found_px} pixels, but the images before it {side}×{side}: "
                    "choose one size for all with --size"
                )
            label = class_indices[classes[name]] if classes else (annotations.labels or {}).get(name)
            writer.add(converted.pixels, label=label, attributes=(annotations.attributes or {}).get(name))
            upscaled += converted.is_small
            if progress is not None:
                progress(writer.count, total)
            if writer.count == max_images:
                break
        if writer.count == 0:
            raise DataError(f"{store.path}: all {len(skipped)} images are damaged; the first: {skipped[0].reason}")
    assert side is not None
    return ImportReport(
        out=Path(out),
        count=writer.count,
        size_px=side,
        channels=1 if mode == "L" else 3,
        upscaled=upscaled,
        classes=class_names,
        skipped=tuple(skipped),
    )


class _Converted(NamedTuple):
    """An image ready to be written."""

    pixels: np.ndarray
    """uint8 [side, side] or [side, side, 3]."""
    is_small: bool
    """Whether it had to be enlarged."""


def _in_order(convert: Callable[[str], T], names: Sequence[str]) -> Iterator[tuple[str, T]]:
    """`(name, convert(name))` in order, converted by a thread per core a few images ahead."""
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[tuple[str, Future[T]]] = deque()
        try:
            for name in names:
                pending.append((name, pool.submit(convert, name)))
                if len(pending) > 2 * threads:
                    done, future = pending.popleft()
                    yield done, future.result()
            for done, future in pending:
                yield done, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _survey(
    store: Store, all_names: Sequence[str], max_images: int | None, skip_bad: bool, skipped: list[Skipped]
) -> tuple[list[str], bool]:
    """The images worth decoding, and whether all (of those that `max_images` keeps) are grey."""
    names: list[str] = []
    is_grey = True
    for name in all_names:
        if len(names) == max_images and not skip_bad:
            break
        try:
            header = probe_stored(store, name)
        except DataError as error:
            if not skip_bad:
                raise DataError(f"{error}; to leave damaged images out, use --skip-bad") from error
            skipped.append(Skipped(name, str(error)))
            continue
        names.append(name)
        is_grey = is_grey and header.is_grey
    return names, is_grey


def _folder_classes(store: Store, names: Sequence[str]) -> dict[str, str]:
    """For each image its top-level folder, below the folders that all images share (`train/cat/…`, `train/dog/…`)."""
    paths = [name.split("/") for name in names]
    while len({path[0] for path in paths}) == 1 and all(len(path) > 2 for path in paths):
        paths = [path[1:] for path in paths]
    for name, path in zip(names, paths, strict=True):
        if len(path) < 2:
            raise DataError(f"{store.where(name)}: is in no folder that could be its class")
    return {name: path[0] for name, path in zip(names, paths, strict=True)}


def _meta(
    annotations: Annotations, store: Store, size_px: int | None, crop: str, class_names: tuple[str, ...]
) -> dict[str, Any]:
    """What the dataset says about its making; no dates and no full paths, so that it stays the same everywhere."""
    made = {
        "generator": f"gantrol {gantrol.__version__} data import",
        "source": store.path.name,
        "size_px": size_px,
        "crop": crop,
    }
    return {**annotations.meta, "import": made} | ({"classes": list(class_names)} if class_names else {})
