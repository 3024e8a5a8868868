"""Making a dataset of the images that people have: any sizes and kinds, from any of `gantrol.data.sources`.

Threads read, decode, turn upright, crop, resize and encode a few images ahead (Pillow and zlib work outside the
interpreter's lock); one thread writes them in sorted order, so the result does not depend on the number of workers.
Whether the dataset is grey is known before: a look at the headers, which ends at the first one with colour.

A file that cannot be read is left out, counted, and listed with its reason in a text file beside the dataset. An import
that was killed goes on when it is started again, and ends with the same bytes: see `gantrol.data.import_journal`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import PIL

import gantrol
from gantrol.data import foreign_images, images
from gantrol.data.annotations import Annotations
from gantrol.data.dataset import Skipped
from gantrol.data.foreign_images import TooSmallError
from gantrol.data.import_journal import Journal, Outcome
from gantrol.data.import_tally import Tally, printable, write_list
from gantrol.data.shards import SHARD_IMAGES, Layout, open_writer
from gantrol.data.source_content import check_archive, image_content
from gantrol.data.sources import open_source
from gantrol.data.sources.source import Source
from gantrol.data.stores import ShardStore
from gantrol.data.tarstore import TarStore
from gantrol.data.zipstore import FolderStore, Store, ZipStore
from gantrol.errors import DataError

MAX_SIZE_PX = 8192

T = TypeVar("T")
Item = TypeVar("Item")


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
    """1 (grey), 3 (RGB) or 4 (RGBA)."""
    upscaled: int
    """How many images were smaller than `size_px` and had to be enlarged."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of their indices."""
    skipped: tuple[Skipped, ...]
    """Files that could not be read and were left out."""
    too_small: int = 0
    """How many images were left out for being smaller than asked for."""
    repeats: int = 0
    """How many images have the same pixels as an earlier one; left out if that was asked for."""
    ignored_profiles: int = 0
    """How many images had a broken or unfitting colour profile, and were taken for sRGB."""
    skipped_list: Path | None = None
    """The text file that names everything that was left out, and why; None if nothing was."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        listed = None if self.skipped_list is None else str(self.skipped_list)
        skipped = [each._asdict() for each in self.skipped]
        return {**asdict(self), "out": str(self.out), "skipped": skipped, "skipped_list": listed}


def import_images(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    size_px: int | None = None,
    crop: Literal["center", "none"] = "center",
    alpha: str = "white",
    min_size_px: int = 1,
    duplicates: Literal["keep", "skip"] = "keep",
    max_images: int | None = None,
    strict: bool = False,
    image_format: images.ImageFormat = "png",
    layout: Layout = "auto",
    shard_images: int = SHARD_IMAGES,
    classes_from_folders: bool = False,
    split: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Writes the images of `source` as a dataset.

    Images become upright (EXIF), sRGB (ICC profiles) and 8-bit: grey if all of them are (PNG only), RGB otherwise, RGBA
    where transparency is kept. Killed and called again in the same way, it goes on and ends with the same bytes.

    Args:
        source: a folder, sub-folders included, a zip or tar, a published dataset (CIFAR, STL-10, MNIST, CelebA), an
            LMDB database, or a Hugging Face dataset (`hf:owner/name`, a saved folder, Parquet).
        out: the zip to write, or a folder for shards.
        size_px: side of the result, resized with an antialiased Lanczos filter; None keeps sizes, which must
            then agree.
        crop: "center" cuts the longer side; "none" leaves out images that are not square.
        alpha: what becomes of transparency: "white", "black" or a colour "R,G,B" is laid under it; "keep" makes the
            dataset RGBA.
        min_size_px: images with a shorter side than this are left out.
        duplicates: "skip" writes images that come out with the same pixels only once.
        max_images: take the first so many images in sorted order.
        strict: stop at the first file that cannot be read, instead of leaving it out.
        image_format: "png" (uncompressed) or "webp" (lossless).
        layout: "zip", "shards" (a folder of zips), "webdataset" (a folder of tars), or "auto" by the name of `out`.
        shard_images: images per shard.
        classes_from_folders: the top-level folder of an image becomes its class; replaces labels of the
            source.
        split: part of a published dataset (train, test, all, …); None is what training uses.
        workers: threads that decode; None takes one per usable core. Each holds one image of at most 64 Mpx.
        overwrite: replace an existing `out`.
        progress: called with (done, total) files; with `max_images`, images.

    Raises:
        DataError: the source is of another kind or empty; no image of it can be read; sizes differ and `size_px` is
            None; `strict`, and a file cannot be read; `out` exists or cannot be written. What was finished is kept
            only after an interruption or a full disk.
    """
    if size_px is not None and not 1 <= size_px <= MAX_SIZE_PX:
        raise DataError(f"size {size_px} px: expected 1 to {MAX_SIZE_PX}")
    for name, number in (("min-size", min_size_px), ("max", max_images), ("workers", workers)):
        if number is not None and number < 1:
            raise DataError(f"{name} {number}: expected at least 1")
    recipe = _Recipe(
        size_px=size_px,
        crop=crop,
        alpha=foreign_images.parse_alpha(alpha),
        min_size_px=min_size_px,
        image_format=image_format,
    )
    found = open_source(source, split, wants_plain=classes_from_folders)
    store, annotations = found.store, Annotations() if classes_from_folders else found.annotations
    classes = _folder_classes(store, found.names) if classes_from_folders else {}
    class_names = tuple(sorted(set(classes.values()))) if classes_from_folders else found.classes
    class_indices = {name: index for index, name in enumerate(class_names)}
    threads = workers or _usable_cores()

    out = Path(out)
    token = _token(found, recipe, duplicates, max_images, layout, shard_images)
    journal = Journal(out.with_name(f".{out.name}.{token}.journal"))
    writer = open_writer(
        out,
        layout=layout,
        shard_images=shard_images,
        schema=annotations.schema or None,
        meta=_meta(annotations, store, recipe, alpha, duplicates, class_names),
        overwrite=overwrite,
        image_format=image_format,
        resume_token=token,
        resume_limit=journal.kept,
    )
    total = min(len(found.names), max_images or len(found.names))
    tally = Tally(names=found.names, store=store, skips_repeats=duplicates == "skip")

    def told() -> None:
        if progress is not None:
            progress(min(tally.looked_at if max_images is None else writer.count, total), total)

    def add(name: str, data: bytes | None) -> None:
        label = class_indices[classes[name]] if classes else (annotations.labels or {}).get(name)
        writer.add(data, label=label, attributes=(annotations.attributes or {}).get(name))

    is_hopeless = False  # what was finished is no use to a later attempt
    try:
        with foreign_images.quiet_decoders(), writer, journal:
            journal.cut(writer.recovered)
            mode = journal.mode or _choose_mode(store, found.names, recipe, threads, told)
            journal.begin(mode)
            for outcome in journal.outcomes:
                tally.enter(outcome)
                if outcome.fate == "kept":
                    add(found.names[tally.looked_at - 1], None)
            try:
                rest = found.names[tally.looked_at :] if writer.count != max_images else ()
                for name, image in _in_order(lambda name: _convert(store, name, recipe, mode), rest, threads):
                    outcome = tally.judge(image.outcome)
                    if outcome.fate == "damaged":
                        check_archive(store, name)
                    if outcome.fate == "damaged" and strict:
                        raise DataError(f"{outcome.reason}; without --strict such files are left out and listed")
                    tally.enter(outcome)
                    if outcome.fate == "kept":
                        add(name, image.data)
                    journal.note(outcome)
                    told()
                    if writer.count == max_images:
                        break
                if writer.count == 0:
                    raise DataError(
                        f"{store.path}: none of the {tally.looked_at} images could be imported; "
                        f"the first: {tally.left_out[0].reason}"
                    )
            except DataError:
                is_hopeless = True
                raise
            skipped_list = write_list(out, tally.left_out, store)
    except DataError:
        if is_hopeless:
            _remove(writer.partial, journal.path)
        raise
    _remove(journal.path)
    return ImportReport(
        out=out,
        count=writer.count,
        size_px=tally.side_px,
        channels=len(mode),
        upscaled=tally.enlarged,
        classes=class_names,
        skipped=tuple(tally.damaged),
        too_small=tally.too_small,
        repeats=tally.repeats,
        ignored_profiles=tally.broken_profiles,
        skipped_list=skipped_list,
    )


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """How pixels are made."""

    size_px: int | None
    crop: Literal["center", "none"]
    alpha: foreign_images.Alpha
    min_size_px: int
    image_format: images.ImageFormat


class _Converted(NamedTuple):
    """What a thread made of a file."""

    outcome: Outcome
    data: bytes = b""
    """The encoded image, if kept."""


def _convert(store: Store, name: str, recipe: _Recipe, mode: str) -> _Converted:
    where = store.where(name)
    try:
        picture = foreign_images.read_picture(
            image_content(store, name),
            where,
            alpha=recipe.alpha,
            size_px=recipe.size_px,
            min_size_px=recipe.min_size_px,
        )
        square = foreign_images.fit_square(
            picture.image.convert(mode),
            recipe.size_px,
            crop=recipe.crop == "center",
            where=where,
            scale=picture.scale,
        )
    except DataError as error:
        return _Converted(Outcome("small" if isinstance(error, TooSmallError) else "damaged", printable(str(error))))
    pixels = np.asarray(square)
    outcome = Outcome(
        "kept",
        side_px=len(pixels),
        digest=int.from_bytes(hashlib.blake2b(pixels.tobytes(), digest_size=8).digest(), "little"),
        was_enlarged=min(picture.width_px, picture.height_px) < (recipe.size_px or 0),
        has_broken_profile=picture.has_broken_profile,
    )
    return _Converted(outcome, images.encode(pixels, recipe.image_format))


def _in_order(
    convert: Callable[[Item], T], items: Iterable[Item], threads: int
) -> Generator[tuple[Item, T], None, None]:
    """`(item, convert(item))` in order, converted by threads, twice as many items ahead as there are threads."""
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[tuple[Item, Future[T]]] = deque()
        try:
            for item in items:
                pending.append((item, pool.submit(convert, item)))
                if len(pending) > 2 * threads:
                    done, future = pending.popleft()
                    yield done, future.result()
            while pending:
                done, future = pending.popleft()
                yield done, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _choose_mode(
    store: Store, names: Iterable[str], recipe: _Recipe, threads: int, told: Callable[[], None]
) -> Literal["L", "RGB", "RGBA"]:
    """The pixel type of the dataset: "L" if the headers of all images that can be read say so."""
    if recipe.alpha == "keep":
        return "RGBA"
    if recipe.image_format == "webp" or len(set(recipe.alpha)) > 1:
        return "RGB"

    def has_colour(name: str) -> bool:
        try:
            content = image_content(store, name)
            return not foreign_images.is_grey(content, name, min_size_px=recipe.min_size_px)
        except DataError:
            return False

    with contextlib.closing(_in_order(has_colour, names, threads)) as looks:
        for _, is_coloured in looks:
            told()
            if is_coloured:
                return "RGB"
    return "L"


def _token(found: Source, recipe: _Recipe, *others: object) -> str:
    """A short name for an import: the same only if the same files are imported in the same way.

    Of files in a folder, size and time of the last change count; of archives, their own.
    """
    digest = hashlib.blake2b(digest_size=6)
    store = found.store
    versions = gantrol.__version__, PIL.__version__
    digest.update(repr((versions, recipe, others, store.path.name, len(found.names))).encode(errors="backslashreplace"))
    if isinstance(store, ZipStore | TarStore | ShardStore):
        digest.update(store.fingerprint().encode())
    elif not isinstance(store, FolderStore):
        digest.update(repr((store.total_bytes(), _stamp(store.path))).encode())
    for name in found.names:
        digest.update(name.encode("utf-8", "surrogatepass") + b"\0")
        if isinstance(store, FolderStore):
            digest.update(repr(_stamp(os.path.join(store.path, name))).encode())
    return digest.hexdigest()


def _stamp(path: str | Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return None if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)


def _remove(*paths: Path | None) -> None:
    for path in paths:
        if path is not None:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                path.unlink()


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _folder_classes(store: Store, names: Iterable[str]) -> dict[str, str]:
    """For each image its top-level folder, below the folders that all images share (`train/cat/…`, `train/dog/…`)."""
    names = list(names)
    paths = [name.split("/") for name in names]
    while len({path[0] for path in paths}) == 1 and all(len(path) > 2 for path in paths):
        paths = [path[1:] for path in paths]
    for name, path in zip(names, paths, strict=True):
        if len(path) < 2:
            raise DataError(f"{printable(store.where(name))}: is in no folder that could be its class")
    return {name: printable(path[0]) for name, path in zip(names, paths, strict=True)}


def _meta(
    annotations: Annotations,
    store: Store,
    recipe: _Recipe,
    alpha: str,
    duplicates: str,
    class_names: tuple[str, ...],
) -> dict[str, Any]:
    """What the dataset says about its making; no dates and no full paths, so that it stays the same everywhere."""
    made = {
        "generator": f"gantrol {gantrol.__version__} data import",
        "source": printable(store.path.name),
        "size_px": recipe.size_px,
        "crop": recipe.crop,
        "alpha": alpha,
        "min_size_px": recipe.min_size_px,
        "duplicates": duplicates,
    }
    return {**annotations.meta, "import": made} | ({"classes": list(class_names)} if class_names else {})
