"""STL-10 (Coates et al. 2011): binary files of 96×96 images, as the archive or unpacked.

A record holds three planes of 9,216 bytes, each column by column. Training of unconditional models uses train and
unlabeled together, 105,000 images (TransGAN), which is the default here too; `--size 48` makes the size of that paper.
"""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath

import numpy as np

from gantrol.data.sources.arrays import ArrayStore, Block, content, rows
from gantrol.data.sources.source import Part, Source, choose_parts, joined
from gantrol.data.zipstore import Store
from gantrol.errors import DataError

_SIDE = 96


def recognise(store: Store, split: str | None) -> Source | None:
    """The source in `store`, or None if it is not STL-10.

    Args:
        store: the files.
        split: train (train and unlabeled images, the default), labeled, unlabeled, test or all.

    Raises:
        DataError: it is, but damaged, incomplete, or has no such split.
    """
    files = {PurePosixPath(name).name: name for name in store.names}
    if "train_X.bin" not in files:
        return None
    blocks: dict[str, Block] = {}
    parts: dict[str, Part] = {}
    for file, part in (("train", "labeled"), ("unlabeled", "unlabeled"), ("test", "test")):
        if f"{file}_X.bin" not in files:
            continue
        planes = rows(store, files[f"{file}_X.bin"], 3 * _SIDE * _SIDE)
        blocks[part] = Block(
            prefix=f"{file}/",
            count=len(planes),
            pixels=partial(_image, planes),
        )
        classes_of = _labels(store, files.get(f"{file}_y.bin"), blocks[part])
        parts[part] = Part(names=blocks[part].names, labels=classes_of)
    names = tuple(name for part in ("labeled", "unlabeled") if part in parts for name in parts[part].names)
    labels = parts["labeled"].labels if "unlabeled" not in parts else None
    chosen = choose_parts({"train": Part(names=names, labels=labels), **parts}, split, "train", str(store.path))
    if split == "all":
        chosen = tuple(parts.values())
    array_store = ArrayStore(store, list(blocks.values()))
    classes: tuple[str, ...] = ()
    if "class_names.txt" in files:
        classes = tuple(bytes(content(store, files["class_names.txt"])).decode("utf-8", "replace").split())
    return joined(array_store, chosen, classes)


def _image(planes: np.ndarray, index: int) -> np.ndarray:
    return planes[index].reshape(3, _SIDE, _SIDE).transpose(2, 1, 0)


def _labels(store: Store, name: str | None, block: Block) -> dict[str, int] | None:
    """Classes 0 to 9; the files count from 1."""
    if name is None:
        return None
    classes: np.ndarray = content(store, name)
    if len(classes) != block.count or not ((classes >= 1) & (classes <= 10)).all():
        raise DataError(f"{store.where(name)}: {len(classes)} labels do not fit {block.count} images of ten classes")
    return {image: int(label) - 1 for image, label in zip(block.names, classes, strict=True)}
