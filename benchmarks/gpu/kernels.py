"""Job 1: the fused kernels at the layer shapes of the published networks, for parity and for speed.

Parity is against the definition in float64: result, first and second gradients, as relative root mean square errors.
Speed is against torch's own operations, the memory floor (bytes that must be read and written, at the speed of a copy),
and, with `--official DIR`, the published plugin in a checkout that you have. The official code is no part of gantrol.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.gpu.measuring import Rows, copy_bandwidth, in_turn, parser  # noqa: E402
from gantrol import ops  # noqa: E402
from gantrol.models.stylegan3 import StyleGAN3Config, layer_schedule  # noqa: E402
from gantrol.ops.paths import record_paths  # noqa: E402

DTYPES = {"fp16": torch.float16, "fp32": torch.float32}
PARITY = {"fp16": 2e-2, "fp32": 1e-5}
"""Relative root mean square; in half precision samples near zero may fall on the other side of the kink."""

SG2_CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One operator at one shape."""

    name: str
    operator: str
    """Of `gantrol.ops`."""
    shape: tuple[int, int, int, int]
    """Of its input."""
    filters: dict[str, Tensor | None] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    has_bias: bool = False


def stylegan3_cases(title: str, config: StyleGAN3Config, batch: int) -> Iterator[Case]:
    """`filtered_lrelu` of each synthesis layer; layers that are alike in all that matters appear once."""
    known = set()
    for spec in layer_schedule(config):
        size = spec.in_size_px + spec.conv_kernel - 1
        shape = (batch, spec.out_channels, size, size)
        kind = (shape, spec.up, spec.down, spec.padding, spec.is_down_radial)
        if kind in known:
            continue
        known.add(kind)
        fu = ops.design_lowpass_filter(spec.up_taps, spec.in_cutoff, 2 * spec.in_half_width, spec.tmp_sampling_rate)
        fd = ops.design_lowpass_filter(
            spec.down_taps,
            spec.out_cutoff,
            2 * spec.out_half_width,
            spec.tmp_sampling_rate,
            radial=spec.is_down_radial,
        )
        options: dict[str, Any] = {"up": spec.up, "down": spec.down, "padding": spec.padding, "clamp": 256.0}
        if spec.is_torgb:
            options |= {"gain": 1.0, "slope": 1.0}
        yield Case(
            name=f"{title} L{spec.index} {spec.out_channels}x{size} up{spec.up}",
            operator="filtered_lrelu",
            shape=shape,
            filters={"fu": fu, "fd": fd},
            options=options,
            has_bias=True,
        )


def stylegan2_cases(resolution_px: int, batch: int) -> Iterator[Case]:
    """What surrounds the convolutions of StyleGAN2's networks."""
    f = ops.setup_filter([1, 3, 3, 1])
    for size, channels in SG2_CHANNELS.items():
        if not 32 <= size <= resolution_px:
            continue
        title, shape = f"SG2 {channels}x{size}", (batch, channels, size, size)
        lrelu = {"act": "lrelu", "clamp": 256.0}
        yield Case(name=f"{title} bias_act", operator="bias_act", shape=shape, options=lrelu, has_bias=True)
        after = (batch, channels, size + 1, size + 1)  # of the transposed convolution
        for name, at, options in (
            ("filter after up", after, {"padding": 1, "gain": 4}),
            ("filter before down", shape, {"padding": 2}),
        ):
            yield Case(name=f"{title} {name}", operator="upfirdn2d", shape=at, filters={"f": f}, options=options)
        colours = (batch, 3, size // 2, size // 2)
        up = {"up": 2, "padding": (2, 1, 2, 1), "gain": 4}
        yield Case(name=f"{title} colours up", operator="upfirdn2d", shape=colours, filters={"f": f}, options=up)


def cases(is_smoke: bool) -> list[Case]:
    if is_smoke:
        small = StyleGAN3Config(resolution_px=8, num_layers=4, margin_px=2, channel_base=8, channel_max=1)
        tiny = (replace(case, shape=(1, 2, 8, 8)) for case in stylegan2_cases(32, 1))
        return [*islice(stylegan3_cases("T-8", small, 1), 1), *islice(tiny, 2)]
    t256 = StyleGAN3Config(resolution_px=256, channel_base=16384)
    t1024 = StyleGAN3Config(resolution_px=1024)
    r1024 = StyleGAN3Config(
        resolution_px=1024, conv_kernel=1, use_radial_filters=True, channel_base=65536, channel_max=1024
    )
    return [
        *stylegan3_cases("T-256", t256, 16),
        *stylegan3_cases("T-1024", t1024, 4),
        *stylegan3_cases("R-1024", r1024, 4),
        *stylegan2_cases(1024, 4),
    ]


def official_operators(folder: Path | None) -> SimpleNamespace | None:
    """The published operators by our names."""
    if folder is None:
        return None
    sys.path.insert(0, str(folder))
    from torch_utils.ops import bias_act, filtered_lrelu, upfirdn2d  # type: ignore[import-not-found]

    return SimpleNamespace(
        filtered_lrelu=partial(filtered_lrelu.filtered_lrelu, impl="cuda"),
        upfirdn2d=partial(upfirdn2d.upfirdn2d, impl="cuda"),
        bias_act=partial(bias_act.bias_act, impl="cuda"),
    )


def call(case: Case, function: Callable[..., Tensor], device: str, x: Tensor, b: Tensor | None) -> Tensor:
    filters = {name: None if f is None else f.to(device) for name, f in case.filters.items()}
    bias = {"b": b} if case.has_bias else {}
    return function(x, **filters, **bias, **case.options)


def derivatives(function: Callable[..., Tensor], x: Tensor, b: Tensor | None) -> list[Tensor]:
    """The result, its gradients, the gradient of the first of these."""
    variables = [v.detach().requires_grad_() for v in (x, b) if v is not None]
    y = function(variables[0], variables[1] if b is not None else None)
    first = torch.autograd.grad(y.square().sum(), variables, create_graph=True)
    return [y, *first, *torch.autograd.grad(first[0].square().sum(), variables[:1])]


def errors(case: Case, device: str, dtype: torch.dtype) -> list[float]:
    """Relative errors of the kernels for one image of few channels."""
    _, channels, h, w = case.shape
    x = torch.randn(1, min(channels, 4), h, w, device=device).to(dtype)
    b = torch.randn(x.shape[1], device=device).to(dtype) if case.has_bias else None
    operator = getattr(ops, case.operator)
    with record_paths() as paths:
        got = derivatives(partial(call, case, partial(operator, impl="triton"), device), x, b)
    assert all(path.endswith(".triton") for path in paths), f"the kernels were not taken: {dict(paths)}"
    wide = [None if v is None else v.double() for v in (x, b)]
    expected = derivatives(partial(call, case, partial(operator, impl="reference"), device), *wide)
    return [float((a - e).norm() / e.norm().clamp_min(1e-12)) for a, e in zip(got, expected, strict=True)]


def moved_bytes(case: Case, y: Tensor, x: Tensor) -> float:
    """What forward and backward must read and write at least: x, y, the slopes; dy, the slopes (or y), dx."""
    slopes = 0.0
    if case.operator == "filtered_lrelu":
        slopes = x.numel() * case.options["up"] ** 2 / 4  # two bits a sample
    elif case.operator == "bias_act":
        slopes = y.numel() * y.element_size() / 2  # y is written anyway, and read once more
    return 2 * (x.numel() * x.element_size() + y.numel() * y.element_size() + slopes)


def measure(case: Case, precision: str, device: str, bandwidth: float, official: Any) -> dict[str, Any]:
    dtype = DTYPES[precision]
    found = errors(case, device, dtype)
    assert max(found) <= PARITY[precision], f"errors {found} exceed {PARITY[precision]}"
    x = torch.randn(case.shape, device=device).to(dtype).requires_grad_()
    b = torch.zeros(case.shape[1], device=device, dtype=dtype).requires_grad_() if case.has_bias else None
    variables = [v for v in (x, b) if v is not None]
    operator = getattr(ops, case.operator)
    functions: dict[str, Callable[..., Tensor]] = {
        "ours": partial(operator, impl="triton"),
        "torch": partial(operator, impl="torch"),
    }
    if official is not None:
        functions["official"] = getattr(official, case.operator)

    def forward(function: Callable[..., Tensor]) -> Tensor:
        with torch.no_grad():
            return call(case, function, device, x, b)

    def both(function: Callable[..., Tensor]) -> object:
        y = call(case, function, device, x, b)
        return torch.autograd.grad(y, variables, dy)

    dy = torch.randn_like(forward(functions["ours"]))
    row: dict[str, Any] = {"errors": found}
    for name, work in (("forward", forward), ("both", both)):
        times = in_turn({who: partial(work, function) for who, function in functions.items()}, device, seconds=0.3)
        row |= {f"{name}_ms_{who}": value for who, value in times.items()}
        row |= {f"{name}_x_{who}": times[who] / times["ours"] for who in times if who != "ours"}
    row["floor_ms"] = 1000 * moved_bytes(case, dy, x) / bandwidth
    row["over_floor"] = row["both_ms_ours"] / row["floor_ms"]
    return row


def main() -> None:
    arguments = parser(__doc__.splitlines()[0], "kernels.json")
    arguments.add_argument("--official", type=Path, help="a checkout of the published code, for its plugin")
    arguments.add_argument("--only", default="", help="cases whose name contains this")
    options = arguments.parse_args()
    device = options.device
    torch.manual_seed(0)
    official = official_operators(options.official)
    rows = Rows(options, device)
    bandwidth = copy_bandwidth(device)
    rows.machine["copy_bytes_per_s"] = bandwidth
    for case in cases(options.smoke):
        for precision in DTYPES:
            name = f"{case.name} {precision}"
            if options.only in name:
                rows.measure(name, partial(measure, case, precision, device, bandwidth, official))
    rows.print(
        ["both_ms_ours", "over_floor", "forward_x_torch", "both_x_torch", "forward_x_official", "both_x_official"]
    )


if __name__ == "__main__":
    main()
