"""Pickles read as data: an interpreter of its own that can only build containers and call functions from a given table.

A pickle is a program for a small stack machine. Python's own machine imports whatever the program names and calls it
with whatever arguments it likes, which is how a pickle runs code. This one knows the same opcodes, but a name that is
not in the table ends the reading, and the table holds functions of ours that check their arguments and build inert
values. Nothing is imported, no method of a value is called, and dictionaries take only text and small numbers as keys.

Memory and time are bounded by a `Budget`: opcodes (each makes at most one value of a few hundred bytes) and characters
of text are counted, byte strings stay in the file (`Span`), and a length is believed only if the bytes are there.
"""

from __future__ import annotations

import dataclasses
import pickle
import struct
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from gantrol.errors import CheckpointError
from gantrol.inert_pickle.byte_source import Cursor

_MAX_LINE = 4096
_MAX_INTEGER_BYTES = 16
_LARGEST_KEY = 2**31
_LONGEST_TEXT = 1 << 16


@dataclasses.dataclass(frozen=True, slots=True)
class Function:
    """Stands for a class or function that pickles may call: `call` takes the tuple of arguments and checks it."""

    call: Callable[[tuple[Any, ...]], Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """Stands for a name that tells what the file is instead: reading ends with `message` when it comes up."""

    message: str


class Settable:
    """A value whose state a pickle may set (opcode BUILD)."""

    def set_state(self, state: Any) -> None:
        """Takes over what the pickle says; checks it."""
        raise NotImplementedError


Names = Mapping[tuple[str, str], Any]
"""(module, name) → what a pickle gets when it asks for it: a `Function`, a `Refusal`, or a value that does nothing."""


@dataclasses.dataclass(slots=True)
class Budget:
    """What one file may use, over all the pickles inside it; official files use about 50,000 opcodes."""

    opcodes: int = 500_000
    text_bytes: int = 16 << 20

    def take_opcodes(self, count: int) -> None:
        """Notes `count` opcodes, or as much work as these.

        Raises:
            CheckpointError: that is more than is left.
        """
        self.opcodes -= count
        if self.opcodes < 0:
            raise CheckpointError("it has far more instructions than a network needs")

    def take_text(self, count: int) -> None:
        """Notes `count` bytes of text.

        Raises:
            CheckpointError: that is more than is left.
        """
        self.text_bytes -= count
        if self.text_bytes < 0:
            raise CheckpointError("it holds more text than a network has")


def read_pickle(cursor: Cursor, names: Names, budget: Budget, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The value of the pickle that begins at `cursor`, which is left at its end.

    Args:
        cursor: where to read; byte strings in the value are spans of it.
        names: all that the pickle may ask for.
        budget: reduced by what is used.
        persistent: turns a persistent id, a value that the pickle leaves to its surroundings, into the value.

    Raises:
        CheckpointError: the pickle asks for something else, is damaged or cut short, or exceeds the budget.
    """
    machine = _Machine(cursor, names, budget, persistent)
    try:
        return machine.run()
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
        raise CheckpointError(f"it is damaged, or no pickle at all (at byte {cursor.position:,})") from error


def shown(value: object) -> str:
    """A value from a file in a form that is safe to print: one line, short, ASCII; of containers only the type."""
    if not isinstance(value, str | int | float | None):
        return type(value).__name__
    text = str(value)
    return ascii(text if len(text) <= 80 else text[:77] + "...")[1:-1]


class _Machine:
    """The stack machine: `stack` above the last mark, `marked` the stacks below each mark, `memo` by index."""

    def __init__(self, cursor: Cursor, names: Names, budget: Budget, persistent: Callable[[Any], Any] | None) -> None:
        self.cursor = cursor
        self.names = names
        self.budget = budget
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            self.budget.take_opcodes(1)
            opcode = self.cursor.read(1)
            if opcode == pickle.STOP:
                return self.stack.pop()
            action = _ACTIONS.get(opcode)
            if action is None:
                raise CheckpointError(f"it is damaged, or no pickle at all (at byte {self.cursor.position - 1:,})")
            action(self)

    # ------------------------------------------------------------------------------------------------------------------
    # Reading arguments

    def unsigned(self, size: int) -> int:
        return int.from_bytes(self.cursor.read(size), "little")

    def signed(self, size: int) -> int:
        return int.from_bytes(self.cursor.read(size), "little", signed=True)

    def line(self) -> str:
        line = self.cursor.read_line(_MAX_LINE)
        self.budget.take_text(len(line))
        return line.decode("utf-8")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def text(self, length: int) -> None:
        self.budget.take_text(length)
        if length > self.cursor.remaining:
            raise CheckpointError(
                f"it is cut short or damaged, fetch it again: {length:,} bytes are announced that it does not have"
            )
        self.push(self.cursor.read(length).decode("utf-8", "surrogatepass"))

    def integer(self, length: int) -> None:
        if length > _MAX_INTEGER_BYTES:
            raise CheckpointError(f"a number of {length:,} bytes stands where none is expected")
        self.push(self.signed(length))

    def decimal(self, text: str) -> int:
        if len(text) > 3 * _MAX_INTEGER_BYTES:
            raise CheckpointError(f"a number of {len(text):,} digits stands where none is expected")
        return int(text)

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def drop_mark(self) -> None:
        self.pop_mark()

    def remember(self, index: int) -> None:
        self.memo[_checked_key(index)] = self.stack[-1]

    def recall(self, index: int) -> None:
        self.push(self.memo[index])

    def pop_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.marked.pop()
        return values

    # ------------------------------------------------------------------------------------------------------------------
    # Actions that need more than a line

    def protocol(self) -> None:
        if self.unsigned(1) > 5:
            raise CheckpointError("it is of a newer pickle protocol than any checkpoint")

    def frame(self) -> None:
        """Frames only help buffering: the length is checked, and the content read as if there were none."""
        if self.unsigned(8) > self.cursor.remaining:
            raise CheckpointError("it is cut short or damaged, fetch it again: a frame reaches beyond its end")

    def string(self) -> None:
        """A quoted string of Python 2; escapes do not occur in names and paths."""
        text = self.line()
        if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"" or "\\" in text:
            raise ValueError("not a quoted string")
        self.push(text[1:-1])

    def byte_string(self, length: int) -> None:
        """A byte string of Python 2: text (names, paths) if it is short, else data, which stays in the file."""
        if length > _LONGEST_TEXT:
            self.push(self.cursor.step_over(length))
            return
        self.budget.take_text(length)
        self.push(self.cursor.read(length).decode("latin-1"))

    def int_line(self) -> None:
        text = self.line()
        self.push({"00": False, "01": True}[text] if text in ("00", "01") else self.decimal(text))

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(values) % 2:
            raise TypeError("items for something that is not a dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_checked_key(key)] = value

    def append(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError("elements for something that is not a list")
        self.stack[-1].extend(values)

    def add_items(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not set:
            raise TypeError("members for something that is not a set")
        self.stack[-1].update(map(_checked_key, values))

    def pair_up(self, values: list[Any]) -> None:
        self.push({})
        self.set_items(values)

    def look_up(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise TypeError("a name that is not text")
        found = self.names.get((module, name))
        if found is None:
            raise CheckpointError(
                f"it asks for {shown(f'{module}.{name}')}, which no network needs: the file is not what it should be"
            )
        if isinstance(found, Refusal):
            raise CheckpointError(found.message)
        self.push(found)

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.look_up(module, name)

    def call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Function) or type(arguments) is not tuple:
            raise CheckpointError("it calls something that is not a function: the file is not what it should be")
        # A call may copy its arguments, and the memo can offer the same large one to many calls.
        self.budget.take_opcodes(sum(len(value) for value in arguments if isinstance(value, list | tuple | dict | str)))
        self.push(function.call(arguments))

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.call(function, arguments)

    def new_object_with_keywords(self) -> None:
        keywords, arguments, function = self.stack.pop(), self.stack.pop(), self.stack.pop()
        if keywords != {}:
            raise CheckpointError("it calls a class with keywords: the file is not what it should be")
        self.call(function, arguments)

    def instance(self) -> None:
        self.look_up(self.line(), self.line())
        function = self.stack.pop()
        self.call(function, tuple(self.pop_mark()))

    def object(self) -> None:
        function, *arguments = self.pop_mark()
        self.call(function, tuple(arguments))

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Settable):
            target.set_state(state)
        elif type(target) is not dict:  # what a dictionary carries beside its items is of no use here
            raise CheckpointError("it changes a value that has no state: the file is not what it should be")

    def persistent_id(self, identity: Any) -> None:
        if self.persistent is None:
            raise CheckpointError("it refers to data outside itself: the file is not what it should be")
        self.push(self.persistent(identity))

    def unsupported(self) -> NoReturn:
        raise CheckpointError("it uses a feature of pickles that no checkpoint uses")


def _checked_key(key: Any) -> Any:
    """`key` if it can be hashed in constant time and without collisions made on purpose."""
    if type(key) is str or (type(key) is int and -_LARGEST_KEY < key < _LARGEST_KEY):
        return key
    raise TypeError("a key that is neither text nor a small number")


_ACTIONS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: _Machine.protocol,
    pickle.FRAME: _Machine.frame,
    # Constants and numbers
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.INT: _Machine.int_line,
    pickle.BININT: lambda m: m.push(m.signed(4)),
    pickle.BININT1: lambda m: m.push(m.unsigned(1)),
    pickle.BININT2: lambda m: m.push(m.unsigned(2)),
    pickle.LONG: lambda m: m.push(m.decimal(m.line().removesuffix("L"))),
    pickle.LONG1: lambda m: m.integer(m.unsigned(1)),
    pickle.LONG4: lambda m: m.integer(m.unsigned(4)),
    pickle.FLOAT: lambda m: m.push(float(m.line())),
    pickle.BINFLOAT: lambda m: m.push(struct.unpack(">d", m.cursor.read(8))[0]),
    # Text and bytes
    pickle.STRING: _Machine.string,
    pickle.BINSTRING: lambda m: m.byte_string(m.unsigned(4)),
    pickle.SHORT_BINSTRING: lambda m: m.byte_string(m.unsigned(1)),
    pickle.UNICODE: lambda m: m.push(m.line()),
    pickle.SHORT_BINUNICODE: lambda m: m.text(m.unsigned(1)),
    pickle.BINUNICODE: lambda m: m.text(m.unsigned(4)),
    pickle.BINUNICODE8: lambda m: m.text(m.unsigned(8)),
    pickle.SHORT_BINBYTES: lambda m: m.push(m.cursor.step_over(m.unsigned(1))),
    pickle.BINBYTES: lambda m: m.push(m.cursor.step_over(m.unsigned(4))),
    pickle.BINBYTES8: lambda m: m.push(m.cursor.step_over(m.unsigned(8))),
    pickle.BYTEARRAY8: lambda m: m.push(m.cursor.step_over(m.unsigned(8))),
    # Containers
    pickle.EMPTY_TUPLE: lambda m: m.push(()),
    pickle.TUPLE1: lambda m: m.push((m.stack.pop(),)),
    pickle.TUPLE2: lambda m: m.push((m.stack.pop(-2), m.stack.pop())),
    pickle.TUPLE3: lambda m: m.push((m.stack.pop(-3), m.stack.pop(-2), m.stack.pop())),
    pickle.TUPLE: lambda m: m.push(tuple(m.pop_mark())),
    pickle.EMPTY_LIST: lambda m: m.push([]),
    pickle.LIST: lambda m: m.push(m.pop_mark()),
    pickle.APPEND: lambda m: m.append([m.stack.pop()]),
    pickle.APPENDS: lambda m: m.append(m.pop_mark()),
    pickle.EMPTY_DICT: lambda m: m.push({}),
    pickle.DICT: lambda m: m.pair_up(m.pop_mark()),
    pickle.SETITEM: lambda m: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    pickle.SETITEMS: lambda m: m.set_items(m.pop_mark()),
    pickle.EMPTY_SET: lambda m: m.push(set()),
    pickle.ADDITEMS: lambda m: m.add_items(m.pop_mark()),
    pickle.FROZENSET: lambda m: m.push(frozenset(map(_checked_key, m.pop_mark()))),
    # The stack and the memo
    pickle.MARK: _Machine.mark,
    pickle.POP: _Machine.pop,
    pickle.POP_MARK: _Machine.drop_mark,
    pickle.DUP: lambda m: m.push(m.stack[-1]),
    pickle.PUT: lambda m: m.remember(m.decimal(m.line())),
    pickle.BINPUT: lambda m: m.remember(m.unsigned(1)),
    pickle.LONG_BINPUT: lambda m: m.remember(m.unsigned(4)),
    pickle.MEMOIZE: lambda m: m.remember(len(m.memo)),
    pickle.GET: lambda m: m.recall(m.decimal(m.line())),
    pickle.BINGET: lambda m: m.recall(m.unsigned(1)),
    pickle.LONG_BINGET: lambda m: m.recall(m.unsigned(4)),
    # Names, calls and state
    pickle.GLOBAL: lambda m: m.look_up(m.line(), m.line()),
    pickle.STACK_GLOBAL: _Machine.stack_global,
    pickle.REDUCE: _Machine.reduce,
    pickle.NEWOBJ: _Machine.reduce,
    pickle.NEWOBJ_EX: _Machine.new_object_with_keywords,
    pickle.INST: _Machine.instance,
    pickle.OBJ: _Machine.object,
    pickle.BUILD: _Machine.build,
    pickle.PERSID: lambda m: m.persistent_id(m.line()),
    pickle.BINPERSID: lambda m: m.persistent_id(m.stack.pop()),
    **dict.fromkeys(
        [pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER], _Machine.unsupported
    ),
}
"""What each opcode does; those of protocols 0 to 5 are all here."""
