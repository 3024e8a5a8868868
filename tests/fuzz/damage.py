"""What a stranger may do to a file: bits, cuts, lengths that lie, text that is nearly JSON, archives of such members.

Every damage is drawn by hypothesis, so that a failure is shrunk to the smallest one that still fails, and the same
tests take their bytes from a coverage-guided fuzzer (`python -m tests.fuzz`).
"""

from __future__ import annotations

import copy
import io
import json
import struct
import zipfile
from typing import Any

from hypothesis import strategies as st

LENGTHS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
"""Numbers at which something overflows, or for which somebody allocates."""

NAMES = ("../evil", "/tmp/evil", "..\\evil", "C:\\evil", "a/../../evil", "\0", "a\nb", ".", "",
         "é" * 200, "CON", "x" * 300)  # fmt: skip
"""Names of members that must not become paths."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, -0.0, 1e308, 1e-320, float("nan"), float("inf"), "", "x", "0",
    "../evil", "\0", "é", "x" * 2000, [], {}, [[]], [0, 0], [1, 2, 3, 4], [1] * 70, {"x": 1}, {"format": 3},
    [[[[[[]]]]]],
)  # fmt: skip
"""What may stand where a JSON file should hold something else."""

_PLACE = st.floats(0, 1, exclude_max=True)
_EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("bit"), _PLACE, st.integers(0, 7)),
        st.tuples(st.just("byte"), _PLACE, st.integers(0, 255)),
        st.tuples(st.just("number"), _PLACE, st.sampled_from(LENGTHS), st.sampled_from("BHIQ"), st.sampled_from("<>")),
        st.tuples(st.just("cut"), _PLACE),
        st.tuples(st.just("drop"), _PLACE, st.integers(1, 64)),
        st.tuples(st.just("repeat"), _PLACE, st.integers(1, 64)),
        st.tuples(st.just("insert"), _PLACE, st.binary(min_size=1, max_size=16)),
    ),
    min_size=1,
    max_size=6,
)


def _apply(data: bytes, edits: list[tuple[Any, ...]]) -> bytes:
    content = bytearray(data)
    for kind, place, *more in edits:
        at = int(place * len(content))
        if kind == "insert":
            content[at:at] = more[0]
        elif kind == "cut":
            del content[at:]
        elif not content:
            continue
        elif kind == "bit":
            content[at] ^= 1 << more[0]
        elif kind == "byte":
            content[at] = more[0]
        elif kind == "number":
            value, code, order = more
            number = struct.pack(order + code, value & (256 ** struct.calcsize(code) - 1))
            content[at : at + len(number)] = number
        elif kind == "drop":
            del content[at : at + more[0]]
        elif kind == "repeat":
            content[at:at] = content[at : at + more[0]]
    return bytes(content)


def damaged_bytes(data: bytes) -> st.SearchStrategy[bytes]:
    """`data` after one to six edits."""
    return _EDITS.map(lambda edits: _apply(data, edits))


def damaged_json(text: bytes) -> st.SearchStrategy[bytes]:
    """JSON with one to three of its values replaced, left out or renamed; or its text edited."""
    original = json.loads(text)
    places = list(_places(original))

    def change(changes: list[tuple[int, Any, str]]) -> bytes:
        value = copy.deepcopy(original)
        for index, new, how in changes:
            value = _changed(value, places[index % len(places)], new, how)
        return json.dumps(value).encode("utf-8", "surrogatepass")

    one = st.tuples(
        st.integers(0, len(places) - 1),
        st.sampled_from(VALUES) | st.integers() | st.floats() | st.text(max_size=20),
        st.sampled_from(["value", "value", "value", "drop", "rename"]),
    )
    return st.lists(one, min_size=1, max_size=3).map(change) | damaged_bytes(text)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Any:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:8]):
            yield from _places(inner, (*path, index))


def _changed(value: Any, path: tuple[Any, ...], new: Any, how: str) -> Any:
    if not path:
        return new
    parent = value
    try:
        for key in path[:-1]:
            parent = parent[key]
        if how == "value":
            parent[path[-1]] = new
        elif how == "drop":
            del parent[path[-1]]
        elif isinstance(parent, dict):
            parent[str(new)] = parent.pop(path[-1])
    except (KeyError, IndexError, TypeError):  # an earlier change took this place away
        pass
    return value


def damaged_zip(data: bytes) -> st.SearchStrategy[bytes]:
    """An archive with a member changed, renamed, doubled or left out, and valid sums; or one whose bytes are edited."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = list(members)

    def rewritten(change: tuple[str, str, str, bytes]) -> bytes:
        name, how, new_name, content = change
        new_name = new_name.partition("\0")[0] or "empty"  # which zipfile does not write; it ends names at zero bytes
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for known, value in members.items():
                if known == name and how == "drop":
                    continue
                is_it = known == name
                archive.writestr(
                    new_name if is_it and how == "rename" else known, content if is_it and how == "content" else value
                )
            if how == "add":
                archive.writestr(new_name, content)
        return buffer.getvalue()

    def changes(name: str) -> st.SearchStrategy[tuple[str, str, str, bytes]]:
        content = damaged_json(members[name]) if name.endswith(".json") else damaged_bytes(members[name])
        how = st.sampled_from(["content", "content", "content", "rename", "add", "drop"])
        return st.tuples(st.just(name), how, st.sampled_from(NAMES), content)

    return st.sampled_from(names).flatmap(changes).map(rewritten) | damaged_bytes(data)


def damaged_safetensors(data: bytes) -> st.SearchStrategy[bytes]:
    """A safetensors file with a header that says something else of the same tensors; or one whose bytes are edited."""
    size = struct.unpack("<Q", data[:8])[0]
    header, body = data[8 : 8 + size], data[8 + size :]
    return damaged_json(header).map(lambda h: struct.pack("<Q", len(h)) + h + body) | damaged_bytes(data)
