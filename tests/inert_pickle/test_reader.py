"""The readers of foreign files: what they accept equals what Python and torch read; nothing else gets anywhere."""

from __future__ import annotations

import builtins
import os
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gantrol.convert import import_checkpoint
from gantrol.convert.allowed_names import Array, pickle_names, torch_names
from gantrol.convert.stored_tensor import StoredTensor
from gantrol.convert.torch_files import read_torch_file
from gantrol.errors import CheckpointError
from gantrol.inert_pickle import Budget, Cursor, Span, in_memory, read_pickle
from tests.convert.official_pickles import TINY_T, dump, shaken, snapshot

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def read(data: bytes) -> Any:
    budget = Budget()
    return read_pickle(Cursor(in_memory(data)), pickle_names(budget), budget)


def plain(value: Any) -> Any:
    """`value` with what stands for bytes, tensors and arrays replaced by it."""
    match value:
        case Span():
            return value.read(1 << 20)
        case StoredTensor():
            return value.load()
        case dict():
            return {key: plain(part) for key, part in value.items()}
        case list() | tuple():
            return type(value)(plain(part) for part in value)
    return value


# ----------------------------------------------------------------------------------------------------------------------
# What is read

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**100), 2**100)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(-99, 99), inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=12,
)


@given(value=VALUES, protocol=st.sampled_from([2, 3, 4, 5]))
@settings(max_examples=200, deadline=None)
def test_values_are_those_that_python_reads(value: Any, protocol: int) -> None:
    assert plain(read(pickle.dumps(value, protocol))) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_and_shared_parts(protocol: int) -> None:
    shared = ["x", -7, 2**40, 1.5, True, None]
    value = read(pickle.dumps({"a": shared, "b": (shared, 1, 2, 3), "c": {"d"}}, protocol))
    assert value == {"a": shared, "b": (shared, 1, 2, 3), "c": {"d"}}
    assert value["a"] is value["b"][0]
    loop: list[Any] = []
    loop.append(loop)
    again = read(pickle.dumps(loop, protocol))
    assert again[0] is again


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_numbers_become_python_numbers(protocol: int) -> None:
    numbers = [np.float64(0.1), np.float32(0.5), np.float16(2), np.int64(-3), np.uint8(200), np.bool_(True)]
    found = read(pickle.dumps([*numbers, np.dtype(">i4").type(5), np.arange(6).reshape(2, 3)], protocol))
    assert found[:-1] == [0.1, 0.5, 2.0, -3, 200, True, 5]
    assert [type(number) for number in found[:-1]] == [float, float, float, int, int, bool, int]
    assert isinstance(found[-1], Array)
    assert found[-1].shape == (2, 3)


TENSORS = {
    "plain": torch.arange(12.0).reshape(3, 4),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
    "transposed": torch.arange(12.0).reshape(3, 4).T,
    "part": torch.arange(12.0)[3:9:2],
    **{str(t): torch.tensor([0, 1, 2, 3]).to(t) for t in (torch.float16, torch.bfloat16, torch.float64, torch.int64)},
    **{str(t): torch.tensor([0, 1, 1, 0]).to(t) for t in (torch.int32, torch.int16, torch.int8, torch.uint8)},
    "bool": torch.tensor([True, False]),
    "parameter": torch.nn.Parameter(torch.ones(2)),
}


def check_tensors(found: Any) -> None:
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        loaded = found[name].load()
        assert loaded.dtype == tensor.dtype
        assert torch.equal(loaded, tensor)
        assert loaded.is_contiguous()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_in_a_pickle(protocol: int) -> None:
    check_tensors(read(pickle.dumps(TENSORS, protocol)))


@pytest.mark.parametrize("is_zip", [True, False])
def test_files_of_torch(is_zip: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    shared = torch.arange(6.0)
    content = {"g": TENSORS, "args": {"lr": 0.1}, "views": [shared[:3], shared[3:]], "iteration": 7}
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    found = read_torch_file(in_memory(path.read_bytes()), torch_names(), Budget())
    check_tensors(found["g"])
    assert (found["args"], found["iteration"]) == ({"lr": 0.1}, 7)
    assert found["views"][0].storage is found["views"][1].storage
    assert torch.equal(found["views"][1].load(), shared[3:])
    with pytest.raises(CheckpointError, match="none of the codes that can be imported"):
        import_checkpoint(path)  # no importer for files of torch.save yet

    module = torch.nn.Linear(2, 3)
    torch.save(module.state_dict(), path, _use_new_zipfile_serialization=is_zip)
    state = read_torch_file(in_memory(path.read_bytes()), torch_names(), Budget())
    assert all(torch.equal(state[name].load(), value) for name, value in module.state_dict().items())
    torch.save(module, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CheckpointError, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
        read_torch_file(in_memory(path.read_bytes()), torch_names(), Budget())


# ----------------------------------------------------------------------------------------------------------------------
# What is refused, and runs nothing


class Call:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


def by_hand(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def text(string: str) -> bytes:
    return b"X" + struct.pack("<I", len(string)) + string.encode()


def number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def storage_of(content: bytes) -> bytes:
    """Opcodes for a storage that `torch.save` wrote into a byte string."""
    return b"ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(content)) + content + b"\x85R"


def attacks(marker: Path) -> dict[str, bytes]:
    """Files that would create `marker` if Python's own pickle read them, or try to."""
    command = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w')"
    system = b"cposix\nsystem\n"
    storage = pickle.dumps(Call(os.system, command), 2)
    return {
        "system": pickle.dumps(Call(os.system, command)),
        "system, protocol 0": pickle.dumps(Call(os.system, command), 0),
        "eval": pickle.dumps(Call(eval, code)),
        "exec": pickle.dumps({"G_ema": Call(exec, code)}),
        "open": pickle.dumps(Call(builtins.open, str(marker), "w")),
        "popen": pickle.dumps(Call(subprocess.Popen, ["touch", str(marker)])),
        "getattr": pickle.dumps(Call(getattr, "", "format")),
        "attribute": by_hand(text("collections"), text("OrderedDict.__init__.__globals__"), b"\x93"),
        "import": by_hand(text("builtins"), text("__import__"), b"\x93", text("antigravity"), b"\x85R"),
        "only a name": by_hand(b"cantigravity\nfly\n"),
        "instance": by_hand(b"(", text(command), b"iposix\nsystem\n"),
        "object": by_hand(b"(", system, text(command), b"o"),
        "new object": by_hand(system, text(command), b"\x85\x81"),
        "call of a value": by_hand(text("x"), b")R"),
        "call of a dictionary": by_hand(b"})R"),
        "call with keywords": by_hand(b"ccollections\nOrderedDict\n)}", text("a"), b"Ns\x92"),
        "state of a list": by_hand(b"]", b"}", text("__class__"), text("x"), b"sb"),
        "state of a function": by_hand(b"ccollections\nOrderedDict\n}", text("call"), text("x"), b"sb"),
        "items of a function": by_hand(b"ccollections\nOrderedDict\n", text("a"), text("b"), b"s"),
        "extension": by_hand(b"\x82\x01"),
        "buffer": by_hand(b"\x97"),
        "persistent": by_hand(text("x"), b"Q"),
        "persistent, protocol 0": by_hand(b"Px\n"),
        "inside a storage": by_hand(storage_of(storage)),
        "torch inside a storage": pickle.dumps(
            Call(torch.storage._load_from_bytes, legacy_torch(Call(os.system, command)))
        ),
        "torch file": legacy_torch(Call(os.system, command)),
    }


def legacy_torch(value: Any) -> bytes:
    """What the older `torch.save` writes for a value without tensors."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    return b"".join(pickle.dumps(part, 2) for part in [*head, value, []])


@pytest.mark.parametrize("name", attacks(Path("x")))
def test_nothing_runs(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    path = tmp_path / "evil.pkl"
    path.write_bytes(attacks(marker)[name])
    refused(path)
    assert not marker.exists()
    assert "antigravity" not in sys.modules


def refused(path: Path) -> str:
    """The message with which a file is refused: one line that names it and says that nothing ran."""
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"cannot import {path.name}: ")
    assert message.endswith("(nothing in it was run)")
    assert message.isprintable()
    assert len(message) < 400
    return message


def test_names_from_files_are_printed_harmlessly(tmp_path: Path) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(by_hand(text("\x1b[31mred\n" + "x" * 5000), text("y"), b"\x93"))
    assert r"asks for \x1b[31mred\nxxx" in refused(path)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"", "it is empty"),
        (b"\x1f\x8b\x08\x00", "compressed: unpack it first"),
        (b"BZh91AY", "compressed: unpack it first"),
        (b"\xfd7zXZ\x00", "compressed: unpack it first"),
        (b"<!DOCTYPE html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PK\x03\x04" + bytes(100), "its table of contents cannot be read"),
        (b"\x80\x09.", "newer pickle protocol"),
        (b"\xff\xfe\xfd", "no pickle at all"),
        (by_hand(b"cdnnlib.tflib.network\nNetwork\n)\x81}b"), "legacy.py --source=OLD.pkl"),
        (by_hand(b"ctfutil\nNetwork\n)\x81}b"), "TensorFlow network"),
    ],
)
def test_other_files_are_recognised(start: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(start)
    assert message in refused(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*absent.pkl: No such file"):
        import_checkpoint(tmp_path / "absent.pkl")
    with pytest.raises(CheckpointError, match=r"it is no folder of GAN-Control: .*there is no \.pt file"):
        import_checkpoint(tmp_path)


# ----------------------------------------------------------------------------------------------------------------------
# Bombs: small files that ask for much


def zip_with(members: dict[str, bytes], path: Path, compression: int = zipfile.ZIP_STORED) -> bytes:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path.read_bytes()


BOMBS = {
    "long byte string": by_hand(b"\x8e" + struct.pack("<Q", 1 << 40) + b"x"),
    "long byte array": by_hand(b"\x96" + struct.pack("<Q", 1 << 62) + b"x"),
    "long text": by_hand(b"\x8d" + struct.pack("<Q", 1 << 40) + b"x"),
    "negative length": by_hand(b"T" + struct.pack("<i", -1) + b"x"),
    "long number": by_hand(b"\x8b" + struct.pack("<I", 1 << 20) + b"\x7f" * (1 << 20)),
    "many digits": b"L" + b"9" * 4000 + b"L\n.",
    "endless line": b"c" + b"a" * 100_000,
    "far memo": by_hand(b"Nr" + struct.pack("<I", 2**32 - 1)),
    "colliding memo": b"N" + b"".join(b"p%d\n" % (k * (2**61 - 1)) for k in range(1, 1000)) + b".",
    "long frame": by_hand(b"\x95" + struct.pack("<Q", 1 << 50)),
    "many values": by_hand(b"\x8f" * 600_000),
    "many dictionaries": by_hand(b"(" + b"}" * 600_000),
    "much text": by_hand(b"(" + (text("x" * 100_000) + b"0") * 200),
    "deep": by_hand(b"]" * 400_000 + b"a" * 399_999),
    "deep tuple": by_hand(b")" + b"\x85" * 400_000),
    "deep key": by_hand(b"}" + b")" + b"\x85" * 100_000 + b"Ns"),
    "colliding keys": by_hand(b"}(" + b"".join(number(k * (2**61 - 1)) + b"N" for k in range(9)) + b"u"),
    "copies of a list": by_hand(
        b"cbuiltins\nset\nq\x00(" + text("x") + b"q\x02" + b"h\x02" * 50_000 + b"l\x85q\x01" + b"0h\x00h\x01R" * 50_000
    ),
    "copies of text": by_hand(
        b"c_codecs\nencode\nq\x00" + text("x" * 1_000_000) + text("latin1") + b"\x86q\x01" + b"0h\x00h\x01R" * 1000
    ),
    "stack of nothing": by_hand(b"0"),
    "mark of nothing": by_hand(b"t"),
    "unknown memo": by_hand(b"h\x07"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.pkl"
    path.write_bytes(BOMBS[name])
    refused_cheaply(path)


def refused_cheaply(path: Path, limit_mb: int = 400) -> str:
    """As `refused`, in bounded time and memory."""
    began = time.process_time()
    tracemalloc.start()
    try:
        message = refused(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit_mb << 20
    assert time.process_time() - began < 30
    return message


def test_strange_zips(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    zip_with({"a/data.pkl": b"\x80\x02}" + b"." * 50_000_000}, path, zipfile.ZIP_DEFLATED)
    assert "compressed or encrypted" in refused_cheaply(path, 4)
    zip_with({f"a/data/{i}": b"" for i in range(90_000)}, path)
    assert "at most 4,194,304 are expected" in refused_cheaply(path, 100)
    zip_with({"readme.txt": b""}, path)
    assert "none that torch.save wrote" in refused(path)
    zip_with({"a/data.pkl": by_hand(b"}"), "a/byteorder": b"big"}, path)
    assert "another kind of machine" in refused(path)
    pid = by_hand(b"(", text("storage"), b"ctorch\nFloatStorage\n", text("0"), text("cpu"), number(4), b"tQ")
    zip_with({"a/data.pkl": pid}, path)
    assert "lacks the data 0" in refused(path)
    zip_with({"a/data.pkl": pid, "a/data/0": bytes(15)}, path)
    assert "cut short or damaged" in refused(path)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (0, (2, 2), (3, 1)),
        (0, (10**6,), (0,)),
        (0, (2**60, 2**60), (0, 0)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (2,), (1, 1)),
        (2**100, (0,), (1,)),
        (0, (1,) * 9, (1,) * 9),
    ],
)
def test_tensors_stay_within_their_data(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    storage = storage_of(pickle.loads(storage_bytes(torch.arange(4.0))))
    sizes = (b"(" + b"".join(map(number_16, values)) + b"t" for values in (shape, strides))
    call = b"(" + storage + number_16(offset) + b"".join(sizes) + b"tR"
    with pytest.raises(CheckpointError, match="a tensor does not lie within its data"):
        read(by_hand(b"ctorch._utils\n_rebuild_tensor_v2\n" + call))


def number_16(value: int) -> bytes:
    return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)


def storage_bytes(tensor: torch.Tensor) -> bytes:
    """A pickle of the byte string that stands for a tensor's storage in pickles."""
    storage = tensor.__reduce_ex__(2)[1][0]
    return pickle.dumps(storage.__reduce__()[1][0])


# ----------------------------------------------------------------------------------------------------------------------
# Damage


@pytest.fixture(scope="module")
def official_bytes() -> bytes:
    """A small but complete official file."""
    return dump(snapshot(shaken(TINY_T)))


def test_every_cut_is_noticed(official_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.pkl"
    step = len(official_bytes) // 60
    for length in [*range(0, len(official_bytes), step), len(official_bytes) - 1]:
        path.write_bytes(official_bytes[:length])
        refused(path)


CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True), st.sampled_from(["set", "insert", "delete", "repeat"]), st.binary(max_size=9)
    ),
    min_size=1,
    max_size=8,
)


@given(changes=CHANGES)
@settings(max_examples=80, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_read_or_refused(
    changes: list[tuple[float, str, bytes]], official_bytes: bytes, tmp_path: Path
) -> None:
    data = bytearray(official_bytes)
    for where, kind, content in changes:
        at = int(where * len(data))
        match kind:
            case "set":
                data[at : at + len(content)] = content
            case "insert":
                data[at:at] = content
            case "delete":
                del data[at : at + len(content)]
            case "repeat":
                data[at:at] = data[at : at + 1000]
    path = tmp_path / "damaged.pkl"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        found = outcome(lambda: import_checkpoint(path, device="cpu"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20
    assert "\n" not in found if isinstance(found, str) else found.config.resolution_px == TINY_T.resolution_px


def outcome(work: Callable[[], Any]) -> Any:
    """What `work` returns, or the message with which it refuses."""
    try:
        return work()
    except CheckpointError as error:
        return str(error)


@given(data=st.binary(max_size=200), is_pickle=st.booleans())
@settings(max_examples=300, deadline=5000)
def test_random_bytes_raise_nothing_else(data: bytes, is_pickle: bool) -> None:
    outcome(lambda: read((b"\x80\x04" if is_pickle else b"") + data))
