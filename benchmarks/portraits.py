"""`python -m benchmarks.portraits`: do strangers see faces in the built-in portraits, and what the labels say?

detect       public detectors that never saw a portrait of ours: OpenCV's frontal-face cascade must find exactly one
             face, and the head pose computed from MediaPipe's face landmarks must agree with the labels.
readability  a small network learns to read labels from portraits, and is examined on other people (readability.py).

Exits with 0 if the targets are met (every label read better than guessed), 2 if not, 1 if it could not be done.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import detectors
from gantrol.atomic import write_json
from gantrol.errors import GantrolError

PROGRAM = "python -m benchmarks.portraits"
CASCADE_TARGET, YAW_TARGET = 0.90, 0.9


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one of the two examinations."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments, argparse.Namespace(command=f"{PROGRAM} {shlex.join(arguments)}"))
    try:
        record = options.run(options)
        if options.json is not None:
            write_json(options.json, record)
    except GantrolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if record["passed"] else 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=main.__doc__)
    kinds = parser.add_subparsers(required=True, metavar="detect|readability")
    detect = kinds.add_parser(
        "detect",
        help="public face detectors on fresh portraits",
        description=f"Needs {detectors.INSTALL}".replace("%", "%%"),
    )
    detect.add_argument("--count", type=_positive, default=500, help="pictures for the cascade")
    detect.add_argument("--mesh-count", type=_positive, default=300, help="pictures for the landmarks")
    detect.add_argument("--size", type=_positive, default=128, help="side of the pictures, px")
    detect.add_argument("--seed", type=int, default=0, help="of the cascade's rows; the landmarks' have the next")
    detect.add_argument("--only", choices=["cascade", "mesh"], help="one of the two detectors")
    detect.add_argument("--misses", metavar="F", type=Path, help="also draw what the cascade misses, a PNG")
    detect.set_defaults(run=run_detect)
    reading = kinds.add_parser("readability", help="a small network reads labels from pictures of unknown people")
    reading.add_argument("data", metavar="TRAIN.zip", type=Path, help="from `gantrol data faces --size 64`")
    reading.add_argument("other", metavar="HELD_OUT.zip", type=Path, help="the same with another --seed")
    reading.add_argument("--images", type=_positive, default=8000, help="of TRAIN.zip")
    reading.add_argument("--held-out", type=_positive, default=1000, help="of HELD_OUT.zip")
    reading.add_argument("--epochs", type=_positive, default=24)
    reading.add_argument("--seed", type=int, default=0, help="of the network")
    reading.add_argument("--threads", metavar="N", type=_positive, help="torch's threads; by default its own choice")
    reading.add_argument("--fp32", action="store_true", help="for processors without bf16")
    reading.set_defaults(run=run_readability)
    for one in (detect, reading):
        one.add_argument("--json", metavar="F", type=Path, help="also write machine and numbers to this file")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is impossible: at least 1")
    return number


def run_detect(options: argparse.Namespace) -> dict[str, Any]:
    """Renders, and lets the detectors of `options.only`, or both, look; passed if both targets are met."""
    from benchmarks.timing import machine

    for needed in {"cascade": ["cv2"]}.get(options.only, ["cv2", "mediapipe"]):
        detectors.detector(needed)  # better now than after minutes of rendering
    console = Console(highlight=False)
    record: dict[str, Any] = {"machine": machine(), "command": options.command, "passed": True}
    if options.only != "mesh":
        seen = detectors.portraits(options.count, options.size, options.seed, frontal=True)
        record["cascade"] = detectors.cascade(*seen, misses=options.misses)
        _show_cascade(console, record["cascade"])
        record["passed"] &= record["cascade"]["exactly_one"] >= CASCADE_TARGET
    if options.only != "cascade":
        seen = detectors.portraits(options.mesh_count, options.size, options.seed + 1, frontal=False)
        record["mesh"] = detectors.mesh(*seen)
        _show_mesh(console, record["mesh"])
        record["passed"] &= record["mesh"]["labels"].get("yaw", {}).get("correlation", 0.0) >= YAW_TARGET
    return record


def _show_cascade(console: Console, found: dict[str, Any]) -> None:
    console.print(f"{found['detector']}\n{found['pictures']}", soft_wrap=True)
    console.print(
        f"exactly one face {found['exactly_one']:.1%} (target {CASCADE_TARGET:.0%}), "
        f"none {found['none']:.1%}, several {found['several']:.1%}"
    )
    console.print("exactly one: " + "; ".join(f"{k} {v:.1%}" for k, v in found["sensitivity"].items()))
    console.print("failures go with: " + "; ".join(f"{k} {v:+.2f}" for k, v in found["failures_go_with"].items()))


def _show_mesh(console: Console, found: dict[str, Any]) -> None:
    console.print(f"\n{found['detector']}\n{found['pictures']}", soft_wrap=True)
    console.print(f"a face in {found['found']:.1%}, exactly one in {found['exactly_one']:.1%}")
    table = Table("label", "correlation", "mean error", "constant offset", "spread of the label")
    for name, each in found["labels"].items():
        degrees = [each.get(f"{part}_degrees") for part in ("mean_error", "offset", "spread")]
        shown = ["" if value is None else f"{value:.1f}°" for value in degrees]
        table.add_row(name, f"{each['correlation']:.3f}", *shown)
    console.print(table)


def run_readability(options: argparse.Namespace) -> dict[str, Any]:
    """Trains the reader and examines it; passed if every label is read better than guessed."""
    import torch

    from benchmarks.readability import load, readability
    from benchmarks.timing import machine
    from gantrol.data import ImageDataset

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    known = load(ImageDataset(options.data), options.images)
    held_out = load(ImageDataset(options.other), options.held_out)
    result = readability(
        known,
        held_out,
        epochs=options.epochs,
        seed=options.seed,
        bf16=not options.fp32,
        progress=lambda epoch, epochs, loss: print(f"epoch {epoch}/{epochs}: loss {loss:.3f}", file=sys.stderr),
    )
    readings = result["readings"]
    console = Console(highlight=False)
    console.print(f"trained on {result['trained_on']}, examined on {result['held_out']}", soft_wrap=True)
    console.print(f"{result['epochs']} epochs in {result['train_s']:.0f} s, {result['precision']}")
    table = Table("label", "mean error", "of guessing", "correlation", "images")
    for each in readings:
        digits = 1 if each.unit in ("degrees", "years") else 3
        errors = [f"{value:.{digits}f} {each.unit}" for value in (each.mean_error, each.guessing)]
        table.add_row(each.label, *errors, f"{each.correlation:.3f}", str(each.images))
    console.print(table)
    console.print("hair_color counts only where it shows: not bald, no hat over it, at most half grey")
    return {
        "machine": machine(),
        "command": options.command,
        **result,
        "readings": [dataclasses.asdict(each) for each in readings],
        "passed": all(each.mean_error < each.guessing for each in readings),
    }


if __name__ == "__main__":
    sys.exit(main())
