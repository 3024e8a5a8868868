"""What the kernels take of a GPU, found by compiling them for it: no GPU is needed.

`python -m benchmarks.gpu.resources` compiles every launch of every kernel at ordinary layers for an H100 and prints
shared memory, registers and spilled bytes per thread. `--quick` compiles the first launch in half precision only.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import torch  # noqa: E402
import triton  # noqa: E402
from triton import knobs  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from gantrol import ops  # noqa: E402
from gantrol.ops.kernels import bias_act, filtered_lrelu, upfirdn  # noqa: E402
from gantrol.ops.resample import Resampling  # noqa: E402

H100 = GPUTarget("cuda", 90, 32)
TYPES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32", torch.uint8: "u8"}


class Recorder:
    """Stands for a kernel and keeps how it is called."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __getitem__(self, grid: object) -> Callable[..., None]:
        return lambda *values, **options: self.calls.append((values, options))


def recorded(
    module: ModuleType, name: str, launch: int, work: Callable[[], object]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The last call of a kernel during `work`, with the candidate `launch` of the tiles."""
    recorder = Recorder()
    with patch.object(module, name, recorder):
        if hasattr(module, "best_launch"):
            with patch.object(module, "best_launch", lambda key, candidates, run, device: candidates[launch]):
                work()
        else:
            work()
    return recorder.calls[-1]


def compiled(kernel: Any, values: tuple[Any, ...], options: dict[str, Any]) -> dict[str, int]:
    """Compiles a kernel for `H100` as a call would: with ones, absent arguments and divisibility by 16 built in."""
    arguments = dict(zip(kernel.arg_names, values, strict=False)) | options
    warps = arguments.pop("num_warps", 4)
    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    attributes: dict[tuple[int, ...], Any] = {}
    for i, name in enumerate(kernel.arg_names):
        value = arguments[name]
        if isinstance(value, torch.Tensor):
            signature[name] = f"*{TYPES[value.dtype]}"
            attributes[(i,)] = [["tt.divisibility", 16]]
        elif value is None or name in options or (isinstance(value, int) and value == 1):
            signature[name], constants[name] = "constexpr", value
        elif isinstance(value, int):
            signature[name] = "i32"
            if value % 16 == 0:
                attributes[(i,)] = [["tt.divisibility", 16]]
        else:
            signature[name] = "fp32"
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    result = triton.compile(source, target=H100, options={"num_warps": warps})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(result.asm["cubin"])
        file.flush()
        command = [knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack = (int(re.search(rf"{word}:(\d+)", usage)[1]) for word in ("REG", "STACK"))  # type: ignore[index]
    return {"shared_bytes": result.metadata.shared, "registers": registers, "spilled_bytes": stack, "warps": warps}


def calls(is_quick: bool) -> Iterator[tuple[str, Any, tuple[Any, ...], dict[str, Any]]]:
    """(name, kernel, values, options) of what is compiled."""
    dtypes = (torch.float16,) if is_quick else (torch.float16, torch.float32)
    fu2, fu4 = (ops.design_lowpass_filter(6 * up, 4, 8, 64) for up in (2, 4))
    radial = ops.design_lowpass_filter(12, 4, 8, 64, radial=True)
    layers = {"T up2": (2, (9, 8, 9, 8), fu2, fu2), "T up4": (4, (-6, -9, -6, -9), fu4, fu2)}
    layers["R up4"] = (4, (-2, -5, -2, -5), fu4, radial)
    for dtype in dtypes:
        x = torch.empty(1, 64, 148, 148, dtype=dtype, device="meta")
        for layer, (up, pads, fu, fd) in layers.items():
            first = Resampling(up=(up, up), pads=pads, gain=float(up * up))
            second = Resampling(down=(2, 2))
            middle = first.output_size((148, 148), (6 * up, 6 * up))
            transposed = second.adjoint(middle, (12, 12)), first.adjoint((148, 148), (6 * up, 6 * up))
            codes = torch.empty(1, dtype=torch.uint8, device="meta")
            works: dict[str, Callable[[], object]] = {
                "forward": lambda x=x, fu=fu, fd=fd, a=first, b=second: filtered_lrelu.filtered_lrelu(
                    x, None, fu, fd, a, b, 0.2, 256.0, keep=True
                ),
                "backward": lambda x=x, fu=fu, fd=fd, t=transposed, codes=codes: filtered_lrelu.sloped(
                    x, codes, fd, fu, *t, 0.2
                ),
            }
            if is_quick:
                works = {"forward": works["forward"]} if layer == "T up2" else {}
            for direction, work in works.items():
                for i in range(1 if is_quick else len(filtered_lrelu.LAUNCHES)):
                    try:
                        call = recorded(filtered_lrelu, "filtered_lrelu_kernel", i, work)
                    except IndexError:  # a type with fewer launches
                        continue
                    tile = f"{call[1]['COUNT_Y'] * call[1]['BLOCK_Y']}x{call[1]['COUNT_X'] * call[1]['BLOCK_X']}"
                    name = f"filtered_lrelu {layer} {direction} {TYPES[dtype]} {tile}"
                    yield name, filtered_lrelu.filtered_lrelu_kernel, *call
        f = ops.setup_filter([1, 3, 3, 1])
        for i in range(1 if is_quick else len(upfirdn.LAUNCHES)):
            call = recorded(
                upfirdn, "upfirdn_kernel", i, lambda x=x, f=f: upfirdn.upfirdn2d(x, f, Resampling(pads=(1, 1, 1, 1)))
            )
            tile = f"{upfirdn.LAUNCHES[i].tile_y}x{upfirdn.LAUNCHES[i].tile_x}"
            yield f"upfirdn2d 4 taps {TYPES[dtype]} {tile}", upfirdn.upfirdn_kernel, *call
        call = recorded(
            bias_act, "bias_act_kernel", 0, lambda x=x: bias_act.bias_act(x, x[0, :, 0, 0], 1, 0.2, 1.4, 256.0)
        )
        yield f"bias_act {TYPES[dtype]}", bias_act.bias_act_kernel, *call


def main() -> None:
    arguments = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--json", action="store_true", help="print JSON")
    options = arguments.parse_args()
    found = {}
    for name, kernel, values, others in calls(options.quick):
        found[name] = row = compiled(kernel, values, others)
        if not options.json:
            print(f"{name:<44} {'  '.join(f'{key} {value}' for key, value in row.items())}", flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
