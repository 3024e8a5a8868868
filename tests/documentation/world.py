"""What the pages take for granted: files that a reader would have, made in small when a block first speaks of them."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.documentation.pages import ROOT, fences
from tests.documentation.small import IMAGES, PIXELS

OUTPUTS = ("--out", "--grid", "--json", "--npz", "--strip", "--plot", "--html", "--pictures", "--work")
"""Options that name what a command writes."""


def gantrol(*words: str) -> None:
    """Runs a command in this process; AssertionError with what it said if it fails."""
    from gantrol.cli import main

    said, status = io.StringIO(), None
    arguments = sys.argv
    sys.argv = ["gantrol", *words]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main(words)
    except SystemExit as end:
        status = end.code
    finally:
        sys.argv = arguments
    assert not status, f"gantrol {' '.join(words)}\n{said.getvalue()}"


class World:
    """Makes files on demand, each once, and copies them to where a page is run."""

    def __init__(self, store: Path) -> None:
        self.store = store

    def provide(self, text: str, folder: Path) -> None:
        """Copies into the folder what the text speaks of and what is not there."""
        for name in MAKERS:
            if re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w-]|\.\w)", text) and not (folder / name).exists():
                made = self._made(name)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if made.is_dir() else shutil.copy)(made, folder / name)

    def provide_for(self, words: list[str], folder: Path) -> None:
        """The same for a command: what it writes need not be there, and must not."""
        read = []
        for before, word in zip(["", *words], words, strict=False):
            if before not in OUTPUTS:
                read.append(word)
            elif (folder / word).is_dir():
                shutil.rmtree(folder / word)
            else:
                (folder / word).unlink(missing_ok=True)
                (folder / word).parent.mkdir(parents=True, exist_ok=True)
        self.provide(" ".join(read), folder)

    def _made(self, name: str) -> Path:
        path = self.store / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            MAKERS[name](self, path)
        return path

    def faces(self, path: Path, seed: int = 0) -> None:
        """Portraits, two of each person."""
        gantrol("data", "faces", "--count", str(IMAGES), "--size", str(PIXELS), "--per-identity", "2",
                "--seed", str(seed), "--workers", "1", "--out", str(path))  # fmt: skip

    def run(self, path: Path) -> None:
        """A training of one step."""
        gantrol("train", "--preset", "stylegan3-t", "--scale", "tiny", "--data", str(self._made("faces.zip")),
                "--out", str(path), "--kimg", "0.004", "--batch", "4", "--device", "cpu",
                "generator.channel_max=8", "discriminator.channel_max=8")  # fmt: skip

    def model(self, path: Path) -> None:
        """The same as a model folder."""
        shutil.copytree(self._made("runs/first"), path)

    def controlled(self, path: Path) -> None:
        """A model with controls: the bundled one."""
        from gantrol.hub import resolve

        shutil.copytree(resolve("faces").folder, path)

    def picture(self, path: Path) -> None:
        """A portrait that is no power of two wide."""
        from gantrol.data.faces import render, sample_row

        Image.fromarray(render([sample_row(seed=5, index=0)], size_px=PIXELS)[0]).resize((50, 60)).save(path)

    def photographs(self, path: Path) -> None:
        """A folder of pictures of several sizes."""
        random = np.random.RandomState(0)
        path.mkdir(parents=True)
        for index in range(6):
            pixels = random.randint(0, 255, (40 + index, 44, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / f"{index}.jpg")

    def zipped_photographs(self, path: Path) -> None:
        """The same in a zip."""
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(self._made("photos").iterdir()):
                archive.write(file, file.name)

    def animals(self, path: Path) -> None:
        """A folder for each class."""
        for name in ("cat", "dog"):
            self.photographs(path / name)

    def own_labels(self, path: Path) -> None:
        """A dataset with labels of one's own."""
        from gantrol.data import DatasetWriter

        random = np.random.RandomState(0)
        schema = {"age": {"unit": "years", "low": 0, "high": 16}, "weight": {"unit": "kg", "low": 1, "high": 60}}
        with DatasetWriter(path, schema=schema) as writer:
            for index in range(IMAGES):
                pixels = random.randint(0, 255, (PIXELS, PIXELS, 3), dtype=np.uint8)
                writer.add(pixels, attributes={"age": float(index % 16), "weight": 2.0 + index})

    def readers(self, path: Path) -> None:
        """Predictors in a folder: the bundled ones."""
        from gantrol.control.predictors.folder import bundled_predictors

        shutil.copytree(bundled_predictors()["portraits-second"], path)

    def dog_pictures(self, path: Path) -> None:
        """The folder of pictures that `labels.json` speaks of: one colour each."""
        random = np.random.RandomState(0)
        path.mkdir(parents=True)
        for index in range(IMAGES):
            Image.new("RGB", (PIXELS, PIXELS), tuple(random.randint(0, 255, 3).tolist())).save(path / f"{index}.jpg")

    def dog_labels(self, path: Path) -> None:
        """Age, turn and coat of each."""
        coats = ("short", "long", "curly")
        labels = {f"{n}.jpg": {"age": n % 16, "turn": 3 * n - 30, "coat": coats[n % 3]} for n in range(IMAGES)}
        path.write_text(json.dumps(labels), encoding="utf-8")

    def all_dogs(self, path: Path) -> None:
        """The pictures as a dataset without labels."""
        gantrol("data", "import", str(self._made("dogs")), "--out", str(path), "--size", str(PIXELS), "--workers", "1")

    def dog_predictors(self, path: Path) -> None:
        """The folder whose description is on the page about predictors of one's own: networks of random weights."""
        (manifest,) = (
            fence.code for fence in fences([ROOT / "docs" / "own-predictors.md"]) if fence.language == "json"
        )
        path.mkdir(parents=True)
        (path / "predictors.json").write_text(manifest, encoding="utf-8")
        write_linear_network(path / "dog-age.onnx", size_px=224, outputs=20)
        write_linear_network(path / "dog-face.onnx", size_px=112, outputs=8, name="embedding")

    def dog_network(self, path: Path) -> None:
        """The folder of the page about domains: a network that averages the middle of a picture."""
        blocks = [fence.code for fence in fences([ROOT / "docs" / "domains.md"]) if fence.language == "json"]
        path.mkdir(parents=True)
        (path / "predictors.json").write_text(blocks[1], encoding="utf-8")
        write_linear_network(path / "coat.onnx", size_px=64, outputs=None)


def write_linear_network(path: Path, *, size_px: int, outputs: int | None, name: str = "y") -> None:
    """An ONNX file: the mean of each colour, and a linear layer of random weights on it if outputs are given."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["mean"]), helper.make_node("Flatten", ["mean"], ["flat"])]
    weights = []
    if outputs is not None:
        random = np.random.RandomState(0).randn(3, outputs).astype(np.float32)
        weights = [numpy_helper.from_array(4 * random, "weight")]
        nodes.append(helper.make_node("MatMul", ["flat", "weight"], [name]))
    name, width = ("flat", 3) if outputs is None else (name, outputs)
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, size_px, size_px])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


MAKERS: dict[str, Callable[[World, Path], None]] = {
    "faces.zip": World.faces,
    "few.zip": World.faces,
    "small.zip": World.faces,
    "heldout.zip": lambda world, path: world.faces(path, seed=1),
    "other.zip": lambda world, path: world.faces(path, seed=2),
    "others.zip": lambda world, path: world.faces(path, seed=2),
    "enlarged.zip": lambda world, path: world.faces(path, seed=3),
    "mine.zip": World.own_labels,
    "runs/first": World.run,
    "runs/second": World.model,
    "runs/faces": World.controlled,
    "MODEL": World.model,
    "ffhq": World.model,
    "me.jpg": World.picture,
    "someone.jpg": World.picture,
    "painting.png": World.picture,
    "photos": World.photographs,
    "photos.zip": World.zipped_photographs,
    "animals": World.animals,
    "dogs": World.dog_pictures,
    "labels.json": World.dog_labels,
    "dogs-all.zip": World.all_dogs,
    "dog-predictors": World.dog_predictors,
    "dog-network": World.dog_network,
    "pictures.zip": World.faces,
    "my-second-readers": World.readers,
}
"""Who makes what."""
