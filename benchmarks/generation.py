"""Generation: images per second of each family, latent to pixels, at the scales that people start with.

The weights are random, which costs the same as trained ones.
"""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.timing import Benchmark, Effort, Row, measure
from gantrol.train.presets import DataShape, preset

PRESETS = ("stylegan3-t", "stylegan3-r", "stylegan2")


def benchmarks(effort: Effort) -> list[Benchmark]:
    """Tiny at 32 px in batches of 16 and singly; in full also base at 256 px, singly."""
    cases = [(name, "tiny", 32, batch) for name in PRESETS for batch in (16, 1)]
    if effort.name == "full":
        cases += [(name, "base", 256, 1) for name in PRESETS]
    return [
        Benchmark(
            group="Generation",
            name=f"generate {name} {scale} {px} px batch {batch}",
            run=partial(generate, name, scale, px, batch, effort),
        )
        for name, scale, px, batch in cases
    ]


def generate(name: str, scale: str, resolution_px: int, batch: int, effort: Effort) -> list[Row]:
    """Times z ↦ image without gradients."""
    torch.manual_seed(0)
    g = preset(name, scale, DataShape(resolution_px=resolution_px)).generator.build().eval().requires_grad_(False)
    z = torch.randn(batch, g.z_dim)

    def call() -> None:
        with torch.no_grad():
            g(z, noise_mode="const")

    timing = measure(call, effort)
    title = f"{name} {scale}, {resolution_px} px, batch {batch}"
    details = {"timing": timing, "parameters": sum(parameter.numel() for parameter in g.parameters())}
    return [
        Row(name=title, value=batch / timing.median_s, unit="images/s", details=details),
        Row(name=title, value=timing.median_s / batch * 1000, unit="ms/image", details=details),
    ]
