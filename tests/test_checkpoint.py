"""The tensor file: faithful, atomic, and damaged files are always noticed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from gantrol import checkpoint
from gantrol.errors import CheckpointError


def example_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "g.weight": torch.randn(3, 4, generator=generator),
        "g.half": torch.randn(5, generator=generator).to(torch.bfloat16),
        "g.strided": torch.arange(12).reshape(3, 4).T,
        "steps": torch.tensor(7),
        "flag": torch.tensor([True, False, True]),
        "rng": torch.arange(256, dtype=torch.uint8),
        "exact": torch.tensor([0.1, float("nan"), float("-inf")], dtype=torch.float64),
        "empty": torch.zeros(0, 3),
    }


EXAMPLE_METADATA = {
    "n_img": 1234,
    "pl_mean": 0.1 + 0.2,
    "preset": "stylegan3-t",
    "nested": {"list": [1, None, "ψ"]},
}


def write_example(folder: Path, name: str = "model.safetensors") -> Path:
    path = folder / name
    checkpoint.save(path, example_tensors(), EXAMPLE_METADATA)
    return path


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = write_example(tmp_path)
    tensors, metadata = checkpoint.load(path)
    assert metadata == EXAMPLE_METADATA
    assert tensors.keys() == example_tensors().keys()
    for name, expected in example_tensors().items():
        assert tensors[name].dtype == expected.dtype
        torch.testing.assert_close(tensors[name], expected, rtol=0, atol=0, equal_nan=True)


def test_same_input_gives_the_same_bytes_and_any_reader_opens_them(tmp_path: Path) -> None:
    first, second = write_example(tmp_path, "a.safetensors"), write_example(tmp_path, "b.safetensors")
    assert first.read_bytes() == second.read_bytes()
    torch.testing.assert_close(load_file(first)["g.weight"], example_tensors()["g.weight"], rtol=0, atol=0)


def test_prefixes_select_tensors_and_metadata_reads_alone(tmp_path: Path) -> None:
    path = write_example(tmp_path)
    tensors, _ = checkpoint.load(path, prefixes=["g."])
    assert sorted(tensors) == ["g.half", "g.strided", "g.weight"]
    assert checkpoint.read_metadata(path) == EXAMPLE_METADATA


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), is_cut=st.booleans())
def test_a_cut_or_a_flipped_bit_anywhere_is_detected(tmp_path: Path, place: float, bit: int, is_cut: bool) -> None:
    path = write_example(tmp_path)
    content = bytearray(path.read_bytes())
    where = int(place * len(content))
    if is_cut:
        content = content[:where]
    else:
        content[where] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"^[^\n]*damaged[^\n]*$"):
        checkpoint.load(path)


def test_every_single_byte_of_the_header_is_covered(tmp_path: Path) -> None:
    path = write_example(tmp_path)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    for where in range(end):
        path.write_bytes(content[:where] + bytes([content[where] ^ 0x20]) + content[where + 1 :])
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoint.verify(path)


def test_appended_bytes_are_detected(tmp_path: Path) -> None:
    path = write_example(tmp_path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)


def test_foreign_files_are_refused_unless_plain_safetensors_are_allowed(tmp_path: Path) -> None:
    plain = tmp_path / "plain.safetensors"
    save_file({"a": torch.ones(2)}, plain)
    with pytest.raises(CheckpointError, match="not a tensor file written by gantrol"):
        checkpoint.load(plain)
    tensors, metadata = checkpoint.load(plain, allow_plain=True)
    assert tensors["a"].tolist() == [1, 1]
    assert metadata == {}

    text = tmp_path / "text.safetensors"
    text.write_bytes(b"hello")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(text, allow_plain=True)
    plain.write_bytes(plain.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        checkpoint.load(plain, allow_plain=True)
    with pytest.raises(CheckpointError, match="No such file"):
        checkpoint.load(tmp_path / "absent.safetensors")


def test_unsupported_dtypes_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'spectrum'.*complex64"):
        checkpoint.save(tmp_path / "a.safetensors", {"spectrum": torch.zeros(1, dtype=torch.complex64)}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_previous_file_and_leaves_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_example(tmp_path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"^[^\n]*disk is full[^\n]*$"):
        checkpoint.save(path, {"w": torch.zeros(4)}, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_midway_keeps_the_previous_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = write_example(tmp_path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"^cannot write [^\n]*File too large[^\n]*$"):
            checkpoint.save(path, {"w": torch.zeros(1 << 18)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path / "a.safetensors", {"w": torch.zeros(4)}, {})
    assert list(tmp_path.iterdir()) == []


def test_the_newest_intact_checkpoint_is_found_and_damaged_ones_are_named(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        checkpoint.save(tmp_path / f"{step}.safetensors", {"step": torch.tensor(step)}, {"step": step})
    assert checkpoint.newest_valid(tmp_path) == (tmp_path / "100.safetensors", [])
    (tmp_path / "100.safetensors").write_bytes(b"")
    assert checkpoint.newest_valid(tmp_path) == (tmp_path / "10.safetensors", [tmp_path / "100.safetensors"])
    for step in (9, 10):
        (tmp_path / f"{step}.safetensors").write_bytes(b"?")
    with pytest.raises(CheckpointError, match=r"100\.safetensors, 10\.safetensors, 9\.safetensors damaged"):
        checkpoint.newest_valid(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        checkpoint.newest_valid(tmp_path / "absent")


def test_only_the_last_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in range(12):
        (tmp_path / f"kimg-{step}.safetensors").touch()
    (tmp_path / ".kimg-12.safetensors.abcd.tmp").touch()
    (tmp_path / "notes.txt").touch()
    removed = checkpoint.keep_last(tmp_path, 2)
    assert len(removed) == 11
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "kimg-10.safetensors",
        "kimg-11.safetensors",
        "notes.txt",
    ]
