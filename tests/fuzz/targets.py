"""Every reader of files, descriptions and words from strangers, with an intact input for each and the ways to spoil it.

Whatever it is given, a reader ends in one of two ways: with a value, or with a `GantrolError` of one line.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

import gantrol
import gantrol.convert
from gantrol import checkpoint
from gantrol.control.predictors import load_predictors
from gantrol.data import DatasetWriter, ImageDataset, import_images
from gantrol.data.foreign_images import open_any
from gantrol.metrics.networks.user_network import UserNetwork
from gantrol.model import Model
from gantrol.report.run_page import report_page
from gantrol.studio.access import accept_upload
from gantrol.studio.state import Shown
from tests.convert.official_pickles import TINY_T, dump, shaken, snapshot
from tests.convert.test_gan_control import tiny_run
from tests.data.nasty import COLOUR, saved
from tests.data.test_sources import write_cifar10
from tests.documentation.world import write_linear_network
from tests.fuzz.damage import damaged_bytes, damaged_json, damaged_safetensors, damaged_zip

Files = dict[str, bytes]
"""Contents by path within a folder."""
Spoiler = Callable[[bytes], st.SearchStrategy[bytes]]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A reader."""

    name: str
    """Of what it reads."""
    make: Callable[[], Files]
    """An intact input."""
    spoil: Mapping[str, Spoiler]
    """What may be done to which of the files."""
    read: Callable[[Path], object]
    """Reads the folder that holds them."""


def written(files: Files, folder: Path) -> Path:
    """`folder`, holding the files."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def _files(fill: Callable[[Path], object]) -> Callable[[], Files]:
    """The files that `fill` leaves in a folder."""

    def make() -> Files:
        with tempfile.TemporaryDirectory() as name:
            fill(Path(name))
            paths = sorted(path for path in Path(name).rglob("*") if path.is_file())
            return {path.relative_to(name).as_posix(): path.read_bytes() for path in paths}

    return make


# ----------------------------------------------------------------------------------------------------------------------
# Checkpoints of others, and models


def _official(folder: Path) -> None:
    (folder / "network.pkl").write_bytes(dump(snapshot(shaken(TINY_T))))


def _old_torch_file(folder: Path) -> None:
    content = {"avg_gen_state_dict": {"l1.weight": torch.ones(4, 3), "l1.bias": torch.ones(4)}, "epoch": 3}
    torch.save(content, folder / "old.pth", _use_new_zipfile_serialization=False)


def _import(pattern: str) -> Callable[[Path], object]:
    return lambda folder: gantrol.convert.import_checkpoint(next(folder.rglob(pattern)), device="cpu")


def _model(folder: Path) -> None:
    """Weights as another program writes them: without the check sum of ours, which would notice most damage."""
    Model(shaken(TINY_T)).save_pretrained(folder / "model")
    weights = folder / "model" / "generator.safetensors"
    save_file({name: tensor.clone() for name, tensor in load_file(weights).items()}, weights)


def _faces(folder: Path) -> None:
    """The bundled model, whose controls are among the files; its weights are the largest part and are not damaged."""
    source = Path(gantrol.__file__).parent / "bundled" / "faces"
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())


def _predictors(folder: Path) -> None:
    source = Path(gantrol.__file__).parent / "bundled" / "predictors-portraits"
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())


def _checkpoint(folder: Path) -> None:
    checkpoint.save(folder / "state.ckpt", {"a": torch.ones(3, 2), "b": torch.arange(5)}, {"step": 3, "words": ["x"]})


def _network(folder: Path) -> None:
    write_linear_network(folder / "net.onnx", size_px=16, outputs=None)
    description = {
        "format": "gantrol-features", "title": "Mine", "kind": "onnx", "weights": "net.onnx", "features": 0,
        "input": {"size": 16, "resize": "bilinear", "antialias": True, "mean": [0.5] * 3, "std": [0.5] * 3},
    }  # fmt: skip
    (folder / "net.json").write_text(json.dumps(description))


def _observe(folder: Path) -> object:
    return UserNetwork(folder / "net.json")(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))


# ----------------------------------------------------------------------------------------------------------------------
# Images and datasets


def _dataset(folder: Path) -> None:
    with DatasetWriter(folder / "data.zip") as writer:
        for index in range(4):
            pixels = np.full((16, 16, 3), index * 20, np.uint8)
            writer.add(pixels, label=index % 2, attributes={"age": 20.0 + index})


def _read_dataset(folder: Path) -> object:
    data = ImageDataset(folder / "data.zip")
    return [(data.pixels(index), data.label(index), data.attributes(index)) for index in range(len(data))]


def _tar(folder: Path) -> None:
    with tarfile.open(folder / "shard-000000.tar", "w") as archive:
        for index in range(3):
            for kind, content in (("png", saved(COLOUR, "PNG")), ("cls", b"1"), ("json", b'{"age": 20}')):
                info = tarfile.TarInfo(f"{index:04d}.{kind}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def _imported(name: str) -> Callable[[Path], object]:
    """An import of one file of the folder, or of the whole of it."""

    def read(folder: Path) -> object:
        source = folder / name if name else folder / "source"
        return import_images(source, folder / "out.zip", size_px=16, workers=1, overwrite=True)

    return read


def _cifar(folder: Path) -> None:
    pixels, labels = np.zeros((3, 3072), np.uint8), [0, 1, 2]
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    write_cifar10(folder / "source", dict.fromkeys(names, (pixels, labels)), "4")


def _mnist(folder: Path) -> None:
    root = folder / "source"
    root.mkdir()
    images = np.zeros((3, 28, 28), np.uint8)
    head = (0x803).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in images.shape)
    (root / "train-images-idx3-ubyte").write_bytes(head + images.tobytes())
    labels = (0x801).to_bytes(4, "big") + (3).to_bytes(4, "big") + bytes([1, 2, 3])
    (root / "train-labels-idx1-ubyte").write_bytes(labels)


def _pictures(folder: Path) -> None:
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"):
        (folder / f"picture.{kind.lower()}").write_bytes(saved(COLOUR, kind))


def _read_pictures(folder: Path) -> object:
    return [open_any(path.read_bytes(), path.name) for path in sorted(folder.iterdir())]


# ----------------------------------------------------------------------------------------------------------------------
# Runs, and what a browser sends


def _run(folder: Path) -> None:
    tick = {"tick": 1, "kimg": 0.04, "images": 40, "seconds": 1.5, "loss/G": 0.7, "loss/D": 1.3, "sec_per_kimg": 30.0}
    lines = [json.dumps({**tick, "tick": i, "images": 40 * i, "kimg": 0.04 * i}) for i in range(4)]
    config = {"format": "gantrol-run", "format_version": 1, "preset": "stylegan3-t", "scale": "tiny", "seed": 0}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "metrics.jsonl").write_text(json.dumps({"images": 40, "kimg": 0.04, "metrics": {"fid": {"value": 9.0}}}))
    (folder / "samples").mkdir()
    Image.new("RGB", (32, 32)).save(folder / "samples" / "fakes_000040.png")


def _shown(folder: Path) -> None:
    shown = Shown(model="faces", seed=3, controls={"age": 60.0, "hair_color": (0.5, 0.2, 0.1)}, translate=(0.1, 0.0))
    (folder / "shown.json").write_text(json.dumps(shown.to_json()))


_TINY_FACES: list[Model] = []


def _show(folder: Path) -> object:
    """A description from the browser: read, fitted to the model, written out again."""
    if not _TINY_FACES:
        _TINY_FACES.append(gantrol.load("faces", device="cpu"))
    shown = Shown.from_json((folder / "shown.json").read_bytes())
    fitted = shown.fitted("faces", _TINY_FACES[0])
    assert Shown.from_json(json.dumps(fitted.to_json())) == fitted
    return fitted.command("a.png"), fitted.python()


def _upload(folder: Path) -> None:
    (folder / "upload.png").write_bytes(saved(COLOUR, "PNG"))


TARGETS = (
    Target(name="StyleGAN pickle", make=_files(_official), spoil={"network.pkl": damaged_bytes}, read=_import("*.pkl")),
    Target(
        name="GAN-Control run",
        make=_files(tiny_run),
        spoil={"checkpoint/000100.pt": damaged_zip, "args.json": damaged_json},
        read=_import("*.pt"),
    ),
    Target(
        name="torch file, old", make=_files(_old_torch_file), spoil={"old.pth": damaged_bytes}, read=_import("*.pth")
    ),
    Target(
        name="model",
        make=_files(_model),
        spoil={"model/config.json": damaged_json, "model/generator.safetensors": damaged_safetensors},
        read=lambda folder: gantrol.load(str(folder / "model"), device="cpu"),
    ),
    Target(
        name="controllable model",
        make=_files(_faces),
        spoil={"config.json": damaged_json, "controls.safetensors": damaged_safetensors},
        read=lambda folder: gantrol.load(str(folder), device="cpu"),
    ),
    Target(
        name="predictors",
        make=_files(_predictors),
        spoil={"predictors.json": damaged_json, "reader.safetensors": damaged_safetensors},
        read=load_predictors,
    ),
    Target(
        name="training state",
        make=_files(_checkpoint),
        spoil={"state.ckpt": damaged_bytes},
        read=lambda folder: checkpoint.load(folder / "state.ckpt"),
    ),
    Target(
        name="ONNX features",
        make=_files(_network),
        spoil={"net.onnx": damaged_bytes, "net.json": damaged_json},
        read=_observe,
    ),
    Target(name="dataset", make=_files(_dataset), spoil={"data.zip": damaged_zip}, read=_read_dataset),
    Target(
        name="WebDataset",
        make=_files(_tar),
        spoil={"shard-000000.tar": damaged_bytes},
        read=_imported("shard-000000.tar"),
    ),
    Target(
        name="CIFAR pickle",
        make=_files(_cifar),
        spoil={"source/data_batch_1": damaged_bytes},
        read=_imported(""),
    ),
    Target(
        name="MNIST",
        make=_files(_mnist),
        spoil={"source/train-images-idx3-ubyte": damaged_bytes, "source/train-labels-idx1-ubyte": damaged_bytes},
        read=_imported(""),
    ),
    Target(
        name="pictures",
        make=_files(_pictures),
        spoil={f"picture.{kind}": damaged_bytes for kind in ("png", "jpeg", "webp", "gif", "tiff", "bmp")},
        read=_read_pictures,
    ),
    Target(
        name="run",
        make=_files(_run),
        spoil={"config.json": damaged_json, "log.jsonl": damaged_bytes, "metrics.jsonl": damaged_json},
        read=report_page,
    ),
    Target(name="studio state", make=_files(_shown), spoil={"shown.json": damaged_json}, read=_show),
    Target(
        name="studio upload",
        make=_files(_upload),
        spoil={"upload.png": damaged_bytes},
        read=lambda folder: accept_upload(folder / "upload.png"),
    ),
)


def check_line(error: BaseException) -> None:
    """Fails unless the message is one short line that does not show the inside of a file at length."""
    text = str(error)
    assert text.strip(), repr(error)
    assert "\n" not in text, text
    assert len(text) < 2000, text[:300]
    assert os.linesep not in text
