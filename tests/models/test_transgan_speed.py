"""TransGAN's short cuts: the same images and gradients as without them, and each really taken."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gantrol.models import transgan_v2, transgan_v2_discriminator
from gantrol.models.kept import Kept
from gantrol.models.transformer import EncoderBlock, Linear
from gantrol.ops.paths import record_paths
from tests.reference import assert_close

CONFIG = transgan_v2("cifar10", width_divisor=32)


def _generator() -> nn.Module:
    torch.manual_seed(0)
    return CONFIG.build().eval().requires_grad_(False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_without_gradients_it_is_the_same(count: int, dtype: torch.dtype) -> None:
    g = _generator()
    z = torch.randn(count, CONFIG.z_dim)
    expected = g.requires_grad_(True)(z, noise_mode="const", dtype=dtype).detach()
    g.requires_grad_(False)
    for _ in range(2):  # made, then kept
        with torch.no_grad():
            image = g(z, noise_mode="const", dtype=dtype)
        assert_close(image, expected, rtol=0, atol_of_max=1e-5 if dtype == torch.float32 else 0.03)


def test_generation_takes_the_short_cuts() -> None:
    """Eleven blocks with a table and four linear layers each; fails if a change silently leaves one of them."""
    g = _generator()
    z = torch.randn(2, CONFIG.z_dim)
    for dtype, layers in ((torch.float32, 0), (torch.bfloat16, 44)):
        for way in ("made", "kept"):
            with torch.no_grad(), record_paths() as paths:
                g(z, dtype=dtype)
            expected = {f"relative_bias.{way}": 11, "mlp.in_place": 11} | ({f"linear.{way}": layers} if layers else {})
            assert {name: count for name, count in paths.items() if not name.startswith("attention")} == expected


def test_a_training_step_takes_the_short_cuts() -> None:
    torch.manual_seed(0)
    d = transgan_v2_discriminator("cifar10", width_divisor=32).build()
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    with record_paths() as paths:
        (grad,) = torch.autograd.grad(d(images).sum(), images, create_graph=True)
        grad.square().sum().backward()
    assert paths["gelu_second.portions"] == 7
    assert paths["relative_bias_gradient.diagonals"] == 6
    assert not any(name.startswith("mlp") or name.endswith(".kept") for name in paths)


def _moved(net: nn.Module) -> None:
    for parameter in net.parameters():
        parameter.data = parameter.data * 2


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "fused Adam": lambda g: torch.optim.Adam(g.parameters(), lr=0.1, fused=True).step(),
    "foreach Adam": lambda g: torch.optim.Adam(g.parameters(), lr=0.1, foreach=True).step(),
    "moving average": lambda g: torch._foreach_lerp_(
        [p.detach() for p in g.parameters()], [torch.ones_like(p) for p in g.parameters()], 0.5
    ),
    "state dict": lambda g: g.load_state_dict({k: v + 1 for k, v in g.state_dict().items()}),
    "another type": lambda g: g.to(torch.float16).float(),
    "new memory": _moved,
}


def _block() -> EncoderBlock:
    torch.manual_seed(0)
    block = EncoderBlock(16, heads=2, side=4, relative_position=True)
    return block.eval().requires_grad_(False)


@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_the_weights_are_noticed(change: str) -> None:
    block, x = _block(), torch.randn(2, 16, 16)
    with torch.no_grad():
        before = block(x, dtype=torch.bfloat16)
    if "Adam" in change:
        block.requires_grad_(True)(x, dtype=torch.float32).square().sum().backward()
    CHANGES[change](block)
    block.requires_grad_(False)
    fresh = _block()
    fresh.load_state_dict(block.state_dict())
    with torch.no_grad():
        after = block(x, dtype=torch.bfloat16)
        assert torch.equal(after, fresh(x, dtype=torch.bfloat16))
    assert change == "another type" or not torch.equal(before, after)


def test_what_is_kept_stays_out_of_copies_and_files() -> None:
    layer = Linear(64, 64).eval().requires_grad_(False)
    with torch.no_grad():
        y = layer(torch.ones(1, 64).bfloat16())
    assert set(layer.state_dict()) == {"weight", "bias"}
    plain = len(pickle.dumps(Linear(64, 64).eval().requires_grad_(False)))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert abs(len(pickle.dumps(other)) - plain) < 64
        with torch.no_grad(), record_paths() as paths:
            assert torch.equal(other(torch.ones(1, 64).bfloat16()), y)
        assert paths == {"linear.made": 1}


def test_when_nothing_is_kept() -> None:
    """While training, where gradients follow, for other types, and in tensors that count no changes."""
    kept, source = Kept("it"), torch.ones(3)

    def ways(**options: bool) -> set[str]:
        with record_paths() as paths:
            kept.of(source, torch.bfloat16, lambda x: x.bfloat16(), **options)
        return set(paths)

    assert ways() == {"it.made"}
    assert ways() == {"it.kept"}
    assert ways(is_kept=False) == {"it.passing"}
    assert ways() == {"it.made"}
    with record_paths() as paths:
        kept.of(source, torch.float64, lambda x: x.double())
    assert paths == {"it.made": 1}
    source.requires_grad_()
    assert ways() == {"it.passing"}
    with torch.no_grad():
        assert ways() == {"it.passing"}
    with torch.inference_mode():
        source = torch.ones(3)
        assert ways() == {"it.passing"}


def test_blocks_leave_their_input_as_it_was() -> None:
    """Readers of feature maps hold on to what a block was given and what it returned."""
    for norm, gain in (("layer", 1.0), ("none", 0.5)):
        block = EncoderBlock(8, heads=2, norm=norm, residual_gain=gain).eval()  # type: ignore[arg-type]
        x = torch.randn(2, 5, 8)
        before = x.clone()
        expected = block(x, dtype=torch.float32).detach()
        with torch.no_grad():
            y = block(x, dtype=torch.float32)
        assert torch.equal(x, before)
        assert_close(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_traced_block_keeps_nothing() -> None:
    block = EncoderBlock(8, heads=2, side=2, relative_position=True).eval().requires_grad_(False)
    x = torch.randn(1, 4, 8)
    with record_paths() as paths:
        traced: Tensor = torch.jit.trace(lambda x: block(x, dtype=torch.float32), x, check_trace=False)(x)
    assert not any(name.endswith(("kept", "made", "in_place")) for name in paths)
    assert_close(traced, block(x, dtype=torch.float32), rtol=1e-5, atol=1e-6)
