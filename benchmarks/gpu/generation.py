"""Job 8: images per second, operator by operator and by replayed CUDA graphs, and whether both draw the same.

For every family at batch 1 (an interactive step), 4 and 16; a graph's memory is what stays allocated for it.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import torch  # noqa: E402

from benchmarks.gpu.measuring import Rows, in_turn, parser  # noqa: E402
from gantrol.model import Model  # noqa: E402
from gantrol.ops.paths import record_paths  # noqa: E402
from gantrol.replay import Replays  # noqa: E402
from gantrol.train.presets import DataShape, preset  # noqa: E402

PLAN: tuple[tuple[str, str, int], ...] = (
    ("stylegan3-t", "small", 64),
    ("stylegan3-t", "base", 256),
    ("stylegan3-r", "base", 256),
    ("stylegan3-t", "paper", 1024),
    ("stylegan2", "paper", 1024),
    ("transgan-v1-s", "base", 32),
)
BATCHES: tuple[int, ...] = (1, 4, 16)
DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


def measure(name: str, scale: str, size_px: int, batch: int, dtype: torch.dtype, device: str) -> dict[str, Any]:
    torch.manual_seed(0)
    generator: Any = preset(name, scale, DataShape(resolution_px=size_px)).generator.build()
    model = Model(generator.to(device).eval().requires_grad_(False), dtype=dtype)
    ws = model.map(range(batch))
    replays = Replays()

    def draw(by: Replays | None) -> torch.Tensor:
        model.replays = by
        return model.synthesize(ws)

    expected = draw(None)
    if device == "cuda":
        before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    with record_paths() as paths:
        for _ in range(3):
            found = draw(replays)
    row: dict[str, Any] = {"ways": dict(paths), "largest_difference": (found - expected).abs().max().item()}
    if device == "cuda":
        row["graph_mib"] = (torch.cuda.memory_reserved() - before[1]) / 2**20
        assert paths["synthesis.replayed"], "no graph could be recorded"
    times = in_turn({"eager": partial(draw, None), "replayed": partial(draw, replays)}, device, seconds=2)
    row |= {f"ms_{way}": value for way, value in times.items()}
    row |= {f"images_per_s_{way}": 1000 * batch / value for way, value in times.items()}
    return row | {"x": times["eager"] / times["replayed"]}


def main() -> None:
    options = parser(__doc__.splitlines()[0], "generation.json").parse_args()
    rows = Rows(options, options.device)
    plan, batches, dtypes = PLAN, BATCHES, DTYPES
    if options.smoke:
        plan, batches, dtypes = (("stylegan3-t", "tiny", 32),), (1,), {"fp32": torch.float32}
    for name, scale, size_px in plan:
        for batch in batches:
            for precision, dtype in dtypes.items():
                title = f"{name} {scale} {size_px} px batch {batch} {precision}"
                rows.measure(title, partial(measure, name, scale, size_px, batch, dtype, options.device))
                if options.device == "cuda":
                    torch.cuda.empty_cache()
    rows.print(["ms_eager", "ms_replayed", "x", "images_per_s_replayed", "graph_mib", "largest_difference"])


if __name__ == "__main__":
    main()
