"""The fused kernels: through Triton's interpreter, through its compiler without a GPU, and on CUDA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gantrol import ops
from gantrol.errors import ConfigError
from gantrol.ops.kernels import autotune
from gantrol.ops.kernels.autotune import Launch, Store
from gantrol.ops.paths import record_paths

ROOT = Path(__file__).resolve().parents[2]
CHECKS = "tests/ops/kernel_checks.py"

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed (extra dev, Linux only)")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA machine")


def run_python(*arguments: str, **environment: str) -> str:
    """What a fresh interpreter prints; fails if it fails."""
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=inherited | paths | environment,
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@needs_triton
def test_through_the_interpreter() -> None:
    assert "passed" in run_python(
        "-m", "pytest", CHECKS, "-x", "--tb=short", TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES=""
    )


@pytest.mark.gpu
@needs_cuda
@needs_triton
def test_on_cuda() -> None:
    assert "passed" in run_python("-m", "pytest", CHECKS, "--tb=short")


# What the launches of ordinary layers take, at most: two programs fit into each of an H100's processors.
SHARED_BYTES = 100 * 1024


@needs_triton
def test_kernels_compile_without_a_gpu() -> None:
    """For an H100: they compile, spill nothing and leave room for a neighbour."""
    found: dict[str, Any] = json.loads(run_python("-m", "benchmarks.gpu.resources", "--json", "--quick"))
    assert {name.split()[0] for name in found} == {"filtered_lrelu", "upfirdn2d", "bias_act"}
    for name, row in found.items():
        assert row["shared_bytes"] <= SHARED_BYTES, name
        assert row["spilled_bytes"] == 0, name


# ---------------------------------------------------------------------------------------------------------------------
# Which way is taken


def test_importing_imports_no_compiler() -> None:
    code = "import sys, gantrol.ops, gantrol.models; print('triton' in sys.modules)"
    assert run_python("-c", code).strip() == "False"


def test_on_the_cpu_torch_computes() -> None:
    x = torch.randn(1, 2, 6, 6, requires_grad=True)
    with record_paths() as paths:
        ops.upfirdn2d(ops.filtered_lrelu(x, torch.ones(4), up=2, down=2, padding=3), None, padding=1).sum().backward()
    assert {name.partition(".")[0] for name in paths} >= {"filtered_lrelu", "sloped", "upfirdn2d"}
    assert [name for name in paths if name.endswith(".triton")] == []


@pytest.mark.parametrize(
    "call",
    [
        lambda x, impl: ops.upfirdn2d(x, torch.ones(3), padding=1, impl=impl),
        lambda x, impl: ops.filtered_lrelu(x, torch.ones(3), padding=1, impl=impl),
        lambda x, impl: ops.bias_act(x, act="lrelu", impl=impl),
    ],
)
def test_kernels_asked_for_by_name(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    x = torch.randn(1, 1, 5, 5)
    with pytest.raises(ConfigError, match=r"impl='triton': .*triton is not installed|kernels run on CUDA tensors"):
        call(x, "triton")
    torch.testing.assert_close(call(x, "torch"), call(x, "reference"))


@pytest.mark.parametrize("operator", [ops.bias_act, ops.filtered_lrelu])
def test_a_bound_between_two_numbers_of_the_type_still_clamps(operator: Any) -> None:
    """0.7 is no bfloat16: the signal stops just below it, and its gradient stops with it."""
    x = torch.full((1, 1, 2, 2), 5.0, dtype=torch.bfloat16, requires_grad=True)
    operator(x, clamp=0.7).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() == 0


# ---------------------------------------------------------------------------------------------------------------------
# The memory of chosen tiles

LAUNCH = Launch(tile_y=64, tile_x=32, warps=4)


def test_a_chosen_tile_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "gantrol" / "device.json"
    Store(path).put("a", LAUNCH)
    assert Store(path).get("a") == LAUNCH
    assert Store(path).get("b") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 3}', '{"a": {"tile": 1}}', "\0"])
def test_a_damaged_memory_is_an_empty_one(content: str, tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    path.write_text(content)
    store = Store(path)
    assert store.get("a") is None
    store.put("a", LAUNCH)
    assert Store(path).get("a") == LAUNCH


def test_a_place_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "device.json")
    store.put("a", LAUNCH)
    assert store.get("a") == LAUNCH


class FakeDevice:
    """Stands for a CUDA device of that name on which launches take the times that `seconds` says.

    Args:
        monkeypatch: undoes it.
        home: where the memory of choices is.
        seconds: of each candidate.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path, seconds: dict[Launch, float]) -> None:
        self.timed: list[Launch] = []
        self.is_capturing = False
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(home))
        monkeypatch.setitem(sys.modules, "triton", SimpleNamespace(__version__="3.6.0"))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Fake GPU/1")
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: self.is_capturing)

        def timed(run: Any, launch: Launch) -> float:
            run(launch)
            self.timed.append(launch)
            return seconds[launch]

        monkeypatch.setattr(autotune, "_seconds", timed)
        self.forget()

    def forget(self) -> None:
        """A new process begins."""
        autotune._store.cache_clear()


OTHER = Launch(tile_y=128, tile_x=64, warps=8)


@pytest.fixture
def fake_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeDevice]:
    device = FakeDevice(monkeypatch, tmp_path, {LAUNCH: 2.0, OTHER: 1.0})
    yield device
    device.forget()


def choose(planes: int = 64, candidates: tuple[Launch, ...] = (LAUNCH, OTHER)) -> Launch:
    key = ("upfirdn2d", "float16", planes, (4, 4))
    return autotune.best_launch(key, candidates, lambda launch: None, torch.device("cuda"))


def test_the_fastest_is_timed_once(fake_device: FakeDevice, tmp_path: Path) -> None:
    """By the first process that meets a shape; known to it, to numbers of planes alike, and to the next process."""
    assert choose() == OTHER
    assert fake_device.timed == [LAUNCH, OTHER]
    fake_device.timed.clear()
    assert choose() == choose(planes=50) == OTHER
    fake_device.forget()
    assert choose() == OTHER
    assert fake_device.timed == []
    (file,) = (tmp_path / "gantrol" / "autotune").iterdir()
    assert file.name == "Fake-GPU-1-triton-3.6.0.json"
    assert choose(planes=65) == OTHER
    assert len(fake_device.timed) == 2


def test_a_choice_that_is_no_candidate_any_more_is_made_anew(fake_device: FakeDevice) -> None:
    choose()
    fake_device.timed.clear()
    fake_device.forget()
    assert choose(candidates=(LAUNCH, Launch(tile_y=1, tile_x=1, warps=1))[:1]) == LAUNCH  # one needs no timing
    third = Launch(tile_y=32, tile_x=32, warps=4)
    assert choose(candidates=(LAUNCH, OTHER, third)) == OTHER
    assert fake_device.timed == []


def test_inside_a_graph_nothing_is_timed(fake_device: FakeDevice) -> None:
    fake_device.is_capturing = True
    assert choose() == LAUNCH
    assert fake_device.timed == []
    fake_device.is_capturing = False
    assert choose() == OTHER


def test_processes_keep_each_others_choices(tmp_path: Path) -> None:
    """Two that began at the same time: neither loses what the other wrote; the file is whole at every moment."""
    path = tmp_path / "device.json"
    first, second = Store(path), Store(path)
    first.put("a", LAUNCH)
    second.put("b", OTHER)
    assert {name: Store(path).get(name) for name in "ab"} == {"a": LAUNCH, "b": OTHER}
    assert [file.name for file in tmp_path.iterdir()] == ["device.json"]


def test_without_a_home_choices_live_as_long_as_the_process(
    fake_device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert choose() == choose() == OTHER
    assert len(fake_device.timed) == 2
