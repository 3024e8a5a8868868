"""One command in a forked child, and one fault that befalls it.

The parent has imported everything and computed nothing, so a child begins within milliseconds and has no threads to
lose. Faults are counted in *calls*: openings of files for writing, renames, removals, new folders and names (Python's
audit events), and `fsync`, all below the folder of the experiment. What is not Python's, such as the inside of a large
write, is reached by a limit of the size of files: the kernel kills the process in the middle of the write.
"""

from __future__ import annotations

import errno
import mmap
import os
import resource
import select
import shutil
import signal
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

Kind = Literal[
    "none", "kill at a call", "kill in a write", "kill at a time", "full disk", "read-only", "data gone", "clock"
]
KILLS: tuple[Kind, ...] = ("kill at a call", "kill in a write", "kill at a time")

_CALLS, _IMAGES = 0, 8  # places in the memory that parent and child share


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens, and when."""

    kind: Kind = "none"
    call: int = 0
    """At or from which call on; 0: the time decides."""
    bytes: int = 0
    """`kill in a write`: from that call on, at this place of whatever file grows so large."""
    seconds: float = 0.0
    """`kill at a time`: after the start."""
    images: int = 0
    """`data gone`: the dataset is moved away after so many images."""
    data: Path | None = None
    """That dataset."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a child ended."""

    status: int
    """Exit status, negative: the signal that killed it."""
    text: str
    """All that it wrote to stdout and stderr."""
    calls: int
    """Calls until its end."""
    images: int
    """Real images shown until its end, 0 unless it trained."""
    seconds: float

    @property
    def last_line(self) -> str:
        lines = [line for line in self.text.splitlines() if line.strip()]
        return lines[-1] if lines else ""


def run(arguments: Sequence[str], folder: Path, fault: Fault = Fault()) -> Outcome:
    """Runs `gantrol ARGUMENTS` in a child; calls are counted below `folder`."""
    shared = mmap.mmap(-1, 16)
    reader, writer = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_the_child(arguments, folder, fault, shared, writer)
    os.close(writer)
    text = _read_until_the_end(reader, child, fault, began)
    _, status = os.waitpid(child, 0)
    return Outcome(
        status=os.waitstatus_to_exitcode(status),
        text=text,
        calls=_get(shared, _CALLS),
        images=_get(shared, _IMAGES),
        seconds=time.monotonic() - began,
    )


def _read_until_the_end(reader: int, child: int, fault: Fault, began: float) -> str:
    """What the child writes; kills it when its time has come."""
    pieces, is_killed = [], fault.kind != "kill at a time"
    while True:
        left = None if is_killed else max(began + fault.seconds - time.monotonic(), 0)
        if select.select([reader], [], [], left)[0]:
            piece = os.read(reader, 1 << 16)
            if not piece:
                break
            pieces.append(piece)
        else:
            os.kill(child, signal.SIGKILL)
            is_killed = True
    os.close(reader)
    return b"".join(pieces).decode(errors="replace")


# ----------------------------------------------------------------------------------------------------------------------
# In the child


def _be_the_child(arguments: Sequence[str], folder: Path, fault: Fault, shared: mmap.mmap, writer: int) -> NoReturn:
    status = 1
    try:
        for descriptor in (1, 2):
            os.dup2(writer, descriptor)
        sys.stdout, sys.stderr = (open(descriptor, "w", buffering=1, closefd=False) for descriptor in (1, 2))  # noqa: SIM115
        sys.argv = ["gantrol", *arguments]
        _report_images(shared, fault)
        _count_calls(str(folder), shared, fault)
        if fault.kind == "clock":
            _shake_the_clock()
        from gantrol.cli import main

        try:
            main(list(arguments))
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


def _count_calls(folder: str, shared: mmap.mmap, fault: Fault) -> None:
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    changes = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"}

    def count(is_taking_space: bool) -> None:
        number = _get(shared, _CALLS) + 1
        _put(shared, _CALLS, number)
        if fault.call == 0 or number < fault.call:
            return
        if fault.kind == "kill at a call":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault.kind == "kill in a write" and number == fault.call:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (fault.bytes, fault.bytes))
        elif fault.kind == "full disk" and is_taking_space:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        elif fault.kind == "read-only":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            is_write = isinstance(path, str | bytes) and isinstance(flags, int) and flags & writing
            if is_write and os.fsdecode(path).startswith(folder):
                count(True)
        elif event in changes and os.fsdecode(args[0]).startswith(folder):
            count(event in ("os.mkdir", "os.link"))

    plain = os.fsync

    def fsync(descriptor: Any) -> None:
        count(True)
        plain(descriptor)

    setattr(os, "fsync", fsync)  # noqa: B010  (its own type is narrower)
    sys.addaudithook(hook)


def _report_images(shared: mmap.mmap, fault: Fault) -> None:
    """Tells the parent after each step how far the training is; takes its dataset away when it is time."""
    from gantrol.cli.train import LineReporter

    def step(self: Any, n_img: int, total_img: int, img_per_s: float) -> None:
        _put(shared, _IMAGES, n_img)
        if fault.kind == "data gone" and fault.data is not None and n_img >= fault.images and fault.data.exists():
            shutil.move(fault.data, away(fault.data))

    LineReporter.step = step  # type: ignore[method-assign]


def away(data: Path) -> Path:
    """Where a dataset goes that is taken away."""
    return data.with_name(data.name + ".away")


def _shake_the_clock() -> None:
    """The wall clock jumps by years at every look, back and forth."""
    now, jumps = time.time, 0

    def shaken() -> float:
        nonlocal jumps
        jumps += 1
        return now() + (-1) ** jumps * 1e8 * jumps % 1e9

    time.time = shaken
    time.time_ns = lambda: int(shaken() * 1e9)


def _get(shared: mmap.mmap, place: int) -> int:
    return int(struct.unpack_from("q", shared, place)[0])


def _put(shared: mmap.mmap, place: int, value: int) -> None:
    struct.pack_into("q", shared, place, value)
