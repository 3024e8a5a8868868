"""Replayed synthesis against synthesis itself, with a recorder that works on the CPU as CUDA graphs do on CUDA.

A `Tape` keeps every operator that ran, with the very tensors that it read and wrote. Playing it runs them again on
whatever these tensors hold by then, and no Python of the network: what was not made an input stays as it was.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gantrol import Model, sample
from gantrol.films import circle, sweep
from gantrol.mixing import mixing_table
from gantrol.models import StyleGAN2Config, StyleGAN3Config
from gantrol.models.transformer import LocalityWindow
from gantrol.models.transgan import transgan_v2
from gantrol.ops.paths import record_paths
from gantrol.replay import SWITCH, CudaRecorder, Replays


class Tape(TorchDispatchMode):
    """Operators in the order in which they ran, with the tensors themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self.output = torch.empty(0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        written = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        self.calls.append((func, args, kwargs or {}, written))
        return result

    def replay(self) -> None:
        for func, args, kwargs, written in self.calls:
            found = [x for x in tree_leaves(func(*args, **kwargs)) if isinstance(x, Tensor)]
            for old, new in zip(written, found, strict=True):
                if old.data_ptr() != new.data_ptr():  # else a view, or written in place
                    old.copy_(new)


class TapeRecorder:
    """Records tapes of work on any device.

    Args:
        fails: refuse to record, as CUDA does when the work waits for the device.
    """

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.made = 0

    def can_record(self, device: torch.device) -> bool:
        return True

    def record(self, work: Callable[[], Tensor], device: torch.device) -> Tape:
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        tape = Tape()
        with tape:
            tape.output = work()
        self.made += 1
        return tape


STYLEGAN3 = StyleGAN3Config(
    resolution_px=16, z_dim=8, w_dim=8, num_layers=4, margin_px=4, channel_base=128, channel_max=8
)
STYLEGAN2 = StyleGAN2Config(resolution_px=16, z_dim=8, w_dim=8, channel_base=128, channel_max=8)
CONFIGS: dict[str, Any] = {
    "stylegan3": STYLEGAN3,
    "stylegan2": STYLEGAN2,
    "stylegan2 with an input that moves": StyleGAN2Config(
        resolution_px=16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, use_fourier_input=True
    ),
    "transgan": transgan_v2("64", width_divisor=64),
}


def model_of(config: Any, *, fails: bool = False, most: int = 4) -> Model:
    torch.manual_seed(0)
    model = Model(config.build().eval().requires_grad_(False))
    with torch.no_grad():
        for name, parameter in model.generator.named_parameters():
            if "noise_strength" in name:
                parameter.fill_(0.5)
    model.replays = Replays(most, TapeRecorder(fails=fails))
    return model


@pytest.fixture
def model() -> Model:
    return model_of(STYLEGAN3)


def ways(model: Model, count: int, **options: Any) -> tuple[list[str], list[Tensor]]:
    """Which way so many calls went, one letter each, and the images."""
    found, images = [], []
    for seed in range(count):
        with record_paths() as paths:
            images.append(model.generate([seed, seed + 7], output="pt", **options))
        found += [name.removeprefix("synthesis.")[:2] for name in paths if name.startswith("synthesis.")]
    return found, images


def plain(model: Model, count: int, **options: Any) -> list[Tensor]:
    """The same images, operation by operation."""
    replays, model.replays = model.replays, None
    try:
        return ways(model, count, **options)[1]
    finally:
        model.replays = replays


def assert_same(got: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_replays_draw_what_the_network_draws(name: str) -> None:
    model = model_of(CONFIGS[name])
    found, images = ways(model, 5, truncation_psi=0.7)
    assert found == ["ea", "re", "re", "re", "re"]  # eager, recorded, replayed …
    assert model.replays is not None
    assert len(model.replays) == 1
    assert_same(images, plain(model, 5, truncation_psi=0.7))


def test_everything_that_changes_is_an_input(model: Model) -> None:
    """Seeds, truncation, transforms of all or of each image: one recording for each shape, none out of date."""
    looks: list[dict[str, Any]] = [
        {"truncation_psi": 0.3, "truncation_cutoff": 2},
        {"translate": (0.25, -0.1)},
        {"rotate": 30.0},
        {"translate": (0.1, 0.0), "rotate": -90.0, "truncation_psi": 0.5},
        {},
    ]
    ways(model, 2)
    for look in looks:
        found, images = ways(model, 2, **look)
        assert found == ["re", "re"]
        assert_same(images, plain(model, 2, **look))
    assert model.replays is not None
    assert len(model.replays) == 1


def test_films_move_each_image(model: Model) -> None:
    def frames() -> np.ndarray:
        return np.stack(list(sweep(model, np.array([[1, 2]]), circle(4, 0.2), look=sample.Look(batch_size=4))))

    replays, model.replays = model.replays, None
    expected = frames()
    model.replays = replays
    for _ in range(3):
        np.testing.assert_allclose(frames().astype(int), expected.astype(int), atol=1)


def test_mixing_uses_replays(model: Model) -> None:
    replays, model.replays = model.replays, None
    expected = mixing_table(model, [1, 2], [3], layers=(0, 1)).cells
    model.replays = replays
    with record_paths() as paths:
        for _ in range(3):
            cells = mixing_table(model, [1, 2], [3], layers=(0, 1)).cells
    assert paths["synthesis.replayed"] == 1
    np.testing.assert_allclose(cells.astype(int), expected.astype(int), atol=1)


def test_weights_changed_in_place_are_seen(model: Model) -> None:
    ways(model, 3)
    with torch.no_grad():
        for parameter in model.generator.synthesis.parameters():
            parameter.mul_(1.1)
    found, images = ways(model, 2)
    assert found == ["re", "re"]
    assert_same(images, plain(model, 2))


def test_weights_that_moved_forget_everything(model: Model) -> None:
    ways(model, 3)
    weights = {name: value.clone() * 0.9 for name, value in model.generator.state_dict().items()}
    model.generator.load_state_dict(weights, assign=True)
    found, images = ways(model, 3)
    assert found == ["ea", "re", "re"]
    assert_same(images, plain(model, 3))


def test_another_generator_forgets_everything(model: Model) -> None:
    ways(model, 3)
    model.generator = copy.deepcopy(model.generator)
    assert ways(model, 1)[0] == ["ea"]


def test_attention_that_becomes_local_is_seen() -> None:
    model = model_of(CONFIGS["transgan"])
    ways(model, 3)
    model.generator.synthesis.set_locality(LocalityWindow(half_width=1))
    found, images = ways(model, 3)
    assert found == ["ea", "re", "re"]
    assert_same(images, plain(model, 3))


def test_few_recordings_are_kept() -> None:
    model = model_of(STYLEGAN2, most=2)
    assert model.replays is not None
    for count in (1, 2, 3, 4):
        for _ in range(3):
            model.generate(range(count))
    assert len(model.replays) == 2
    with record_paths() as paths:
        model.generate(range(4))  # among the last used
        model.generate(range(1))  # made room, and is recorded anew
    assert (paths["synthesis.replayed"], paths["synthesis.recorded"]) == (1, 1)
    model.replays.clear()
    assert len(model.replays) == 0


def test_large_batches_are_not_recorded(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gantrol.replay.MOST_PIXELS", 16 * 16)
    assert ways(model, 3)[0] == ["ea", "ea", "ea"]


def test_what_no_recording_repeats_runs_as_always() -> None:
    """Noise of each image's own seed, hooks, training mode."""
    model = model_of(STYLEGAN2)
    ways(model, 3)
    images = ways(model, 3, noise_mode="random")[1]
    assert_same(images, plain(model, 3, noise_mode="random"))
    seen: list[int] = []
    block = model.generator.synthesis.blocks[1]
    hook = block.register_forward_hook(lambda *_: seen.append(1))
    assert ways(model, 2)[0] == ["ea", "ea"]
    assert len(seen) == 2
    hook.remove()
    assert ways(model, 1)[0] == ["re"]
    model.generator.synthesis.train()
    assert ways(model, 1)[0] == ["ea"]


def test_without_noise_every_mode_is_recorded(model: Model) -> None:
    """Alias-free generators have none: "random" means nothing to them."""
    assert ways(model, 3, noise_mode="random")[0] == ["ea", "re", "re"]


def test_a_failed_recording_is_not_tried_again() -> None:
    model = model_of(STYLEGAN3, fails=True)
    found, images = ways(model, 4)
    assert found == ["ea"] * 4
    assert_same(images, plain(model, 4))


def test_results_are_not_overwritten(model: Model) -> None:
    first = [model.generate([seed], output="pt") for seed in (0, 0, 0)][-1]
    before = first.clone()
    model.generate([5], output="pt")
    assert torch.equal(first, before)


def test_gradients_go_through_the_network(model: Model) -> None:
    ws = model.map([1])
    for _ in range(3):
        assert not model.synthesize(ws).requires_grad
    assert model.replays is not None
    assert len(model.replays) == 1
    asked = ws.clone().requires_grad_()
    model.synthesize(asked).sum().backward()
    assert asked.grad is not None
    assert asked.grad.abs().sum() > 0


def test_copies_begin_anew(model: Model) -> None:
    ways(model, 3)
    assert model.replays is not None
    for copied in (copy.deepcopy(model.replays), pickle.loads(pickle.dumps(model.replays))):
        assert len(copied) == 0
        assert copied.most == model.replays.most
    copied_model = copy.deepcopy(model)
    assert_same(ways(copied_model, 2)[1], plain(model, 2))


def test_on_the_cpu_nothing_is_recorded() -> None:
    model = Model(STYLEGAN3.build().eval())
    assert ways(model, 3)[0] == ["ea"] * 3


def test_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """GANTROL_CUDA_GRAPHS=0; and whoever captures, or works in a stream of his own, is left alone."""
    device = torch.device("cuda")
    capturing = False
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "default")
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: "default")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing)
    recorder = CudaRecorder()
    assert recorder.can_record(device)
    assert not recorder.can_record(torch.device("cpu"))
    monkeypatch.setenv(SWITCH, "0")
    assert not recorder.can_record(device)
    monkeypatch.setenv(SWITCH, "1")
    assert recorder.can_record(device)
    capturing = True
    assert not recorder.can_record(device)
    capturing = False
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "another")
    assert not recorder.can_record(device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA machine")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_cuda_graphs(name: str, dtype: torch.dtype) -> None:
    """That graphs are recorded, and draw the same: seeds, truncation, poses, a second shape, changed weights."""
    torch.manual_seed(0)
    model = Model(CONFIGS[name].build().to("cuda").eval().requires_grad_(False), dtype=dtype)
    looks: list[dict[str, Any]] = [{}, {"truncation_psi": 0.5}]
    if sample.is_movable(model.generator):
        looks.append({"translate": (0.2, 0.1), "rotate": 40.0})
    assert ways(model, 3)[0] == ["ea", "re", "re"]
    for look in looks:
        found, images = ways(model, 3, **look)
        assert set(found) == {"re"}
        for a, b in zip(images, plain(model, 3, **look), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5 if dtype == torch.float32 else 2e-2)
    for _ in range(3):
        model.generate([1, 2, 3])
    with torch.no_grad():
        for parameter in model.generator.synthesis.parameters():
            parameter.mul_(1.01)
    found, images = ways(model, 3)
    assert set(found) == {"re"}
    for a, b in zip(images, plain(model, 3), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5 if dtype == torch.float32 else 2e-2)
