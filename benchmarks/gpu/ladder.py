"""Job 4: the steps from StyleGAN2 (A) to StyleGAN3 (T and R), trained alike: FD, EQ-T, EQ-R, speed, memory.

All steps see the same images in the same order, with the rates and γ of the paper's ladder. A training that the time
does not suffice for is carried on by the next call (see `benchmarks.gpu.training_runs`).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.gpu.measuring import Rows, parser  # noqa: E402
from benchmarks.gpu.training_runs import dataset_of, train_rows  # noqa: E402
from gantrol.data.dataset import ImageDataset  # noqa: E402
from gantrol.train.config import TrainConfig  # noqa: E402
from gantrol.train.presets import DataShape, choose_precision, preset, stable_precision  # noqa: E402

STEPS = (*(f"ladder-{letter}" for letter in "abcdefgh"), "stylegan3-t", "stylegan3-r")
NOT_MOVABLE = ("ladder-a",)
"""Its input cannot be moved, so that equivariance has no meaning."""


def config_of(name: str, data: Path, *, scale: str, kimg: float, batch: int | None, device: str) -> TrainConfig:
    """The whole config of one step."""
    dataset = ImageDataset(data)
    shape = DataShape(resolution_px=dataset.resolution_px, channels=dataset.channels)
    config = preset(name, scale, shape, batch=batch, precision=choose_precision(device))
    config = replace(config, data=str(data), kimg=kimg, tick_kimg=kimg / 20, sample_ticks=20)
    return replace(config, precision=stable_precision(config))


def main() -> None:
    arguments = parser(__doc__.splitlines()[0], "ladder.json")
    arguments.add_argument("--data", type=Path, help="dataset")
    arguments.add_argument("--runs", type=Path, default=Path("/tmp/gantrol-ladder"), help="folder of the trainings")
    arguments.add_argument("--carried", type=Path, help="folder of a training to go on with; default: beside --json")
    arguments.add_argument("--scale", default="small", help="of the networks")
    arguments.add_argument("--kimg", type=float, default=400.0, help="length of each training")
    arguments.add_argument("--samples", type=int, default=5000, help="images per score")
    arguments.add_argument("--only", default="", help="steps whose name contains this")
    options = arguments.parse_args()
    device = options.device
    steps = [name for name in STEPS if options.only in name]
    scale, kimg, samples, batch = options.scale, options.kimg, options.samples, None
    if options.smoke:
        steps, scale, kimg, samples, batch = [n for n in steps if n in ("ladder-a", "stylegan3-t")], "tiny", 0.008, 8, 4
    rows = Rows(options, device)
    data = dataset_of(options.data, is_smoke=options.smoke)
    train_rows(
        rows,
        {name: config_of(name, data, scale=scale, kimg=kimg, batch=batch, device=device) for name in steps},
        {name: ("fid",) if name in NOT_MOVABLE else ("fid", "eqt", "eqr") for name in steps},
        runs=options.runs,
        place=options.carried or options.json.parent / "carried",
        device=device,
        samples=samples,
    )
    rows.print(["fid", "eqt", "eqr", "img_per_s", "peak_gib", "kimg"])


if __name__ == "__main__":
    main()
