"""The studio under load: how long a step takes when twenty people move sliders at once, and whether memory stays flat.

    python -m benchmarks.studio_load --json benchmarks/results/studio-load.json
    python -m benchmarks.studio_load --minutes 60 --json benchmarks/results/studio-soak.json

`gantrol studio` runs in a process of its own on two cores; people are threads of this one, which ask over HTTP what the
page asks (tests/browser checks the page itself). Each opens the page, drags a control for twenty steps, each as soon as
the one before has come back, rests for a moment, goes on to another seed or control, and after some drags leaves and
comes again as somebody new. Whoever is told that the studio is busy asks again as the page does; that counts as time of
the step. One of them makes style-mixing tables instead, one after the other: long work, in the other lane.

Memory is the resident size of the studio's process, once a second. Its slope is the line of least squares through the
last two thirds; the first third, in which allocators and caches fill up, is left out. The processor's time tells what
the studio itself needed, on a machine that is busy with something else as well.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import secrets
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.studio_process import StudioProcess, running
from benchmarks.timing import machine
from gantrol.atomic import write_json

STEPS = 20
"""Of one drag."""
DRAGS = (2, 6)
"""After so many drags somebody leaves."""
RESTS_S = (0.2, 1.5)
"""Between drags."""
RETRIES = 10
"""As often as the page asks again when the studio is busy (assets/explore.js)."""
MEDIAN_S = 1.0
"""The aim: half of the steps take less."""
FLAT_MIB_PER_MIN = 1.0
"""The aim for memory in an hour; a minute is too short to tell a slope from a cache that fills."""
_TIMEOUT_S = 60.0


@dataclass
class Tally:
    """What all people together have met with."""

    steps_s: list[float] = field(default_factory=list)
    tables_s: list[float] = field(default_factory=list)
    pages_s: list[float] = field(default_factory=list)
    busy: int = 0
    errors: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)


class Connection:
    """One person's connection to the studio, kept open from request to request.

    Args:
        url: of the studio.
    """

    def __init__(self, url: str) -> None:
        self._http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT_S)

    def ask(self, path: str, body: Any = None) -> http.client.HTTPResponse:
        """The answer to a GET, or to a POST with `body` as JSON; to be read before the next one.

        Raises:
            OSError: none came, or one that says no.
        """
        data = None if body is None else json.dumps(body)
        self._http.request("POST" if data else "GET", path, data, {"Content-Type": "application/json"} if data else {})
        answer = self._http.getresponse()
        if answer.status != 200:
            raise OSError(f"{path}: status {answer.status}: {answer.read()[:200]!r}")
        return answer

    def close(self) -> None:
        """Leaves."""
        self._http.close()


class Visit:
    """Somebody who has opened the page, until they leave.

    Args:
        url: of the studio.
        tally: where to write down how it went.
    """

    def __init__(self, url: str, tally: Tally) -> None:
        self._tally = tally
        self._session = secrets.token_hex(6)
        self._connection, self._heart = Connection(url), Connection(url)
        began = time.perf_counter()
        self._connection.ask("/").read()
        config = json.loads(self._connection.ask("/config").read())
        self._heart.ask(f"/gradio_api/heartbeat/{self._session}")  # open while the page is
        tally.pages_s.append(time.perf_counter() - began)
        self._ids = {entry["props"].get("elem_id"): entry for entry in config["components"]}
        self._events = config["dependencies"]
        self.opening = self._ids["explore"]["props"]["value"]

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._heart.close()

    def step(self, shown: dict[str, Any]) -> None:
        """One step of a slider: the picture for these settings, asked for again while the studio is busy.

        Raises:
            OSError: there is none.
        """
        began = time.perf_counter()
        body = {
            "data": {"shown": shown, "models": [shown["model"]], "draft": True},
            "fn_name": "draw",
            "session_hash": self._session,
            "component_id": self._ids["explore"]["id"],
        }
        for attempt in range(RETRIES + 1):
            answer = json.loads(self._connection.ask("/gradio_api/component_server", body).read())
            if not answer.get("again"):
                break
            self._tally.busy += 1
            time.sleep(min(0.2 * (attempt + 1), 1.0))
        if "pictures" not in answer:
            raise OSError(f"no picture: {answer.get('error', answer)}")
        self._tally.steps_s.append(time.perf_counter() - began)

    def table(self) -> None:
        """The button *Mix*, with its queue; as long as it takes.

        Raises:
            OSError: it has failed.
        """
        began = time.perf_counter()
        target = [self._ids["mix-make"]["id"], "click"]
        (event,) = [event for event in self._events if target in event["targets"]]
        values = {entry["id"]: entry["props"].get("value") for entry in self._ids.values()}
        data = [values.get(component) for component in event["inputs"]]
        body = {"data": data, "fn_index": event["id"], "session_hash": self._session, "trigger_id": target[0]}
        self._connection.ask("/gradio_api/queue/join", body).read()
        failure = ""
        for message in events(self._connection.ask(f"/gradio_api/queue/data?session_hash={self._session}")):
            if message["msg"] == "process_completed" and not message["success"]:
                failure = str(message["output"])
        if failure:
            raise OSError(f"no table: {failure}")
        self._tally.tables_s.append(time.perf_counter() - began)


def events(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The messages of a stream, until it ends."""
    for line in answer:
        if line.startswith(b"data:"):
            yield json.loads(line[5:])


def drag(visit: Visit, chance: random.Random, tally: Tally) -> None:
    """Twenty steps along one control, from a seed by chance."""
    shown = {**visit.opening["shown"], "seed": chance.randrange(10_000)}
    widget = chance.choice([widget for widget in visit.opening["widgets"] if widget.get("axes")])
    axis = chance.choice(widget["axes"])
    siblings = [other["start"] for other in widget["axes"] if other["control"] == axis["control"]]
    for place in np.linspace(axis["low"], axis["high"], STEPS).tolist():
        if tally.stopped.is_set():
            return
        siblings[axis["index"]] = round(place, 4)
        visit.step({**shown, "controls": {axis["control"]: siblings if len(siblings) > 1 else siblings[0]}})


def live(url: str, tally: Tally, number: int) -> None:
    """People come, drag, rest and leave, one after the other, until the time is over; errors are counted."""
    chance = random.Random(number)
    while not tally.stopped.wait(chance.uniform(0, 1)):
        try:
            with Visit(url, tally) as visit:
                for _ in range(chance.randint(*DRAGS)):
                    drag(visit, chance, tally)
                    if tally.stopped.wait(chance.uniform(*RESTS_S)):
                        return
        except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
            tally.errors.append(f"{type(error).__name__}: {error}")


def mix(url: str, tally: Tally) -> None:
    """Long work: one table after the other."""
    while not tally.stopped.is_set():
        try:
            with Visit(url, tally) as visit:
                while not tally.stopped.is_set():
                    visit.table()
                    tally.stopped.wait(RESTS_S[1])
        except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
            tally.errors.append(f"{type(error).__name__}: {error}")
            tally.stopped.wait(1)


def resident_mib(pid: int) -> float:
    """What a process holds in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def processor_s(pid: int) -> float:
    """The processor's time that a process has taken, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def slope(times_s: Sequence[float], values: Sequence[float]) -> float:
    """The line of least squares through the last two thirds, per minute."""
    start = len(times_s) // 3
    if len(times_s) - start < 2:
        return 0.0
    return float(np.polyfit(np.asarray(times_s[start:]) / 60, np.asarray(values[start:]), 1)[0])


def load(studio: StudioProcess, *, users: int, seconds: float) -> dict[str, Any]:
    """Lets people at a studio.

    Args:
        studio: is running.
        users: at the same time.
        seconds: how long.

    Returns:
        The figures for the table and the file.
    """
    tally = Tally()
    threads = [
        threading.Thread(target=live, args=(studio.url, tally, number), daemon=True) for number in range(users - 1)
    ]
    threads.append(threading.Thread(target=mix, args=(studio.url, tally), daemon=True))
    began, processor = time.perf_counter(), processor_s(studio.pid)
    for thread in threads:
        thread.start()
    times, memory = [], []
    while (now := time.perf_counter() - began) < seconds:
        times.append(now)
        memory.append(resident_mib(studio.pid))
        time.sleep(min(1.0, seconds))
    processor = processor_s(studio.pid) - processor
    tally.stopped.set()
    for thread in threads:
        thread.join(_TIMEOUT_S)
    steps = sorted(tally.steps_s) or [float("nan")]
    third = len(memory) // 3
    return {
        "users": users,
        "seconds": round(seconds, 1),
        "steps": len(tally.steps_s),
        "steps_per_s": round(len(tally.steps_s) / seconds, 1),
        "step_median_s": round(statistics.median(steps), 4),
        "step_p95_s": round(steps[int(0.95 * (len(steps) - 1))], 4),
        "step_most_s": round(steps[-1], 4),
        "processor_share": round(processor / seconds, 3),
        "errors": len(tally.errors),
        "error_texts": sorted(set(tally.errors))[:5],
        "asked_again": tally.busy,
        "visits": len(tally.pages_s),
        "page_median_s": round(statistics.median(tally.pages_s), 4),
        "tables": len(tally.tables_s),
        "table_median_s": round(statistics.median(tally.tables_s), 3) if tally.tables_s else None,
        "stderr": studio.log.read_text(errors="replace")[-2000:],
        "memory_mib": {
            "start": round(memory[0], 1),
            "after_a_third": round(memory[third], 1),
            "end": round(memory[-1], 1),
            "most": round(max(memory), 1),
            "slope_per_min": round(slope(times, memory), 3),
        },
    }


def missed(row: dict[str, Any]) -> list[str]:
    """The aims that were not reached, a line each."""
    found = []
    if row["errors"] or row["stderr"]:
        found.append(f"{row['errors']} errors: {row['error_texts']} {row['stderr']}".strip())
    if not row["step_median_s"] < MEDIAN_S:
        found.append(f"the median step takes {row['step_median_s']:.2f} s, the aim is {MEDIAN_S:g} s")
    slope_per_min = row["memory_mib"]["slope_per_min"]
    if row["seconds"] >= 600 and slope_per_min > FLAT_MIB_PER_MIN:
        found.append(f"memory grows by {slope_per_min:.2f} MiB a minute")
    return found


def main(argv: list[str] | None = None) -> int:
    """Runs the studio and the people; 0 if every aim is met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studio_load",
        description="Twenty people at a studio on two cores: time of a step, errors, memory.",
    )
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=1.0, help="60 for a soak")
    parser.add_argument("--cores", type=int, default=2, help="that the studio may use; the people take what is left")
    parser.add_argument("--models", nargs="+", default=["faces"], metavar="MODEL")
    parser.add_argument("--json", type=Path, metavar="F", help="also write the figures to this file")
    options = parser.parse_args(argv)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    about = machine()
    with running(options.models) as studio:
        row = load(studio, users=options.users, seconds=60 * options.minutes)
    record = {"machine": about, "models": options.models, "cores": options.cores, **row}
    print(json.dumps(record, indent=2))
    if options.json is not None:
        write_json(options.json, record)
    for line in missed(row):
        print(f"missed: {line}", file=sys.stderr)
    return 1 if missed(row) else 0


if __name__ == "__main__":
    sys.exit(main())
