"""`gantrol studio` in a process of its own, as somebody starts it in a terminal."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_S = 180.0
_STOP_S = 20.0


@dataclass(frozen=True, kw_only=True)
class StudioProcess:
    """A studio that answers."""

    url: str
    pid: int
    log: Path
    """What it writes to stderr; nothing, unless something went wrong."""


@contextmanager
def running(models: Sequence[str] = ("faces",), *, runs: Sequence[Path] = ()) -> Iterator[StudioProcess]:
    """A studio on a free port of this machine, while the block lasts; ended as by Ctrl-C.

    Args:
        models: as on the command line.
        runs: folders of trainings to watch.

    Raises:
        RuntimeError: it does not start, or has not ended as it should.
    """
    command = [sys.executable, "-m", "gantrol", "studio", *models, "--port", "0", "--device", "cpu"]
    for run in runs:
        command += ["--runs", str(run)]
    with tempfile.TemporaryDirectory(prefix="gantrol-studio-log-") as folder:
        log = Path(folder) / "stderr.txt"
        with log.open("wb") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        watchdog = threading.Timer(_START_S, process.kill)
        watchdog.start()
        try:
            line = next((line for line in process.stdout if "http://" in line), "")
            watchdog.cancel()
            found = re.search(r"http://\S+", line)
            if found is None:
                raise RuntimeError(f"the studio has not started: {log.read_text(errors='replace')[-2000:]}")
            yield StudioProcess(url=found[0], pid=process.pid, log=log)
        finally:
            watchdog.cancel()
            _end(process)
            process.stdout.close()


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise RuntimeError(f"the studio has not ended {_STOP_S:g} s after Ctrl-C") from None
