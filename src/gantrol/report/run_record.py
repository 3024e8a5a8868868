"""All that a run folder says about itself, read so that a damaged or unfinished run can still be reported."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gantrol.checkpoint import PATTERN, read_metadata
from gantrol.errors import CheckpointError
from gantrol.hub import BEST, CHECKPOINTS, CONFIG, RUN_FORMAT
from gantrol.train.evaluation import Best, read_best
from gantrol.train.log import LOG, METRICS, read_log, read_metrics
from gantrol.train.run import SAMPLES


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run as it is on the disk."""

    folder: Path
    """Where it is."""
    config: dict[str, Any]
    """Content of config.json."""
    ticks: list[dict[str, Any]]
    """Lines of log.jsonl."""
    evaluations: list[dict[str, Any]]
    """Lines of metrics.jsonl."""
    best: Best | None
    """What decided about best.safetensors."""
    fakes: dict[int, Path]
    """Grids of samples by the number of images."""
    pairs: dict[int, Path]
    """Matrices of pairs by the number of images."""
    reals: Path | None
    """The grid of real images."""
    warnings: list[str] = field(default_factory=list)
    """What is wrong with it."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.resolve().name

    @property
    def last(self) -> dict[str, Any]:
        """The newest tick; empty before the first."""
        return self.ticks[-1] if self.ticks else {}

    @property
    def kimg(self) -> float:
        """Thousands of images shown so far."""
        return float(self.last.get("n_img", 0)) / 1000

    @property
    def planned_kimg(self) -> float:
        """Thousands of images that the training is to show."""
        value = self.config.get("kimg", 0)
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0

    @property
    def is_complete(self) -> bool:
        """Whether the training has reached its end."""
        return bool(self.ticks) and self.kimg >= self.planned_kimg

    @property
    def network(self) -> dict[str, Any]:
        """The config of the network that makes the images, inside of a controllable one too."""
        generator = self.config.get("generator", {})
        network = generator.get("base", generator) if isinstance(generator, dict) else {}
        return network if isinstance(network, dict) else {}

    @property
    def best_file(self) -> Path | None:
        """RUN/best.safetensors, if there is one."""
        path = self.folder / BEST
        return path if path.exists() else None


def read_run(folder: str | Path) -> RunRecord:
    """Reads a run, finished or not.

    Raises:
        CheckpointError: there is no run, its config cannot be read, or it has not got as far as its first samples.
    """
    folder = Path(folder).expanduser()
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"{folder} holds no run: there is no {CONFIG} in it; give the folder that gantrol train wrote"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {folder / CONFIG}: {error}; put it back") from error
    if not isinstance(config, dict) or config.get("format") != RUN_FORMAT:
        raise CheckpointError(f"{folder} holds no run: {CONFIG} is of something else; give the folder of a training")
    ticks, evaluations = read_log(folder), read_metrics(folder)
    fakes, pairs = (_by_images(folder / SAMPLES, kind) for kind in ("fakes", "pairs"))
    if not ticks and not fakes:
        raise CheckpointError(f"{folder} has no log and no samples yet: wait for its first tick")
    reals = folder / SAMPLES / "reals.png"
    return RunRecord(
        folder=folder,
        config=config,
        ticks=ticks,
        evaluations=evaluations,
        best=read_best(folder),
        fakes=fakes,
        pairs=pairs,
        reals=reals if reals.exists() else None,
        warnings=[
            *_unread_lines(folder),
            *_not_finite(ticks),
            *_unwell(ticks),
            *_damaged(folder),
            *_not_measured(evaluations),
        ],
    )


def _by_images(folder: Path, kind: str) -> dict[int, Path]:
    found = {path: re.fullmatch(rf"{kind}_(\d+)", path.stem) for path in sorted(folder.glob(f"{kind}_*.png"))}
    return {int(match[1]): path for path, match in found.items() if match}


def _unread_lines(folder: Path) -> list[str]:
    """Lines of the logs that are cut or damaged."""
    said = []
    for name, read in ((LOG, read_log), (METRICS, read_metrics)):
        path = folder / name
        if path.exists():
            written = sum(1 for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip())
            if written > (kept := len(read(folder))):
                said.append(f"{name}: {written - kept} of {written} lines cannot be read")
    return said


def _not_finite(ticks: list[dict[str, Any]]) -> list[str]:
    """The first place at which each number of the log is NaN or infinite."""
    seen: dict[str, float] = {}
    for tick in ticks:
        for name, value in tick.items():
            if isinstance(value, float) and not math.isfinite(value):
                seen.setdefault(name, tick["n_img"] / 1000)
    return [f"{name} is not finite at {kimg:g} kimg" for name, kimg in seen.items()]


def _unwell(ticks: list[dict[str, Any]]) -> list[str]:
    """What the training's own eyes have seen (`gantrol.train.health`), and from when to when."""
    spells: list[tuple[str, list[float]]] = []
    lasting: dict[str, list[float]] = {}  # what the tick before showed, and since when
    for tick in ticks:
        findings, kimg = tick.get("health", []), tick["n_img"] / 1000
        seen = sorted(map(str, findings)) if isinstance(findings, list) else []
        lasting = {name: lasting.get(name, []) for name in seen}
        for name, times in lasting.items():
            if not times:
                spells.append((name, times))
            times.append(kimg)
    return [f"{name.replace('-', ' ')}: from {times[0]:g} to {times[-1]:g} kimg" for name, times in spells]


def _damaged(folder: Path) -> list[str]:
    """Checkpoints whose header cannot be read, and a best one that has gone."""
    said = []
    for path in (*sorted((folder / CHECKPOINTS).glob(PATTERN)), folder / BEST):
        if path.exists():
            try:
                read_metadata(path)
            except CheckpointError:
                said.append(f"{path.name} is damaged; gantrol train --resume uses an older checkpoint")
    if read_best(folder) is not None and not (folder / BEST).exists():
        said.append(f"{BEST} has gone; the next evaluation keeps one again")
    return said


def _not_measured(evaluations: list[dict[str, Any]]) -> list[str]:
    """Numbers of the newest evaluation that could not be measured, with the reason where it is known."""
    entries = evaluations[-1].get("metrics", {}) if evaluations else {}
    return [
        f"{name} was not measured: {entry.get('note', 'its value is not finite')}"
        for name, entry in entries.items()
        if isinstance(entry, dict) and entry.get("value") is None
    ]
