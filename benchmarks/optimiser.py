"""What follows the backward pass: gradients made finite, Adam's step, the moving average of the weights.

Each is compared with the way it is usually written, tensor by tensor, on the weights of one generator. All of it is
bound by memory: the faster way goes over it fewer times.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from benchmarks.timing import Benchmark, Effort, Row, compare
from gantrol.train.config import AdamConfig
from gantrol.train.ema import update_ema
from gantrol.train.presets import DataShape, preset
from gantrol.train.state import build_adam
from gantrol.train.steps import sanitise_gradients

PRESET, SCALE, SIZE_PX = "stylegan3-t", "small", 64


def benchmarks(effort: Effort) -> list[Benchmark]:
    """One for each of the three."""
    return [
        Benchmark(
            group=f"After the backward pass, {PRESET} {SCALE}: usual way / ours",
            name=name,
            run=partial(work, name, effort),
        )
        for name, work in (("gradients made finite", finite), ("Adam", adam), ("moving average", average))
    ]


def generator() -> nn.Module:
    """A generator with gradients."""
    net: nn.Module = preset(PRESET, SCALE, DataShape(resolution_px=SIZE_PX)).generator.build()
    for p in net.parameters():
        p.grad = torch.randn_like(p)
    return net


def row(name: str, fast: Callable[[], object], usual: Callable[[], object], effort: Effort, net: nn.Module) -> Row:
    found = compare(fast, usual, effort)
    millions = sum(p.numel() for p in net.parameters()) / 1e6
    details = {"fast": found.first, "usual": found.second, "million_weights": round(millions, 2)}
    return Row(name=name, value=found.ratio, unit="× as fast", details=details)


def finite(name: str, effort: Effort) -> list[Row]:
    """Against a loop that looks at every gradient and replaces what is not finite."""
    net = generator()
    parameters = list(net.parameters())

    def usual() -> None:
        for p in parameters:
            assert p.grad is not None
            torch.where(p.grad.isfinite().all(), 0.0, 1.0)
            torch.nan_to_num(p.grad, nan=0.0, posinf=1e5, neginf=-1e5, out=p.grad)

    return [row(name, partial(sanitise_gradients, parameters), usual, effort, net)]


def adam(name: str, effort: Effort) -> list[Row]:
    """The fused step against torch's default on this device."""
    net, other = generator(), generator()
    plain = torch.optim.Adam(other.parameters(), lr=1e-4, betas=(0.0, 0.99), fused=False)
    return [row(name, build_adam(net, AdamConfig(lr=1e-4), None).step, plain.step, effort, net)]


def average(name: str, effort: Effort) -> list[Row]:
    """Against the usual `p_ema.copy_(p.lerp(p_ema, beta))`."""
    net = generator()
    g_ema = copy.deepcopy(net).requires_grad_(False)

    def usual() -> None:
        with torch.no_grad():
            for p_ema, p in zip(g_ema.parameters(), net.parameters(), strict=True):
                p_ema.copy_(p.lerp(p_ema, 0.99))
            for b_ema, b in zip(g_ema.buffers(), net.buffers(), strict=True):
                b_ema.copy_(b)

    return [row(name, partial(update_ema, g_ema, net, 0.99), usual, effort, net)]
