"""Pickles as data: strangers' files are read by an interpreter that imports nothing and calls nothing of theirs.

    reader.py       the stack machine, its table of allowed names, its budget
    byte_source.py  ranges of a file as values, so that large byte strings stay where they are

`convert` reads checkpoints with it, `data` the datasets that are published as pickles (CIFAR).
"""

from gantrol.inert_pickle.byte_source import ByteSource, Cursor, Span, in_memory
from gantrol.inert_pickle.reader import Budget, Function, Names, Refusal, Settable, read_pickle, shown

__all__ = [
    "Budget",
    "ByteSource",
    "Cursor",
    "Function",
    "Names",
    "Refusal",
    "Settable",
    "Span",
    "in_memory",
    "read_pickle",
    "shown",
]
