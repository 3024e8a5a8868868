"""Which kind of source a path is."""

from __future__ import annotations

import os
from pathlib import Path

from gantrol.data.annotations import FILE_NAME
from gantrol.data.foreign_images import FOREIGN_SUFFIXES
from gantrol.data.images import IMPORT_SUFFIXES
from gantrol.data.sources import celeba, cifar, huggingface, lmdb, mnist, stl10
from gantrol.data.sources.source import Source
from gantrol.data.stores import ShardStore, exists, open_store, stored_annotations
from gantrol.errors import DataError

_LAYOUTS = (cifar.recognise, stl10.recognise, mnist.recognise, celeba.recognise)

_KINDS = (
    "a folder, zip or tar of images, shards of these (WebDataset too), CIFAR, STL-10, MNIST (idx), CelebA, "
    "an LMDB database, a Hugging Face dataset (hf:owner/name, saved folder, Parquet)"
)

_UNREAD = {".tfrecord": "a TFRecord file", ".h5": "an HDF5 file", ".npz": "a NumPy archive", ".7z": "a 7-Zip archive"}
_UNREAD |= {".rar": "a RAR archive"}


def open_source(source: str | os.PathLike[str], split: str | None = None, *, wants_plain: bool = False) -> Source:
    """The images at `source` with their labels and attributes.

    Args:
        source: a path, or `hf:owner/name` for a dataset on the Hugging Face hub.
        split: which part of a published dataset; None is what training uses.
        wants_plain: ignore annotations that come with the images.

    Raises:
        DataError: there is nothing, it is of an unknown kind, or damaged; `split` is not there.
        MissingExtraError: the package that reads this kind is not installed.
    """
    if str(source).startswith(huggingface.PREFIX):
        return huggingface.open_huggingface(str(source), split)
    if huggingface.is_chosen(str(source)):
        return huggingface.open_huggingface(str(source), split)
    path = Path(source)
    if not exists(path):
        raise DataError(f"{path}: does not exist; expected {_KINDS}")
    if lmdb.is_lmdb(path):
        return _without_split(lmdb.open_lmdb(path), split, path)
    if huggingface.is_saved(path):
        return huggingface.open_huggingface(str(path), split)
    if path.is_file() and mnist.is_idx(path):
        return mnist.single_file(path, split)
    _refuse_others(path)
    store = open_store(path)
    for recognise in _LAYOUTS:
        found = recognise(store, split)
        if found is not None:
            return found
    # Beside annotations only what they can speak of counts; otherwise also what has to be refused, so that it is told.
    is_annotated = isinstance(store, ShardStore) or FILE_NAME in store.names
    suffixes = IMPORT_SUFFIXES if is_annotated and not wants_plain else FOREIGN_SUFFIXES
    names = tuple(name for name in store.names if name.lower().endswith(suffixes))
    if not names:
        raise DataError(f"{path}: holds no images ({' '.join(IMPORT_SUFFIXES)}) and is no dataset that is known here")
    if wants_plain:
        return _without_split(Source(store=store, names=names), split, path)
    return _without_split(Source(store=store, names=names, annotations=stored_annotations(store, names)), split, path)


def _without_split(source: Source, split: str | None, path: Path) -> Source:
    if split not in (None, "all"):
        raise DataError(f"{path}: has no splits, so there is no {split!r}: leave --split out")
    return source


def _refuse_others(path: Path) -> None:
    """Names the kind of a file that is not read, instead of calling it a broken zip."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DataError(f"{path}: is a pipe, socket or device; expected {_KINDS}")
    kind = next((kind for ending, kind in _UNREAD.items() if path.name.lower().endswith(ending)), None)
    if path.is_file() and kind is None and path.suffix.lower() in FOREIGN_SUFFIXES:
        kind = "a single image"
    if kind is not None:
        raise DataError(f"{path}: is {kind}; this command reads {_KINDS}")
