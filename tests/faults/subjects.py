"""The commands that are tormented: trainings of each family and of both phases of control, an import, an evaluation.

Each is hours of work made tiny: networks of a few thousand weights on images of 16 pixels (TransGAN: 32). A subject
says how it is begun, how it is continued, and what its result is: hashes by name of everything that must be the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gantrol import checkpoint
from gantrol.control.predictors.folder import save_predictors
from gantrol.control.predictors.reader import ReaderConfig
from gantrol.control.predictors.targets import Target
from gantrol.data.writer import DatasetWriter

TICK_IMG, BATCH = 24, 8

_STYLE = [
    *(f"generator.{size}" for size in ("channel_base=64", "channel_max=4", "z_dim=8", "w_dim=8")),
    *(f"discriminator.{size}" for size in ("channel_base=64", "channel_max=4")),
]
_ALIAS_FREE = [*_STYLE, "generator.num_layers=4", "generator.margin_px=4"]
_CONTROL = [word.replace("generator.", "generator.base.", 1) for word in _ALIAS_FREE if "_dim" not in word]
_LENGTH = [f"tick_kimg={TICK_IMG / 1000}", "sample_ticks=2", "keep_checkpoints=50", "workers=1"]
_TIMINGS = {"elapsed_s", "img_per_s", "outside_share", "memory_gib", "seconds"}
_TIMINGS |= {f"{what}_s" for what in ("step", "data", "save", "evaluate")}
_UNTIMED = ("report.html", "config.json")


@dataclass(frozen=True)
class Inputs:
    """What all subjects read."""

    folder: Path

    def data(self, side_px: int) -> Path:
        return self.folder / f"data{side_px}.zip"

    @property
    def readers(self) -> Path:
        return self.folder / "readers"

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    @property
    def controlled(self) -> Path:
        return self.folder / "controlled"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def make(self) -> None:
        """Datasets, pictures and predictors; the two runs are for the caller to train."""
        for side_px in (16, 32):
            with DatasetWriter(self.data(side_px)) as writer:
                for image in _images(40, side_px):
                    writer.add(image)
        self.pictures.mkdir()
        for number, image in enumerate(_images(60, 16)):
            Image.fromarray(image).save(self.pictures / f"{number:03d}.png")
        torch.manual_seed(0)
        one: dict[str, Any] = {"kind": "numbers", "components": ("value",), "mean": (0.0,)}
        one |= {"low": (-1.0,), "high": (1.0,)}
        targets = tuple(Target(name=name, sources=(name,), deviation=(1.0,), **one) for name in ("age", "yaw"))
        reader = ReaderConfig(targets=targets, resolution_px=16, widths=(4, 4, 8, 8), hidden=8).build().eval()
        save_predictors(
            self.readers,
            [reader],
            thresholds={name: {"same": 0.01, "different": 0.5} for name in ("age", "yaw")},
        )


def _images(count: int, side_px: int) -> list[np.ndarray]:
    """Coloured grounds with a bright square each."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        image = np.full((side_px, side_px, 3), rng.integers(0, 120, 3), dtype=np.uint8)
        x, y = rng.integers(1, side_px // 2, 2)
        image[y : y + side_px // 2, x : x + side_px // 2] = rng.integers(160, 255, 3)
        images.append(image)
    return images


class Subject:
    """A command with a result.

    Args:
        name: for the table.
        inputs: what it reads.
    """

    needs_runs = False
    """Whether it reads the runs of `preparations`."""
    data: Path | None = None
    """The dataset whose loss it must survive."""

    def __init__(self, name: str, inputs: Inputs) -> None:
        self.name, self.inputs = name, inputs

    def arguments(self, folder: Path) -> list[str]:
        """The command that begins, or goes on with what `folder` holds."""
        raise NotImplementedError

    def result(self, folder: Path) -> dict[str, str]:
        """By name, the hash of everything that must be the same in the end."""
        raise NotImplementedError


class Training(Subject):
    """`gantrol train`, continued by --resume as soon as there is a run."""

    def __init__(
        self, name: str, inputs: Inputs, preset: str, *more: str, side_px: int = 16, out: Path | None = None
    ) -> None:
        super().__init__(name, inputs)
        self.preset, self.more, self.out = preset, more, out
        self.data = inputs.data(side_px)

    def arguments(self, folder: Path) -> list[str]:
        run = self.out or folder / "run"
        if (run / "config.json").exists():
            return ["train", "--resume", str(run), "--device", "cpu"]
        start = ["train", "--preset", self.preset, "--scale", "tiny", "--data", str(self.data), "--out", str(run)]
        return [*start, "--device", "cpu", "--batch", str(BATCH), "--kimg", "0.072", *_LENGTH, *self.more]

    def checkpoints(self, folder: Path) -> dict[str, str]:
        """The hash of the tensors of each intact checkpoint."""
        found = {}
        for path in sorted((folder / "run" / "checkpoints").glob("*.safetensors")):
            found[path.name] = checkpoint.sha256_of(checkpoint.load(path)[0])
        return found

    def result(self, folder: Path) -> dict[str, str]:
        run = folder / "run"
        found = {f"checkpoints/{name}": value for name, value in self.checkpoints(folder).items()}
        for path in sorted(run.rglob("*")):
            name = str(path.relative_to(run))
            if path.is_dir() or name in found:
                continue
            if path.suffix == ".safetensors":
                found[name] = checkpoint.sha256_of(checkpoint.load(path)[0])
            elif path.suffix == ".jsonl":
                found[name] = _hash(_without_times(path))
            elif name in _UNTIMED:
                found[name] = "there"
            else:
                found[name] = _hash(path.read_bytes())
        return found


class Fit(Subject):
    """`gantrol control fit`, begun again by the same command."""

    needs_runs = True

    def arguments(self, folder: Path) -> list[str]:
        start = ["control", "fit", str(self.inputs.controlled), "--predictors", str(self.inputs.readers)]
        sizes = ["--samples", "200", "--steps", "60", "--refine", "30", "--hidden", "8", "--batch", "16"]
        return [*start, "--out", str(folder / "model"), "--device", "cpu", "--json", str(folder / "fit.json"), *sizes]

    def result(self, folder: Path) -> dict[str, str]:
        record = json.loads((folder / "fit.json").read_text())
        record.pop("out")
        found = {"fit.json": _hash(json.dumps(record).encode())}
        for path in (folder / "model").glob("*.safetensors"):
            found[path.name] = checkpoint.sha256_of(checkpoint.load(path)[0])
        return found | _names(folder)


class Import(Subject):
    """`gantrol data import`, begun again by the same command."""

    def __init__(self, name: str, inputs: Inputs, out: str, *more: str) -> None:
        super().__init__(name, inputs)
        self.out, self.more = out, more

    def arguments(self, folder: Path) -> list[str]:
        out = str(folder / self.out)
        return ["data", "import", str(self.inputs.pictures), "--out", out, "--size", "16", "--workers", "2", *self.more]

    def result(self, folder: Path) -> dict[str, str]:
        return {str(path.relative_to(folder)): _hash(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


class Evaluation(Subject):
    """`gantrol evaluate`, begun again by the same command; it keeps nothing of its own but the answer."""

    needs_runs = True

    def arguments(self, folder: Path) -> list[str]:
        chosen = ["--metrics", "eqt,ppl", "--samples", "8", "--seed", "1"]
        return ["evaluate", str(self.inputs.run), *chosen, "--device", "cpu", "--json", str(folder / "scores.json")]

    def result(self, folder: Path) -> dict[str, str]:
        return {"scores.json": _hash((folder / "scores.json").read_bytes())} | _names(folder)


def subjects(inputs: Inputs) -> list[Subject]:
    """All of them; the last two need the runs of `preparations`."""
    transgan = [f"generator.stages.{stage}.depth=1" for stage in range(3)]
    scored = ["--augment", "ada", "--metrics", "eqt", "--metrics-every", "0.048", "evaluation.samples=4"]
    return [
        Training("StyleGAN2", inputs, "stylegan2", *_STYLE),
        Training("StyleGAN3, ada, with scores", inputs, "stylegan3-t", *_ALIAS_FREE, *scored),
        Training("TransGAN", inputs, "transgan-v1-s", "generator.z_dim=8", *transgan, side_px=32),
        _controlled(inputs, None),
        Fit("control phase two", inputs),
        Import("import, zip", inputs, "out.zip"),
        Import("import, WebDataset", inputs, "out", "--layout", "webdataset", "--shard-images", "20"),
        Evaluation("evaluation", inputs),
    ]


def preparations(inputs: Inputs) -> list[Subject]:
    """The trainings whose runs are inputs of the others."""
    return [
        Training("a run", inputs, "stylegan3-t", *_ALIAS_FREE, "kimg=0.024", out=inputs.run),
        _controlled(inputs, inputs.controlled),
    ]


def _controlled(inputs: Inputs, out: Path | None) -> Training:
    more = ["--control", "age,yaw", "--predictors", str(inputs.readers)]
    return Training("control phase one", inputs, "stylegan3-t", *more, *_CONTROL, out=out)


def _names(folder: Path) -> dict[str, str]:
    """Which files there are, but for numbers in the work folder that depend on when it was stopped."""
    return {f"name {path.relative_to(folder)}": "there" for path in folder.rglob("*") if path.is_file()}


def _without_times(path: Path) -> bytes:
    def plain(line: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in sorted(line.items()) if name not in _TIMINGS}

    return "\n".join(json.dumps(plain(json.loads(line))) for line in path.read_text().splitlines()).encode()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def differences(found: dict[str, str], expected: dict[str, str]) -> Sequence[str]:
    """The names that are missing, too many or other than they should be."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
