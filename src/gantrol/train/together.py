"""What the processes of one training tell each other besides gradients: that they live, and that it is time to stop.

A process that dies must end the job with a message, and never leave the others waiting in a collective that cannot
end. So each process raises a beat every few seconds in a small key-value store, which the first one serves; the first
watches all beats, the others watch that of the first. A process that fails writes down why before it goes. Whoever
learns of a failure gives its own main thread a few seconds to end, and then ends the process.

A request to stop (Ctrl-C, SIGTERM, the time limit) may reach one process alone. It travels with the next step in a
collective of its own, on the host and beside the computation, and all processes leave after the same step.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Self

import torch
import torch.distributed as dist

from gantrol.errors import GantrolError, TrainingError
from gantrol.metrics.processes import Processes

BEAT_S = 2.0
"""Seconds between two beats."""
TIMEOUT_S = 60.0
"""Seconds without a beat after which a process counts as dead."""
GRACE_S = 10.0
"""Seconds that a process has to end by itself once it knows of a failure."""

_FAILED = "failed"


class Together:
    """A group of processes inside a `with` block; one process alone does none of this.

    Args:
        processes: of the training.
        remedy: what to do after a failure, for the message.
        beat_s, timeout_s, grace_s: see the constants.

    Raises:
        TrainingError: in place of the error of a collective, when another process has ended.
    """

    def __init__(
        self,
        processes: Processes,
        remedy: str,
        *,
        beat_s: float = BEAT_S,
        timeout_s: float = TIMEOUT_S,
        grace_s: float = GRACE_S,
    ) -> None:
        self._rank, self._count = processes.rank, processes.count
        self._remedy = remedy
        self._beat_s, self._timeout_s, self._grace_s = beat_s, timeout_s, grace_s
        self._failure = ""
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None
        self._vote = torch.zeros(1, dtype=torch.int32)
        self._pending: dist.Work | None = None

    def __enter__(self) -> Self:
        if self._count > 1:
            self._group = dist.new_group(backend="gloo")
            self._store = self._open_store()
            self._thread = threading.Thread(target=self._watch, name="gantrol-together", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        if error is None:
            with suppress(RuntimeError):
                if self._pending is not None:
                    self._pending.wait()
            self._leave()
        elif _is_of_collective(error):
            self._ends.wait(self._beat_s + 1)  # the reason may be on its way
            reason = self._failure or self._told()
            self._leave()
            reason = reason or f"another process of the {self._count} has ended"
            raise TrainingError(f"{reason}; {self._remedy}") from error
        else:
            text = " ".join(str(error).split()) if isinstance(error, GantrolError) else repr(error)
            with suppress(RuntimeError):
                self._store.set(_FAILED, f"process {self._rank} of {self._count} has ended: {text}")
            if self._rank == 0:
                time.sleep(2 * self._beat_s)  # the others read it here
            self._leave()

    def highest(self, vote: int) -> int:
        """The highest number that any process gave in the call before this one; alone, the number given now."""
        if self._thread is None:
            return vote
        result = 0
        if self._pending is not None:
            self._pending.wait()
            result = int(self._vote.item())
        self._vote = torch.tensor([vote], dtype=torch.int32)
        self._pending = dist.all_reduce(self._vote, dist.ReduceOp.MAX, group=self._group, async_op=True)
        return result

    def _open_store(self) -> dist.TCPStore:
        """A store of this training's own, so that no thread shares one with torch."""
        host = os.environ.get("MASTER_ADDR", "127.0.0.1")
        box = [_free_port() if self._rank == 0 else 0]
        dist.broadcast_object_list(box, src=0, group=self._group)
        timeout = timedelta(seconds=self._timeout_s)
        return dist.TCPStore(host, box[0], self._count, self._rank == 0, timeout=timeout, wait_for_workers=False)

    def _leave(self) -> None:
        self._ends.set()
        assert self._thread is not None
        self._thread.join(self._beat_s + 1)
        with suppress(RuntimeError):
            self._store.set(_beat(self._rank), "left")

    def _watch(self) -> None:
        """Raises this process's beat and watches the others', until the block ends or one of them has failed."""
        watched = [rank for rank in range(self._count) if rank != self._rank] if self._rank == 0 else [0]
        heard = dict.fromkeys(watched, ("", time.monotonic()))
        number = 0
        while not self._ends.wait(self._beat_s if number else 0):
            number += 1
            try:
                self._store.set(_beat(self._rank), str(number))
                self._failure = self._told() or self._silent(heard)
                if self._failure and self._rank == 0:
                    self._store.set(_FAILED, self._failure)
            except RuntimeError:  # the store is gone, and with it the process that serves it
                self._failure = f"process 0 of {self._count} has ended"
            if self._failure:
                if not self._ends.wait(self._grace_s):
                    sys.stderr.write(f"gantrol: {self._failure}; {self._remedy}\n")
                    sys.stderr.flush()
                    os._exit(1)
                return

    def _told(self) -> str:
        """What a failing process wrote down, if one did."""
        with suppress(RuntimeError):
            return self._store.get(_FAILED).decode() if self._store.check([_FAILED]) else ""
        return ""

    def _silent(self, heard: dict[int, tuple[str, float]]) -> str:
        """Who has not been heard for too long."""
        now = time.monotonic()
        for rank, (last, since) in heard.items():
            found = self._store.get(_beat(rank)).decode() if self._store.check([_beat(rank)]) else ""
            if found != last or found == "left":
                heard[rank] = (found, now)
            elif now - since > self._timeout_s:
                return f"process {rank} of {self._count} has not been heard of for {self._timeout_s:g} s"
        return ""


def _beat(rank: int) -> str:
    return f"beat/{rank}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _is_of_collective(error: BaseException) -> bool:
    """Whether an error says that another process could not be reached."""
    if isinstance(error, dist.DistError):
        return True
    words = ("gloo", "connection closed by peer", "connection reset by peer", "nccl", "broken pipe")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
