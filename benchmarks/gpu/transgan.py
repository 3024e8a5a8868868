"""Job 5: TransGAN's ingredients, the swap of generators and discriminators, and who needs augmentation, at 32 px.

The trainings are those of `benchmarks.transgan_study`, one declared recipe for all of them, only longer. A training
that the time does not suffice for is carried on by the next call (see `benchmarks.gpu.training_runs`).
"""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.gpu.measuring import Rows, parser  # noqa: E402
from benchmarks.gpu.training_runs import dataset_of, train_rows  # noqa: E402
from benchmarks.transgan_study import RUNS, config_of  # noqa: E402

SMOKE = ("TransGAN augmented, co-trained, local",)


def main() -> None:
    arguments = parser(__doc__.splitlines()[0], "transgan.json")
    arguments.add_argument("--data", type=Path, help="dataset of 32 px")
    arguments.add_argument("--runs", type=Path, default=Path("/tmp/gantrol-transgan"), help="folder of the trainings")
    arguments.add_argument("--carried", type=Path, help="folder of a training to go on with; default: beside --json")
    arguments.add_argument("--scale", default="small", help="of the networks")
    arguments.add_argument("--kimg", type=float, default=400.0, help="length of each training")
    arguments.add_argument("--samples", type=int, default=5000, help="images per score")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--only", default="", help="trainings whose name contains this")
    options = arguments.parse_args()
    names = [name for name in RUNS if options.only in name]
    if options.smoke:
        names, options.scale, options.kimg, options.samples = list(SMOKE), "tiny", 0.008, 8
    rows = Rows(options, options.device)
    data = dataset_of(options.data, is_smoke=options.smoke)
    study = Namespace(data=data, scale=options.scale, kimg=options.kimg, seed=options.seed, device=options.device)
    configs = {name: config_of(RUNS[name], study) for name in names}
    if options.smoke:
        configs = {name: replace(config, batch=4) for name, config in configs.items()}
    configs = {name: replace(config, tick_kimg=options.kimg / 20, sample_ticks=20) for name, config in configs.items()}
    train_rows(
        rows,
        configs,
        dict.fromkeys(names, ("fid",)),
        runs=options.runs,
        place=options.carried or options.json.parent / "carried",
        device=options.device,
        samples=options.samples,
    )
    for name, row in rows.rows.items():
        row["published_is_fid"] = RUNS[name].published
        rows.add(name, row)
    rows.print(["fid", "img_per_s", "peak_gib", "published_is_fid"])


if __name__ == "__main__":
    main()
