"""`python -m benchmarks.transgan_speed`: TransGAN at its published CIFAR-10 size (version 2), batch 16, fp32.

generation   z → image without gradients
step         one step of D with the gradient penalty, then one of G: augmentation, clipped gradients, Adam, average

With `--official DIR`, a folder that has the published code, its networks are timed in turn with ours (a b a b …), and
the ratios are medians of the ratios of neighbours. Nothing of that code is part of gantrol: it is imported and called.
Its networks come with their augmentation; the loop around them is stated here anew, after the facts about the published
one. With one thread the processor's time is counted rather than the clock's, so that a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import collections.abc
import contextlib
import dataclasses
import importlib
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from benchmarks.foreign_code import importable
from benchmarks.timing import Timing, machine
from gantrol.atomic import write_json
from gantrol.data.loader import Batch
from gantrol.errors import GantrolError
from gantrol.train.losses import drift, interpolate, interpolate_penalty
from gantrol.train.presets import DataShape, preset
from gantrol.train.state import TrainState
from gantrol.train.steps import Trainer

SIZE_PX, Z_DIM = 32, 256
AIMS = {"generation": 2.0, "step": 1.5}
"""How many times as fast as the published code this should be."""

_GENERATOR, _DISCRIMINATOR = "ViT_custom_rp", "ViT_custom_scale2_rp_noise"
_ARGUMENTS = (
    f"--gen_model {_GENERATOR} --dis_model {_DISCRIMINATOR} --dataset cifar10 --img_size 32 --bottom_width 8 "
    "--gf_dim 1024 --latent_dim 256 --g_depth 5,4,2 --df_dim 384 --d_depth 3 --d_heads 4 --patch_size 2 --dropout 0 "
    "--fade_in 0 --diff_aug translation,cutout,color --loss wgangp-eps --exp_name benchmark"
)
"""What its networks are made with for CIFAR-10."""
_CLIP_NORM, _EMA = 5.0, 0.9999


class Side(Protocol):
    """One of the two codes."""

    def generate(self, z: Tensor) -> Tensor:
        """Images [N, 3, H, W] of latents, without gradients."""
        ...

    def step(self, images: Tensor) -> None:
        """One step of D and one of G on real images, uint8 [N, 3, H, W]."""
        ...


class Ours:
    """The preset `transgan-cifar10` at the scale `paper`, by the trainer itself."""

    def __init__(self, batch: int) -> None:
        shape = DataShape(resolution_px=SIZE_PX)
        published = preset("transgan-cifar10", "paper", shape, batch=batch, precision="fp32")
        config = dataclasses.replace(published, n_critic=1, g_batch_factor=1)
        self.state = TrainState(config, "cpu")
        self.trainer = Trainer(config, self.state, batch_share=batch)

    def generate(self, z: Tensor) -> Tensor:
        with torch.no_grad():
            return self.state.g_ema(z)

    def step(self, images: Tensor) -> None:
        self.trainer.step(Batch(images=images, labels=torch.zeros(len(images), 0), indices=()))


class Official:
    """The published networks, from a folder with the published code."""

    def __init__(self, folder: Path) -> None:
        with _importable(folder):
            arguments = importlib.import_module("cfg").parse_args()
            self.g = importlib.import_module(f"models_search.{_GENERATOR}").Generator(args=arguments)
            self.d = importlib.import_module(f"models_search.{_DISCRIMINATOR}").Discriminator(args=arguments)
        self.average = [parameter.detach().clone() for parameter in self.g.parameters()]
        self.g_opt, self.d_opt = (
            torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.0, 0.99)) for net in (self.g, self.d)
        )

    def generate(self, z: Tensor) -> Tensor:
        with torch.no_grad():
            return self.g(z, 0)

    def step(self, images: Tensor) -> None:
        real = images.float() / 127.5 - 1
        self.d_opt.zero_grad()
        fake = self.generate(torch.randn(len(real), Z_DIM))
        between = interpolate(real, fake).requires_grad_()
        real_logits = self.d(real)
        penalty = interpolate_penalty(self.d(between), between, 1.0).mean()
        loss = self.d(fake).mean() - real_logits.mean() + 10 * penalty + 1e-3 * drift(real_logits)
        self._optimise(loss, self.d, self.d_opt)
        self.g_opt.zero_grad()
        # As published, this leaves gradients in D, too.
        self._optimise(-self.d(self.g(torch.randn(len(real), Z_DIM), 0)).mean(), self.g, self.g_opt)
        for average, parameter in zip(self.average, self.g.parameters(), strict=True):
            average.mul_(_EMA).add_(parameter.detach(), alpha=1 - _EMA)

    def _optimise(self, loss: Tensor, net: nn.Module, opt: torch.optim.Optimizer) -> None:
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), _CLIP_NORM)
        opt.step()


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Makes the published code importable on a machine without CUDA and without what its networks do not use.

    Raises:
        GantrolError: it is not there.
    """
    absent: dict[str, dict[str, Any]] = {
        "requests": {},
        "torch._six": {"container_abcs": collections.abc},
        "utils": {},
        "utils.utils": {"make_grid": None, "save_image": None},
    }
    arguments, sys.argv = sys.argv, ["cfg", *shlex.split(_ARGUMENTS)]
    # It asks tensors for the number of their GPU and moves others there; on the CPU both mean "stay here".
    if not torch.cuda.is_available():
        torch.Tensor.get_device = lambda self: "cpu"  # type: ignore[method-assign,assignment,return-value]
        torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    try:
        with importable(folder, f"models_search/{_GENERATOR}.py", absent):
            yield
    finally:
        sys.argv = arguments


def measure(sides: dict[str, Side], work: str, batch: int, runs: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Times `work`, "generation" or "step", of each side in turn, after one call that does not count."""
    z = torch.randn(batch, Z_DIM)
    images = torch.randint(0, 256, (batch, 3, SIZE_PX, SIZE_PX), dtype=torch.uint8)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for run in range(runs + 1):
        for name, side in sides.items():
            began = clock()
            if work == "generation":
                side.generate(z)
            else:
                side.step(images)
            took = clock() - began
            if run > 0:
                seconds[name].append(took)
            print(f"{work} {run}/{runs} {name}: {took:.2f} s", file=sys.stderr, flush=True)
    record: dict[str, Any] = {name: dataclasses.asdict(Timing.of(found)) for name, found in seconds.items()}
    if "official" in seconds:
        pairs = zip(seconds["official"], seconds["gantrol"], strict=True)
        record["ratio"] = statistics.median(official / ours for official, ours in pairs)
        record["aim"] = AIMS[work]
    return record


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints, and writes JSON if asked; 2 if an aim is missed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transgan_speed", description=main.__doc__)
    parser.add_argument("--official", metavar="DIR", type=Path, help="folder with the published TransGAN code")
    parser.add_argument("--only", choices=sorted(AIMS), help="one of the two")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5, help="timed calls")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument("--json", metavar="F", type=Path, help="also write the numbers to this file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    about = machine()
    clock = time.process_time if options.threads == 1 else time.perf_counter
    try:
        sides: dict[str, Side] = {"gantrol": Ours(options.batch)}
        if options.official is not None:
            sides["official"] = Official(options.official)
        works = [options.only] if options.only else list(AIMS)
        found = {work: measure(sides, work, options.batch, options.runs, clock) for work in works}
        record = {
            "machine": about,
            "command": shlex.join(["python", "-m", "benchmarks.transgan_speed", *arguments]),
            "clock": clock.__name__,
            "batch": options.batch,
            **found,
        }
        if options.json is not None:
            write_json(options.json, record)
    except GantrolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for work, numbers in found.items():
        ours = numbers["gantrol"]["median_s"]
        against = ""
        if "ratio" in numbers:
            against = f", published code {numbers['official']['median_s']:.3g} s: {numbers['ratio']:.2f} times as fast"
        print(f"{work}: {ours:.3g} s for {options.batch} images{against}")
    return 2 if any(numbers.get("ratio", AIMS[work]) < AIMS[work] for work, numbers in found.items()) else 0


if __name__ == "__main__":
    sys.exit(main())
