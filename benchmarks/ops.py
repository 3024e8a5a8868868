"""`filtered_lrelu`, which takes most of an alias-free generator's time: the fast path against the reference.

The shapes are those of the tiny generators' layers, at the training's batch. Both paths are called in turn.
"""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import torch

from benchmarks.timing import Benchmark, Effort, Row, compare
from gantrol.models.layers import LRELU_GAIN
from gantrol.models.stylegan3 import LayerSpec, StyleGAN3Config, SynthesisLayer, layer_schedule
from gantrol.ops import filtered_lrelu
from gantrol.train.presets import DataShape, preset

BATCH = 16


def benchmarks(effort: Effort) -> list[Benchmark]:
    """Forward, and forward with backward, for both configurations."""
    return [
        Benchmark(
            group="filtered_lrelu: reference / fast path",
            name=f"filtered_lrelu {name} {'forward+backward' if is_backward else 'forward'}",
            run=partial(filtered_lrelus, name, is_backward, effort),
        )
        for name in ("stylegan3-t", "stylegan3-r")
        for is_backward in (False, True)
    ]


def layers(name: str, effort: Effort) -> list[tuple[int, LayerSpec]]:
    """The layers of a tiny generator that differ in shape, the colours' left out; a few of them if it must be quick."""
    config = preset(name, "tiny", DataShape(resolution_px=32)).generator
    assert isinstance(config, StyleGAN3Config)
    different: dict[Any, tuple[int, LayerSpec]] = {}
    for index, spec in enumerate(layer_schedule(config)):
        if not spec.is_torgb:
            shape = (spec.out_channels, spec.in_size_px, spec.out_size_px, spec.up, spec.down, spec.is_down_radial)
            different.setdefault(shape, (index, spec))
    found = list(different.values())
    return [found[0], found[-1]] if effort.is_quick else found


def filtered_lrelus(name: str, is_backward: bool, effort: Effort) -> list[Row]:
    """One row per shape, and their geometric mean."""
    rows = []
    mode = "forward+backward" if is_backward else "forward"
    for index, spec in layers(name, effort):
        layer = SynthesisLayer(spec, w_dim=8, conv_clamp=None, magnitude_ema_beta=0.5)
        size_px = spec.in_size_px + spec.conv_kernel - 1  # the convolution pads by kernel − 1
        x = torch.randn(BATCH, spec.out_channels, size_px, size_px, requires_grad=is_backward)
        b = torch.zeros(spec.out_channels, requires_grad=is_backward)

        def call(
            impl: str,
            spec: LayerSpec = spec,
            layer: SynthesisLayer = layer,
            x: torch.Tensor = x,
            b: torch.Tensor = b,
        ) -> None:
            with torch.set_grad_enabled(is_backward):
                y = filtered_lrelu(
                    x,
                    fu=layer.up_filter,
                    fd=layer.down_filter,
                    b=b,
                    up=spec.up,
                    down=spec.down,
                    padding=list(spec.padding),
                    gain=LRELU_GAIN,
                    impl=impl,
                )
                if is_backward:
                    torch.autograd.grad(y.sum(), [x, b])

        found = compare(partial(call, "auto"), partial(call, "reference"), effort)
        title = (
            f"{name} layer {index}, {mode}: {spec.out_channels} × {size_px} → {spec.out_size_px} px, "
            f"up {spec.up}, down {spec.down}"
        )
        details = {"fast": found.first, "reference": found.second, "batch": BATCH}
        rows.append(Row(name=title, value=found.ratio, unit="× as fast", details=details))
    mean = statistics.geometric_mean(row.value for row in rows)
    return [*rows, Row(name=f"{name}, {mode}: geometric mean", value=mean, unit="× as fast")]
