"""Parts of a file as values: a `Span` names bytes without holding them.

The weights of a checkpoint are a few hundred byte strings that make up nearly all of it. Readers pass them on as spans,
so that a tensor is read once, straight to where it is used, and a file of any size costs little to look at.
"""

from __future__ import annotations

import dataclasses
import io
from typing import BinaryIO

from gantrol.errors import CheckpointError

_WINDOW = 1 << 13


class ByteSource:
    """A file, or bytes in memory (`io.BytesIO`), of known size, read at any place."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)

    def read_into(self, start: int, target: memoryview) -> None:
        """Fills `target` with the bytes from `start` on.

        Raises:
            CheckpointError: the file has become shorter.
        """
        self._file.seek(start)
        done = 0
        while done < len(target):
            count = self._file.readinto(target[done:])  # type: ignore[attr-defined]
            if not count:
                raise CheckpointError("it became shorter while it was read")
            done += count

    def whole(self) -> Span:
        """All of it."""
        return Span(self, 0, self.size)


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes of a source from `start` on."""

    source: ByteSource
    start: int
    length: int

    def part(self, start: int, length: int) -> Span:
        """`length` bytes from `start` on, both relative to this span.

        Raises:
            CheckpointError: there are not that many.
        """
        if start < 0 or length < 0 or start + length > self.length:
            raise CheckpointError(
                f"it is cut short or damaged, fetch it again: {length:,} bytes are announced that it does not have"
            )
        return Span(self.source, self.start + start, length)

    def read_into(self, target: memoryview) -> None:
        """Fills `target`, which is as long as the span."""
        self.source.read_into(self.start, target)

    def read(self, limit: int) -> bytes:
        """The bytes themselves.

        Raises:
            CheckpointError: there are more than `limit`.
        """
        if self.length > limit:
            raise CheckpointError(f"a value of {self.length:,} bytes stands where at most {limit:,} are expected")
        data = bytearray(self.length)
        self.read_into(memoryview(data))
        return bytes(data)


class Cursor:
    """Reads a span from its beginning to its end, through a window of 8 KiB; steps over what is large."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._window = b""
        self._window_start = 0
        self.position = 0

    @property
    def remaining(self) -> int:
        """Bytes up to the end."""
        return self._span.length - self.position

    def read(self, length: int) -> bytes:
        """The next `length` bytes, few enough to hold.

        Raises:
            CheckpointError: the span ends before.
        """
        offset = self.position - self._window_start
        data = self._window[offset : offset + length]
        if len(data) < length:
            part = self._span.part(self.position, max(length, min(_WINDOW, self.remaining)))
            self._window, self._window_start = part.read(part.length), self.position
            data = self._window[:length]
        self.position += length
        return data

    def read_line(self, limit: int) -> bytes:
        """The bytes up to the next newline, which is stepped over.

        Raises:
            CheckpointError: there is none among the next `limit` bytes.
        """
        start = self.position
        data = self.read(min(limit, self.remaining))
        end = data.find(b"\n")
        if end < 0:
            raise CheckpointError("it is cut short or damaged, fetch it again: a line has no end")
        self.position = start + end + 1
        return data[:end]

    def step_over(self, length: int) -> Span:
        """The next `length` bytes, unread.

        Raises:
            CheckpointError: the span ends before.
        """
        part = self._span.part(self.position, length)
        self.position += length
        return part


def in_memory(data: bytes) -> Span:
    """Bytes that are in memory already, as a span."""
    return ByteSource(io.BytesIO(data)).whole()
