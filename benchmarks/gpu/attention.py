"""Job 7: attention at TransGAN's shapes: ours, the definition, and `flex_attention`, with and without a learned bias.

Forward, forward with backward, and peak memory of the latter. Which of torch's kernels runs is named. `flex_attention`
is compiled and adds the bias inside its kernel; the definition stores the whole matrix.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.gpu.measuring import Rows, in_turn, parser  # noqa: E402
from gantrol.ops.attention import attention, attention_by_definition, fused_kernel  # noqa: E402

SHAPES = {
    "CIFAR-10, 8² tokens": (64, 4, 64, 256),
    "CIFAR-10, 32² tokens": (64, 4, 1024, 16),
    "windows of 16², 64 px": (64 * 16, 4, 256, 64),
    "windows of 16², 256 px": (4 * 256, 4, 256, 16),
}
"""Samples (times windows), heads, tokens, features of a head."""
PRECISIONS = {"fp16": torch.float16, "fp32": torch.float32}


def flex(bias: Tensor | None) -> Callable[..., Tensor]:
    """torch's `flex_attention`, compiled, adding `bias` [H, T, S] if there is one."""
    from torch.nn.attention.flex_attention import flex_attention

    compiled: Any = torch.compile(flex_attention, dynamic=False)
    if bias is None:
        return lambda q, k, v, _: compiled(q, k, v)

    def add(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return score + bias[h, i, j]

    return lambda q, k, v, _: compiled(q, k, v, score_mod=add)


def measure(shape: tuple[int, ...], dtype: torch.dtype, has_bias: bool, device: str) -> dict[str, Any]:
    n, heads, tokens, d = shape
    q, k, v = (torch.randn(n, heads, tokens, d, device=device).to(dtype).requires_grad_() for _ in range(3))
    bias = torch.randn(heads, tokens, tokens, device=device).requires_grad_() if has_bias else None
    variables = [x for x in (q, k, v, bias) if x is not None]
    works: dict[str, Callable[..., Tensor]] = {"ours": attention, "definition": attention_by_definition}
    row: dict[str, Any] = {"kernel": fused_kernel(q, k, v, bias)}
    if device == "cuda":
        works["flex"] = flex(bias)
        try:
            torch.autograd.grad(works["flex"](q, k, v, bias).float().sum(), variables)
        except Exception as error:  # whatever its compiler says
            del works["flex"]
            row["flex_error"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"

    def forward(work: Callable[..., Tensor]) -> Tensor:
        with torch.no_grad():
            return work(q, k, v, bias)

    def both(work: Callable[..., Tensor]) -> object:
        return torch.autograd.grad(work(q, k, v, bias), variables, dy)

    dy = torch.randn_like(q)
    for name, call in (("forward", forward), ("both", both)):
        times = in_turn({who: partial(call, work) for who, work in works.items()}, device, seconds=0.5)
        row |= {f"{name}_ms_{who}": value for who, value in times.items()}
        row |= {f"{name}_x_{who}": times[who] / times["ours"] for who in times if who != "ours"}
    if device == "cuda":
        for who, work in works.items():
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            both(work)
            row[f"peak_mib_{who}"] = (torch.cuda.max_memory_allocated() - before) / 2**20
    return row


def main() -> None:
    options = parser(__doc__.splitlines()[0], "attention.json").parse_args()
    torch.manual_seed(0)
    rows = Rows(options, options.device)
    shapes = {"tiny, 4² tokens": (2, 2, 16, 8)} if options.smoke else SHAPES
    for title, shape in shapes.items():
        for precision, dtype in PRECISIONS.items():
            for has_bias in (False, True):
                name = f"{title} {precision}{' bias' if has_bias else ''}"
                rows.measure(name, partial(measure, shape, dtype, has_bias, options.device))
    rows.print(["kernel", "forward_ms_ours", "both_ms_ours", "both_x_definition", "both_x_flex", "peak_mib_ours"])


if __name__ == "__main__":
    main()
