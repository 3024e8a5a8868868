"""`python -m benchmarks.transgan_study FACES.zip --out RUNS`: TransGAN's tables, rerun at a small budget.

swap         the transformer's generator and discriminator, each also with AutoGAN's: which side is the weak one?
augmentation WGAN-GP, AutoGAN, StyleGAN2 and TransGAN, without and with DiffAugment: who needs it?
ingredients  TransGAN alone, + augmentation, + co-training with super-resolution, + a local start of the attention

All trainings share one declared recipe, so that only what a table varies differs: the non-saturating loss with R1 every
16 steps, Adam 0.001 (β 0, 0.99) for both networks, one step of D per step of G, the same data, order, seed and number
of images; where D is a transformer, gradients are clipped at 5, as in its own recipe. That one takes days. Trainings
that are done are not repeated, and one that was interrupted goes on, so the command can be given again at any time.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import gantrol
from benchmarks.study_picture import study_picture
from gantrol.atomic import write_json
from gantrol.config import override
from gantrol.data.dataset import ImageDataset
from gantrol.errors import GantrolError
from gantrol.metrics import evaluate
from gantrol.pictures import save_image
from gantrol.train.config import TrainConfig
from gantrol.train.loop import train
from gantrol.train.presets import DataShape, choose_precision, discriminator_config, preset, stable_precision
from gantrol.train.run import create_run, has_checkpoint

PROGRAM = "python -m benchmarks.transgan_study"
RECIPE = (
    "loss.name=non-saturating",
    "loss.gp_weight=0",
    "loss.drift_weight=0",
    "loss.r1_gamma=0.1",
    "loss.r_interval=16",
    "loss.pl_weight=0",
    "loss.style_mixing_prob=0",
    "g_adam.lr=0.001",
    "g_adam.beta2=0.99",
    "d_adam.lr=0.001",
    "d_adam.beta2=0.99",
    "n_critic=1",
    "g_batch_factor=1",
    "lr_decay=none",
    "ema_beta=null",
    "ema_half_life_kimg=2",
    "ema_ramp_up=0.1",
    "x_flip=false",
    "augment.name=none",
    "cotrain.weight=0",
    "locality.window=none",
)
CLIPPED, UNCLIPPED = ("clip_norm=5",), ("clip_norm=null",)
"""A transformer discriminator learns nothing at this rate unless gradients are clipped, which its own recipe does."""
AUGMENTED = ("augment.name=diffaugment", "augment.diffaugment.policy=translation,cutout,color")
CO_TRAINED = ("cotrain.weight=50",)
LOCAL = ("locality.window=raster_band",)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training of the study."""

    name: str
    generator: str
    """A preset."""
    discriminator: str
    """What `--d` takes."""
    overrides: tuple[str, ...] = ()
    """On top of the recipe."""
    published: str
    """The corresponding row of the paper, IS and FID on CIFAR-10; from memory where our notes say so."""


TRANSGAN, AUTOGAN = "transgan-v1-s", "autogan-a"
PAIRS = {
    "WGAN-GP": ("wgan-gp", "wgan-gp"),
    "AutoGAN": (AUTOGAN, "autogan"),
    "StyleGAN2": ("stylegan2", "stylegan2"),
    "TransGAN": (TRANSGAN, "transgan-v1"),
}
PUBLISHED_AUGMENTATION = {
    "WGAN-GP": ("6.49 / 39.68", "6.29 / 37.14"),
    "AutoGAN": ("8.55 / 12.42", "8.60 / 12.72"),
    "StyleGAN2": ("9.18 / 11.07", "9.40 / 9.89"),
    "TransGAN": ("6.95 / 41.41", "8.15 / 19.85"),
}

RUNS = {
    run.name: run
    for run in (
        *(
            Run(name=f"{label} plain", generator=g, discriminator=d, published=PUBLISHED_AUGMENTATION[label][0])
            for label, (g, d) in reversed(PAIRS.items())
        ),
        Run(name="TransGAN G, AutoGAN D", generator=TRANSGAN, discriminator="autogan", published="8.59 / 13.23"),
        Run(name="AutoGAN G, TransGAN D", generator=AUTOGAN, discriminator="transgan-v1", published="6.17 / 49.83"),
        *(
            Run(
                name=f"{label} augmented",
                generator=g,
                discriminator=d,
                overrides=AUGMENTED,
                published=PUBLISHED_AUGMENTATION[label][1],
            )
            for label, (g, d) in reversed(PAIRS.items())
        ),
        Run(
            name="TransGAN augmented, co-trained",
            generator=TRANSGAN,
            discriminator="transgan-v1",
            overrides=(*AUGMENTED, *CO_TRAINED),
            published="8.20 / 19.12",
        ),
        Run(
            name="TransGAN augmented, co-trained, local",
            generator=TRANSGAN,
            discriminator="transgan-v1",
            overrides=(*AUGMENTED, *CO_TRAINED, *LOCAL),
            published="8.22 / 18.58",
        ),
    )
}

TABLES = {
    "Swap: generator and discriminator": (
        "AutoGAN plain",
        "TransGAN G, AutoGAN D",
        "AutoGAN G, TransGAN D",
        "TransGAN plain",
    ),
    "Augmentation": tuple(f"{label} {state}" for label in PAIRS for state in ("plain", "augmented")),
    "TransGAN's ingredients": (
        "TransGAN plain",
        "TransGAN augmented",
        "TransGAN augmented, co-trained",
        "TransGAN augmented, co-trained, local",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Trains what is missing, then prints the tables."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    try:
        record: dict[str, Any] = {
            "command": f"{PROGRAM} {shlex.join(arguments)}",
            "gantrol_version": gantrol.__version__,
            "torch_version": torch.__version__,
            "seed": options.seed,
            "kimg": options.kimg,
            "samples": options.samples,
            "metric": "FD-EfficientNet-Lite0, lower is better",
            "recipe": list(RECIPE),
            "runs": {},
        }
        wanted = [run for run in RUNS.values() if not options.only or any(word in run.name for word in options.only)]
        for number, run in enumerate(wanted, 1):
            print(f"[{number}/{len(wanted)}] {run.name}", file=sys.stderr, flush=True)
            record["runs"][run.name] = measured(run, options)
            if options.json is not None:
                write_json(options.json, record)
    except GantrolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    show(record)
    if options.picture is not None:
        names = [name for name in TABLES["TransGAN's ingredients"] if name in record["runs"]]
        folders = {name: options.out / folder_name(name) for name in names}
        save_image(options.picture, study_picture(record["runs"], folders, names))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=main.__doc__)
    parser.add_argument("data", metavar="FACES.zip", type=Path, help="from `gantrol data faces --size 32`")
    parser.add_argument("--out", metavar="RUNS", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--kimg", type=float, default=6.0, help="length of each training in thousands of images")
    parser.add_argument("--scale", default="tiny", help="of the networks")
    parser.add_argument("--samples", type=int, default=1000, help="images per Fréchet distance")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="WORD", nargs="*", help="only the trainings whose name contains a word")
    parser.add_argument("--json", metavar="F", type=Path, help="also write the numbers to this file")
    parser.add_argument("--picture", metavar="F", type=Path, help="also draw samples and losses of the ingredients")
    return parser


def folder_name(name: str) -> str:
    """The run folder of a training."""
    return name.replace(",", "").replace(" ", "-").lower()


def config_of(run: Run, options: argparse.Namespace) -> TrainConfig:
    """The whole config of one training."""
    dataset = ImageDataset(options.data)
    shape = DataShape(resolution_px=dataset.resolution_px, channels=dataset.channels)
    precision = choose_precision(getattr(options, "device", "cpu"))
    config = preset(run.generator, options.scale, shape, precision=precision)
    d = discriminator_config(run.discriminator, options.scale, shape, precision=precision)
    config = replace(config, discriminator=d, data=str(options.data.resolve()), kimg=options.kimg, seed=options.seed)
    clipping = CLIPPED if run.discriminator.startswith("transgan") else UNCLIPPED
    config = override(config, [*RECIPE, *clipping, *run.overrides, "tick_kimg=0.5", "sample_ticks=2"])
    return replace(config, precision=stable_precision(config))


def measured(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Trains unless that is done, and measures unless that is done."""
    folder = options.out / folder_name(run.name)
    result = folder / "study.json"
    if result.is_file():
        return dict(json.loads(result.read_text()))
    config = config_of(run, options)
    if not has_checkpoint(folder):
        create_run(folder, config, PROGRAM)
    from lightning_fabric import Fabric

    began = time.monotonic()
    fabric = Fabric(accelerator="cpu", devices=1)
    if not train(config, folder, fabric, _Ticks(), is_resumed=has_checkpoint(folder)):
        raise KeyboardInterrupt
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    found = evaluate(folder, data=options.data, metrics=["fid"], samples=options.samples, seed=0)
    entry = {
        "generator": run.generator,
        "discriminator": run.discriminator,
        "overrides": list(run.overrides),
        "fd": round(found["fid"], 2),
        "published_is_fid": run.published,
        "minutes": round((time.monotonic() - began) / 60, 2),
        "g_parameters": _parameters(config.generator),
        "d_parameters": _parameters(config.discriminator),
        "img_per_s": sorted(tick["img_per_s"] for tick in log)[len(log) // 2],
        "log": [{key: tick[key] for key in ("kimg", "loss/g", "loss/d") if key in tick} for tick in log],
    }
    write_json(result, entry)
    return entry


def _parameters(config: Any) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in config.build().parameters())


class _Ticks:
    """One line per tick."""

    def step(self, n_img: int, total_img: int, img_per_s: float) -> None:
        """Nothing."""

    def tick(self, tick: dict[str, Any]) -> None:
        """How far it is."""
        print(f"  kimg {tick['kimg']:.2f} · {tick['img_per_s']:.1f} img/s", file=sys.stderr, flush=True)

    def message(self, text: str) -> None:
        """What went wrong, but could be mended."""
        print(f"  {text}", file=sys.stderr, flush=True)


def show(record: dict[str, Any]) -> None:
    """The tables of what there is."""
    console = Console(width=110)
    for title, names in TABLES.items():
        table = Table(title=f"{title} (FD-EfficientNet-Lite0 of {record['samples']} images, {record['kimg']:g} kimg)")
        for column in ("training", "FD", "images/s", "published IS / FID, CIFAR-10"):
            table.add_column(column, justify="left" if column == "training" else "right")
        for name in names:
            if name in record["runs"]:
                run = record["runs"][name]
                table.add_row(name, f"{run['fd']:.1f}", f"{run['img_per_s']:.1f}", run["published_is_fid"])
        console.print(table)


if __name__ == "__main__":
    sys.exit(main())
