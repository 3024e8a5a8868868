"""StyleGAN3 against the reference vectors: schedule, outputs, truncation, transform, moving averages, gradients."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from gantrol.convert.nvidia_names import load_official, official_prefixes, official_state
from gantrol.models import StyleGAN3Config, layer_schedule, make_transform
from tests.models.golden_models import fill_by_formula, formula, golden_stylegan3, stylegan3_config
from tests.reference import GOLDEN

FIXTURES = ["sg3_t_tiny", "sg3_r_tiny", "sg3_t_tiny_cond"]


def _schedules() -> list[dict]:
    return json.loads((GOLDEN / "sg3_schedule.json").read_text())["configurations"]


def _label(expected: dict) -> str:
    options = expected["options"]
    return f"{expected['config']}-{options['img_resolution']}-{options['channel_base']}"


@pytest.mark.parametrize("expected", _schedules(), ids=_label)
def test_schedule_and_parameter_counts(expected: dict) -> None:
    config = stylegan3_config(expected["options"])
    schedule = layer_schedule(config)
    assert len(schedule) + 1 == expected["num_ws"]
    first = schedule[0]
    assert expected["input"] == {
        "channels": first.in_channels,
        "size": first.in_size_px,
        "sampling_rate": first.in_sampling_rate,
        "bandwidth": first.in_cutoff,
    }
    renamed = {
        "use_fp16": "is_low_precision",
        "in_size": "in_size_px",
        "out_size": "out_size_px",
        "up_factor": "up",
        "down_factor": "down",
        "down_radial": "is_down_radial",
    }
    for spec, row in zip(schedule, expected["layers"], strict=True):
        assert row["name"] == f"L{spec.index}_{spec.out_size_px}_{spec.out_channels}"
        assert row["has_up_filter"] == (spec.up_taps > 1)
        assert row["has_down_filter"] == (spec.down_taps > 1)
        for key, value in row.items():
            if key in ("name", "has_up_filter", "has_down_filter", "down_filter_shape"):
                continue
            got = getattr(spec, renamed.get(key, key))
            if key == "down_radial" and not row["has_down_filter"]:
                continue
            if isinstance(value, float):
                assert got == pytest.approx(value, rel=1e-12), (row["name"], key)
            else:
                assert (list(got) if isinstance(got, tuple) else got) == value, (row["name"], key)

    with torch.device("meta"):
        model = config.build()
    assert sum(p.numel() for p in model.parameters()) == expected["total"]["params"]
    assert sum(p.numel() for p in model.mapping.parameters()) == expected["mapping"]["params"]


@pytest.mark.parametrize("name", FIXTURES)
def test_outputs(name: str) -> None:
    golden, g = golden_stylegan3(name)
    seen: dict[str, Tensor] = {}
    prefixes = official_prefixes(g.config)
    for path, module in g.named_modules():
        key = "layer." + prefixes.get(path, "").removeprefix("synthesis.")
        if key in golden.tensors:
            module.register_forward_hook(lambda m, args, out, key=key: seen.update({key: out[:1, :8]}))
    truncation = golden.info["truncation"]
    with torch.no_grad():
        ws = g.mapping(golden["z"], golden.get("c"))
        golden.check(ws, "ws")
        golden.check(g.synthesis(ws), "image")
        assert len(seen) == 4
        for key, value in seen.items():
            golden.check(value, key)
        truncated = g.mapping(golden["z"], golden.get("c"), truncation["psi"], truncation["cutoff"])
        golden.check(truncated, "ws_truncated")
        golden.check(g.synthesis(truncated), "image_truncated")

        wanted = make_transform(golden.info["transform"]["translation"], golden.info["transform"]["rotation_degrees"])
        g.synthesis.input.set_transform(wanted)
        torch.testing.assert_close(g.synthesis.input.transform, golden["transform"], rtol=0, atol=1e-6)
        golden.check(g.synthesis(ws), "image_transformed")
        g.synthesis.input.set_transform(None)
        golden.check(g.synthesis(ws), "image")


@pytest.mark.parametrize("name", FIXTURES)
def test_gradients(name: str) -> None:
    golden, g = golden_stylegan3(name)
    ws = golden["ws"].clone().requires_grad_()
    loss = g.synthesis(ws).square().mean()
    golden.check(loss, "loss")
    loss.backward()
    golden.check_gradient(ws.grad, "grad.ws")
    ours = {official: path for path, official in official_prefixes(g.config).items()}
    for key in golden.tensors:
        if key.startswith("grad.synthesis"):
            official, _, leaf = key.removeprefix("grad.").rpartition(".")
            parameter = g.get_parameter(f"{ours[official]}.{leaf}")
            golden.check_gradient(parameter.grad, key)


@pytest.mark.parametrize("name", FIXTURES)
def test_moving_averages_are_updated_before_use(name: str) -> None:
    golden, g = golden_stylegan3(name)
    with torch.no_grad():
        golden.check(g(golden["z"], golden.get("c"), update_emas=True), "image_update_emas")
    state = official_state(g)
    updated = [key for key in golden.tensors if key.startswith("after_emas.")]
    assert len(updated) == 16
    for key in updated:
        torch.testing.assert_close(state[key.removeprefix("after_emas.")], golden[key], rtol=1e-5, atol=1e-6)


def test_formula_filled_t() -> None:
    """Section 10 of the specification: numbers that need no file."""
    config = StyleGAN3Config(resolution_px=32, z_dim=8, w_dim=8, channel_base=512, channel_max=8)
    g = config.build()
    assert sum(p.numel() for p in g.parameters()) == 9527
    load_official(g, fill_by_formula(g, official_state(g)))
    angle = torch.tensor(0.3)
    cos, sin = angle.cos(), angle.sin()
    g.synthesis.input.transform.copy_(torch.tensor([[cos, sin, 0.1], [-sin, cos, -0.05], [0, 0, 1]]))
    outputs: list[Tensor] = []
    g.synthesis.input.register_forward_hook(lambda m, args, out: outputs.append(out))
    g.synthesis.layers[0].register_forward_hook(lambda m, args, out: outputs.append(out))
    with torch.no_grad():
        ws = g.mapping(formula("z", [2, 8]), truncation_psi=0.7, truncation_cutoff=5)
        img = g.synthesis(ws)
    z0, l0 = outputs
    expected = [
        (ws[0, 0, :4], [0.381247, -0.044750, 0.022274, -0.028483]),
        (ws[0, 5, :4], [0.517249, -0.034612, -0.030617, -0.046419]),
        (z0[0, 0, 0, :3], [0.594422, 0.295475, -0.020549]),
        (z0[1, 5, 20, 7], -0.536998),
        (z0.mean(), -0.000247),
        (z0.std(correction=0), 0.777910),
        (l0.mean(), 0.117697),
        (l0.std(correction=0), 0.226743),
        (l0.abs().max(), 1.150972),
        (img.mean(), -0.008699),
        (img.std(correction=0), 0.020011),
        (img[0, 0, 0, :3], [0.0053119, 0.0051095, 0.0050562]),
        (img[1, 1, 16, 9], -0.0368546),
        (img[1, 2, 31, 31], 0.0043524),
    ]
    for got, value in expected:
        torch.testing.assert_close(got, torch.tensor(value), rtol=1e-4, atol=2e-6)


def test_formula_filled_r() -> None:
    config = StyleGAN3Config(
        resolution_px=32,
        z_dim=8,
        w_dim=8,
        channel_base=1024,
        channel_max=16,
        conv_kernel=1,
        use_radial_filters=True,
    )
    g = config.build()
    assert sum(p.numel() for p in g.parameters()) == 6455
    load_official(g, fill_by_formula(g, official_state(g)))
    angle = torch.tensor(0.3)
    cos, sin = angle.cos(), angle.sin()
    g.synthesis.input.transform.copy_(torch.tensor([[cos, sin, 0.1], [-sin, cos, -0.05], [0, 0, 1]]))
    with torch.no_grad():
        img = g(formula("z", [2, 8]), truncation_psi=0.7, truncation_cutoff=5)
    expected = [
        (img.mean(), -0.027986),
        (img.std(correction=0), 0.159890),
        (img[0, 0, 0, :3], [0.166751, 0.168000, 0.169369]),
        (img[1, 1, 16, 9], -0.0364536),
        (img[1, 2, 31, 31], -0.1704241),
    ]
    for got, value in expected:
        torch.testing.assert_close(got, torch.tensor(value), rtol=1e-4, atol=2e-6)
