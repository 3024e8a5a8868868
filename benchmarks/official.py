"""`python -m benchmarks.official`: gantrol beside the published code, in one process, in turn.

    stylegan3   --stylegan3 DIR   generation at 256 px, configurations T and R; training steps at 32 px; StyleGAN2
    transgan    --transgan DIR    version 2 at its CIFAR-10 size: generation, and a training step
    alone                         the first image of a cold process; one step of an interactive session

Every ratio is the median of the ratios of neighbouring calls (a b c a b c …). Weights are the published code's own,
random ones, in both, where both can hold them; what the images differ by is printed with the times. With one thread
the processor's time is counted rather than the clock's, so that a busy machine disturbs less.

StyleGAN2 stands for the generator of GAN-Control, too: the same network of the same size, here from the published
StyleGAN3 code, which contains it.
"""

from __future__ import annotations

import argparse
import importlib
import io
import math
import os
import resource
import shlex
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from packaging.version import parse as parse_version
from torch import Tensor, nn
from torch.nn.functional import softplus

from benchmarks.foreign_code import importable
from benchmarks.timing import Timing, machine
from gantrol.atomic import write_json
from gantrol.convert.nvidia_names import load_official
from gantrol.errors import GantrolError
from gantrol.models import StyleGAN2Config, StyleGAN2DiscriminatorConfig, StyleGAN3Config

_T = {"channel_base": 16384}
_R = {"channel_base": 32768, "channel_max": 1024, "conv_kernel": 1, "use_radial_filters": True}
_ABSENT: dict[str, dict[str, Any]] = {"requests": {}, "pkg_resources": {"parse_version": parse_version}}

OURS, SHORT, THEIRS = "gantrol fp32", "gantrol bf16", "published"


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Calls that do the same work."""

    calls: Mapping[str, Callable[[], object]]
    """By name of who does it; `THEIRS` is what the others are compared with."""
    aims: Mapping[str, float]
    """How many times as fast as the published code each should be; if that is not there, below how many seconds."""
    differences: Mapping[str, float] = field(default_factory=dict)
    """By how much the images differ: relative, or in dB."""


def published_networks(folder: Path) -> Any:
    """The modules of networks of the published StyleGAN3."""
    with importable(folder, "training/networks_stylegan3.py", _ABSENT), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(importlib.import_module(f"training.networks_stylegan{n}") for n in (2, 3))


def generation(theirs: nn.Module, ours: Any, aims: tuple[float, float]) -> Contest:
    """One image, in fp32 by both and in bf16 by ours, from the same weights and the same latent."""
    theirs.eval().requires_grad_(False)
    ours.eval().requires_grad_(False)
    if hasattr(theirs, "synthesis"):
        load_official(ours, theirs.state_dict())
    z = torch.randn(1, ours.z_dim)

    def call(net: Any, **options: Any) -> Tensor:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return net(z, None, noise_mode="const", **options)

    calls: dict[str, Callable[[], Tensor]] = {
        THEIRS: partial(call, theirs),
        OURS: partial(call, ours),
        SHORT: partial(call, ours, dtype=torch.bfloat16),
    }
    image, fast, short = (calls[name]() for name in (THEIRS, OURS, SHORT))
    differences = {
        "fp32, relative": ((image - fast).abs().max() / image.abs().max()).item(),
        "bf16, PSNR in dB": 20 * math.log10(2 / max((short - fast).square().mean().sqrt().item(), 1e-12)),
    }
    return Contest(calls=calls, aims={OURS: aims[0], SHORT: aims[1]}, differences=differences)


def stylegan3_generation(folder: Path, options: dict[str, Any]) -> Contest:
    _, networks = published_networks(folder)
    theirs = networks.Generator(512, 0, 512, 256, 3, mapping_kwargs={"num_layers": 2}, **options)
    return generation(theirs, StyleGAN3Config(resolution_px=256, **options).build(), (3, 8))


def stylegan2_generation(folder: Path) -> Contest:
    networks, _ = published_networks(folder)
    theirs = networks.Generator(512, 0, 512, 256, 3, mapping_kwargs={"num_layers": 8}, channel_base=32768)
    return generation(theirs, StyleGAN2Config(resolution_px=256, channel_base=32768).build(), (3, 6))


def train_step(g: Any, d: Any, real: Tensor) -> Callable[[], None]:
    """One step of G, then one of D, with the non-saturating loss and Adam; the same lines for both codes."""
    g_opt, d_opt = (torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.0, 0.99)) for net in (g, d))
    labels = torch.zeros(len(real), 0)

    def step() -> None:
        for opt, is_g in ((g_opt, True), (d_opt, False)):
            g.requires_grad_(is_g)
            d.requires_grad_(not is_g)
            opt.zero_grad(set_to_none=True)
            logits = d(g(torch.randn(len(real), g.z_dim), labels), labels)
            loss = softplus(-logits).mean() if is_g else softplus(logits).mean() + softplus(-d(real, labels)).mean()
            loss.backward()
            opt.step()

    return step


def stylegan3_training(folder: Path, layers: int, width: int, aim: float) -> Contest:
    two, three = published_networks(folder)
    sizes: dict[str, Any] = {"channel_base": 16384, "channel_max": width}
    real = torch.rand(16, 3, 32, 32) * 2 - 1
    theirs = train_step(
        three.Generator(512, 0, 512, 32, 3, mapping_kwargs={"num_layers": 2}, num_layers=layers, **sizes).train(),
        two.Discriminator(0, 32, 3, **sizes).train(),
        real,
    )
    ours = train_step(
        StyleGAN3Config(resolution_px=32, num_layers=layers, **sizes).build(),
        StyleGAN2DiscriminatorConfig(resolution_px=32, **sizes).build(),
        real,
    )
    return Contest(calls={THEIRS: theirs, OURS: ours}, aims={OURS: aim})


def transgan(folder: Path, work: str) -> Contest:
    from benchmarks.transgan_speed import SIZE_PX, Z_DIM, Official, Ours

    ours, theirs = Ours(16), Official(folder)
    if work == "step":
        images = torch.randint(0, 256, (16, 3, SIZE_PX, SIZE_PX), dtype=torch.uint8)
        return Contest(calls={THEIRS: partial(theirs.step, images), OURS: partial(ours.step, images)}, aims={OURS: 1.5})
    z = torch.randn(16, Z_DIM)
    g = ours.state.g_ema

    def call(dtype: torch.dtype) -> Tensor:
        with torch.no_grad():
            return g(z, dtype=dtype, noise_mode="const")

    calls = {
        THEIRS: partial(theirs.generate, z),
        OURS: partial(call, torch.float32),
        SHORT: partial(call, torch.bfloat16),
    }
    error = (call(torch.bfloat16) - call(torch.float32)).square().mean().sqrt().item()
    psnr = 20 * math.log10(2 / max(error, 1e-12))
    return Contest(calls=calls, aims={OURS: 2, SHORT: 5}, differences={"bf16, PSNR in dB": psnr})


def interactive() -> Contest:
    """One control of the bundled model changes, and a PNG is ready to be sent."""
    import gantrol

    model = gantrol.load("faces", device="cpu")
    control = model.controls["age"]
    low, high = float(control.low), float(control.high)  # type: ignore[arg-type]
    values = iter(low + (high - low) * (i % 10) / 10 for i in range(10**6))

    def step() -> None:
        (image,) = model.generate([1], controls={"age": next(values)})
        image.save(io.BytesIO(), "PNG")

    return Contest(calls={OURS: step}, aims={OURS: 0.080})


def cold_start() -> Contest:
    """A new Python process imports gantrol and draws one face."""
    threads = torch.get_num_threads()
    code = (
        f"import torch; torch.set_num_threads({threads}); import gantrol; "
        "gantrol.load('faces', device='cpu').generate([1])"
    )
    # An installed package has its bytecode; the call that does not count writes that of a checkout.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return Contest(
        calls={OURS: lambda: subprocess.run([sys.executable, "-c", code], check=True, env=environment)},
        aims={OURS: 3.0},
    )


def contests(stylegan3: Path | None, transgan_folder: Path | None) -> dict[str, Callable[[], Contest]]:
    """What can be measured with the folders that there are, by name."""
    found: dict[str, Callable[[], Contest]] = {}
    if stylegan3 is not None:
        found["generate stylegan3-t 256 px"] = partial(stylegan3_generation, stylegan3, _T)
        found["generate stylegan3-r 256 px"] = partial(stylegan3_generation, stylegan3, _R)
        found["generate stylegan2 256 px"] = partial(stylegan2_generation, stylegan3)
        found["train stylegan3-t 32 px 14 layers 64 channels"] = partial(stylegan3_training, stylegan3, 14, 64, 8)
        found["train stylegan3-t 32 px 8 layers 32 channels"] = partial(stylegan3_training, stylegan3, 8, 32, 3)
    if transgan_folder is not None:
        found["generate transgan cifar10"] = partial(transgan, transgan_folder, "generation")
        found["train transgan cifar10"] = partial(transgan, transgan_folder, "step")
    found["interactive step, 64 px"] = interactive
    found["first image of a cold process"] = cold_start
    return found


def processor_time() -> float:
    """Seconds that this process and the children that it has waited for have computed."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measure(contest: Contest, runs: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Times the calls in turn after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contest.calls}
    for run in range(runs + 1):
        for name, call in contest.calls.items():
            if run == 0 and contest.differences:
                continue  # all have been called once for the comparison
            began = clock()
            call()
            if run > 0:
                seconds[name].append(clock() - began)
    record: dict[str, Any] = {name: asdict(Timing.of(found)) for name, found in seconds.items()}
    for name, aim in contest.aims.items():
        if THEIRS in seconds:
            pairs = zip(seconds[THEIRS], seconds[name], strict=True)
            record[name] |= {"ratio": statistics.median(theirs / ours for theirs, ours in pairs), "aim": aim}
            record[name]["is_met"] = record[name]["ratio"] >= aim
        else:
            record[name] |= {"aim_s": aim, "is_met": record[name]["median_s"] < aim}
    return record | {"differences": dict(contest.differences)}


def shown(name: str, record: Mapping[str, Any]) -> str:
    """A contest in a few lines."""
    lines = [name]
    for side, numbers in record.items():
        if side == "differences":
            lines += [f"    difference, {what}: {value:.3g}" for what, value in numbers.items()]
            continue
        line = f"    {side}: {numbers['median_s']:.3g} s"
        if "ratio" in numbers:
            line += f", {numbers['ratio']:.2f} times as fast (aim {numbers['aim']:g})"
        elif "aim_s" in numbers:
            line += f" (aim: below {numbers['aim_s']:g} s)"
        lines.append(line)
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints, and writes JSON if asked; 2 if an aim is missed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.official", description=main.__doc__)
    parser.add_argument("--stylegan3", metavar="DIR", type=Path, help="folder with the published StyleGAN3 code")
    parser.add_argument("--transgan", metavar="DIR", type=Path, help="folder with the published TransGAN code")
    parser.add_argument("--only", metavar="TEXT", default="", help="rows whose name contains this")
    parser.add_argument("--runs", type=int, default=3, help="timed calls of each")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument("--json", metavar="F", type=Path, help="also write the numbers to this file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    clock = processor_time if options.threads == 1 else time.perf_counter
    about, found = machine(), {}
    try:
        for name, make in contests(options.stylegan3, options.transgan).items():
            if options.only not in name:
                continue
            torch.manual_seed(0)
            found[name] = measure(make(), options.runs, clock)
            print(shown(name, found[name]), flush=True)
            if options.json is not None:  # after each row: they take long
                command = shlex.join(["python", "-m", "benchmarks.official", *arguments])
                write_json(options.json, {"machine": about, "command": command, "clock": clock.__name__, "rows": found})
    except GantrolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    sides = [side for record in found.values() for side in record.values()]
    return 2 if any(side.get("is_met") is False for side in sides) else 0


if __name__ == "__main__":
    sys.exit(main())
