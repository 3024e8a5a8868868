"""`python -m tests.faults`: torments every subject, checks what is left, and writes the table of docs/reliability.md.

For each subject an undisturbed run comes first; every other one must end with the same result, bit for bit. Between a
fault and the run that goes on, the newest state is looked at: it must be intact, the same as the undisturbed run's at
that moment, and at most one tick old.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from gantrol.atomic import write_json
from gantrol.checkpoint import load, newest_valid
from gantrol.errors import CheckpointError
from tests.faults.injection import KILLS, Fault, Kind, Outcome, away, run
from tests.faults.subjects import TICK_IMG, Inputs, Subject, Training, differences, preparations, subjects

RESULT = Path("docs/results/faults.json")
_ALREADY = "exists already"


class Lost(AssertionError):
    """Something was lost that should not have been."""


@dataclass
class Row:
    """What one kind of fault did to one subject."""

    subject: str
    fault: str
    injected: int = 0
    survived: int = 0
    images_lost: int = 0
    """The most real images that had to be shown again."""
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Whole:
    """The undisturbed run."""

    result: dict[str, str]
    calls: int
    seconds: float
    bytes: int
    """Of its largest file."""


def warm_up() -> None:
    """Imports what commands import, so that no child has to; computes nothing, so that there are no threads."""
    torch.set_num_threads(1)
    import importlib

    from gantrol.cli import COMMANDS

    for command in COMMANDS.values():
        importlib.import_module(f"gantrol.cli.{command.module}")
    for name in (
        "train.loop",
        "report",
        "control.fit",
        "control.attribute_samples",
        "data.prepare",
        "metrics.evaluate",
    ):
        importlib.import_module(f"gantrol.{name}")
    import lightning_fabric.strategies  # noqa: F401


def undisturbed(subject: Subject, folder: Path) -> Whole:
    """Runs a subject as it is meant."""
    folder.mkdir(parents=True)
    outcome = run(subject.arguments(folder), folder)
    if outcome.status != 0:
        raise Lost(f"{subject.name} does not even run: {outcome.text}")
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Whole(result=subject.result(folder), calls=outcome.calls, seconds=outcome.seconds, bytes=largest)


def experiment(
    subject: Subject, whole: Whole, fault: Fault, folder: Path, chance: random.Random
) -> tuple[int, int] | None:
    """One fault, or up to three kills in a row, then on to the end.

    Returns:
        The images that had to be shown again, and the faults; None if the command ended before the fault came.

    Raises:
        Lost: something is not as it should be.
    """
    folder.mkdir(parents=True)
    outcome = run(subject.arguments(folder), folder, fault)
    if fault.data is not None and away(fault.data).exists():
        shutil.move(away(fault.data), fault.data)
    if outcome.status == 0 and fault.kind not in ("clock", "full disk", "read-only"):
        return None
    _check_end(outcome, fault)
    lost = _check_state(subject, whole, outcome, folder)
    kills = 1
    while fault.kind in KILLS and kills < 3 and chance.random() < 0.4:  # again, while it recovers
        outcome = run(subject.arguments(folder), folder, _somewhere(chance, whole, chance.choice(KILLS)))
        lost = max(lost, _check_state(subject, whole, outcome, folder))
        if outcome.status == 0:
            break
        kills += 1
    if outcome.status != 0:
        finished = run(subject.arguments(folder), folder)
        if finished.status != 0 and _ALREADY not in finished.last_line:  # killed when all was done: compared below
            raise Lost(f"does not go on: {finished.last_line}")
    wrong = differences(subject.result(folder), whole.result)
    if fault.kind == "data gone":  # the state was saved between two ticks, which shows in the log as after Ctrl-C
        wrong = [name for name in wrong if name in whole.result and name.startswith(("checkpoints", "samples"))]
    if wrong:
        raise Lost(f"ends otherwise: {', '.join(wrong)}")
    shutil.rmtree(folder)
    return lost, kills


def _check_end(outcome: Outcome, fault: Fault) -> None:
    """A command is killed, or says in one line what is wrong."""
    if "Traceback" in outcome.text:
        raise Lost(f"a traceback: {outcome.text[-600:]}")
    if fault.kind in KILLS:
        if outcome.status >= 0:
            raise Lost(f"status {outcome.status}: {outcome.last_line}")
    elif outcome.status not in (0, 1) or (outcome.status == 1 and not outcome.last_line.startswith("gantrol: ")):
        raise Lost(f"status {outcome.status}: {outcome.last_line}")


def _check_state(subject: Subject, whole: Whole, outcome: Outcome, folder: Path) -> int:
    """The images shown since the newest state, which must be intact and at most a tick old."""
    if not isinstance(subject, Training):
        return 0
    try:
        newest = newest_valid(folder / "run" / "checkpoints")
    except CheckpointError as error:
        if outcome.images:
            raise Lost(f"no state after {outcome.images} images: {error}") from error
        return 0
    if newest.skipped:
        raise Lost(f"a damaged checkpoint: {newest.skipped[0].name}")
    for name, digest in subject.checkpoints(folder).items():
        if whole.result.get(f"checkpoints/{name}", digest) != digest:
            raise Lost(f"{name} is not what it was without the fault")
    lost = max(outcome.images - int(newest.path.stem), 0)
    if lost > TICK_IMG:
        raise Lost(f"{lost} images lost, a tick has {TICK_IMG}")
    return lost


def _somewhere(chance: random.Random, whole: Whole, kind: Kind) -> Fault:
    """A fault of this kind at a random place."""
    return Fault(
        kind=kind,
        call=chance.randint(1, whole.calls),
        bytes=chance.randint(0, whole.bytes),
        seconds=chance.uniform(0.02, whole.seconds),
    )


def torment(subject: Subject, whole: Whole, root: Path, counts: dict[Kind, int], seed: int) -> Iterator[Row]:
    """So many faults of each kind at random places, one row per kind."""
    for kind, count in counts.items():
        if count == 0 or (kind == "data gone" and subject.data is None):
            continue
        chance = random.Random(f"{seed} {subject.name} {kind}")
        row = Row(subject.name, kind)
        misses = 0
        while row.injected < count and misses < 10 * count:
            fault = _somewhere(chance, whole, kind)
            if kind == "data gone":
                fault = Fault(kind=kind, data=subject.data, images=chance.randint(1, 3 * TICK_IMG))
            place = root / f"{kind.replace(' ', '-')}-{row.injected}-{misses}"
            try:
                found = experiment(subject, whole, fault, place, chance)
            except Lost as problem:
                row.injected += 1
                row.remarks.append(f"{fault}: {problem} ({place})")
                continue
            if found is None:
                misses += 1
                shutil.rmtree(place)
                continue
            row.injected += found[1]
            row.survived += found[1]
            row.images_lost = max(row.images_lost, found[0])
        yield row


def cut_checkpoints(subject: Training, whole: Whole, root: Path, count: int, seed: int) -> Iterator[Row]:
    """The newest checkpoint of a run, cut at each byte of its header and at random ones, or with a bit changed."""
    run(subject.arguments(root), root)
    newest = newest_valid(root / "run" / "checkpoints").path
    content = newest.read_bytes()
    chance = random.Random(seed)
    header = 8 + int.from_bytes(content[:8], "little")
    places = sorted(
        {*range(0, header, max(header // count, 1)), *(chance.randrange(len(content)) for _ in range(count))}
    )
    for fault in ("checkpoint cut", "bit of a checkpoint changed"):
        row = Row(subject.name, fault)
        for place in places:
            row.injected += 1
            changed = bytearray(content)
            changed[place] ^= 1 << chance.randrange(8)
            newest.write_bytes(content[:place] if fault == "checkpoint cut" else bytes(changed))
            try:
                load(newest)
            except CheckpointError:
                row.survived += newest_valid(newest.parent).path != newest
            else:
                row.remarks.append(f"unnoticed at byte {place}")
        finished = run(subject.arguments(root), root)
        for damaged in (root / "run").rglob("*.damaged"):
            damaged.unlink()
        wrong = differences(subject.result(root), whole.result)
        if finished.status != 0 or wrong:
            row.survived = 0
            row.remarks.append(f"{finished.last_line}; {wrong}")
        row.images_lost = TICK_IMG
        yield row


@contextmanager
def small_disk(folder: Path, size_kib: int) -> Iterator[bool]:
    """A disk of so many KiB at `folder`, if we may mount one."""
    folder.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={size_kib}k", "none", str(folder)]
    is_mounted = subprocess.run(["mount", *options], capture_output=True).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", str(folder)], check=True)


def fill_disks(subject: Subject, whole: Whole, root: Path, shares: list[float]) -> Iterator[Row]:
    """Real disks, too small for the whole result, which then become larger."""
    row = Row(subject.name, "disk really full")
    used = sum(path.stat().st_size for path in (root.parent / "whole").rglob("*") if path.is_file())
    for share in shares:
        with small_disk(root, max(int(used * share) >> 10, 4)) as is_mounted:
            if not is_mounted:
                return
            outcome = run(subject.arguments(root), root)
            if outcome.status != 1:
                continue
            row.injected += 1
            try:
                _check_end(outcome, Fault(kind="full disk"))
                row.images_lost = max(row.images_lost, _check_state(subject, whole, outcome, root))
                subprocess.run(["mount", "-o", "remount,size=64m", str(root)], check=True)
                finished = run(subject.arguments(root), root)
                if finished.status != 0 or (wrong := differences(subject.result(root), whole.result)):
                    raise Lost(f"{finished.last_line} {wrong if finished.status == 0 else ''}")
            except Lost as problem:
                row.remarks.append(str(problem))
            else:
                row.survived += 1
        root.rmdir()
    if row.injected:
        yield row


def main(argv: list[str] | None = None) -> int:
    """Torments what the arguments choose; 0 if nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--kills", type=int, default=3, help="of each of the three kinds, for each subject")
    parser.add_argument("--others", type=int, default=1, help="faults of every other kind, for each subject")
    parser.add_argument("--cuts", type=int, default=200, help="places at which a checkpoint is cut, about")
    parser.add_argument("--only", default="", help="subjects whose name contains this")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the table to this file")
    options = parser.parse_args(argv)
    warm_up()
    counts: dict[Kind, int] = dict.fromkeys(KILLS, options.kills)
    counts |= dict.fromkeys(("full disk", "read-only", "data gone", "clock"), options.others)
    began, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="gantrol-faults-") as temporary:
        inputs = Inputs(Path(temporary) / "inputs")
        os.environ["XDG_CACHE_HOME"] = f"{temporary}/cache"
        inputs.folder.mkdir()
        _in_a_child(inputs.make)
        chosen = [subject for subject in subjects(inputs) if options.only.lower() in subject.name.lower()]
        for each in preparations(inputs) if any(subject.needs_runs for subject in chosen) else []:
            outcome = run(each.arguments(inputs.folder), inputs.folder)
            if outcome.status != 0:
                print(outcome.text, file=sys.stderr)
                return 1
        for subject in chosen:
            root = Path(temporary) / subject.name.replace(" ", "-")
            whole = undisturbed(subject, root / "whole")
            found = [*torment(subject, whole, root, counts, options.seed)]
            if options.others:
                found += fill_disks(subject, whole, root / "disk", [0.7, 0.3][: options.others])
            if isinstance(subject, Training) and options.cuts and subject.name == "StyleGAN2":
                found += cut_checkpoints(subject, whole, root / "cut", options.cuts, options.seed)
            for row in found:
                _tell(row)
            rows += found
    injected, survived = sum(row.injected for row in rows), sum(row.survived for row in rows)
    print(f"{injected} faults, {survived} survived, in {time.monotonic() - began:.0f} s")
    if options.json is not None:
        kills = sum(row.injected for row in rows if row.fault in KILLS)
        record: dict[str, Any] = {"faults": injected, "kills": kills, "survived": survived, "tick_img": TICK_IMG}
        write_json(options.json, record | {"seed": options.seed, "rows": [asdict(row) for row in rows]})
    return 0 if survived == injected else 1


def _tell(row: Row) -> None:
    print(f"{row.subject:28} {row.fault:28} {row.survived}/{row.injected}, images again: {row.images_lost}", flush=True)
    for remark in row.remarks:
        print(f"    {remark}", flush=True)


def _in_a_child(work: Any) -> None:
    """Does something that computes, which might leave threads, in a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError("the inputs could not be made")


if __name__ == "__main__":
    sys.exit(main())
