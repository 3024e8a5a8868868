"""Every operator against the reference vectors: outputs, first and second gradients, in float64 and float32."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gantrol import ops
from tests import reference


def _gradients(
    function: Callable[..., torch.Tensor], inputs: dict[str, torch.Tensor], dy: torch.Tensor
) -> dict[str, torch.Tensor]:
    """y and the gradients that the fixtures hold, under their names."""
    inputs = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    values, names = list(inputs.values()), list(inputs)
    y = function(**inputs)
    result = {"y": y}
    dy = dy.to(y.dtype).requires_grad_()
    grads = torch.autograd.grad((y * dy).sum(), values, create_graph=True, allow_unused=True)
    for name, value, grad in zip(names, values, grads, strict=True):
        result[f"grad_{name}"] = torch.zeros_like(value) if grad is None else grad
    if grads[0] is not None and grads[0].requires_grad:
        (result["gg_dy"],) = torch.autograd.grad(grads[0].square().sum(), [dy], retain_graph=True)
    (q,) = torch.autograd.grad(y.square().sum() / 2, values[:1], create_graph=True)
    second = torch.autograd.grad(q.square().sum(), values, allow_unused=True)
    for name, value, grad in zip(names, values, second, strict=True):
        result[f"ggq_{name}"] = torch.zeros_like(value) if grad is None else grad
    return result


def _compare(
    got: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor], case: str, info: dict, dtype: torch.dtype
) -> None:
    tolerance = info["recommended_tolerance"]["float64" if dtype == torch.float64 else "float32"]
    floor = info["recommended_tolerance"]["relative_to_max_floor_gradients"] if dtype == torch.float32 else 0.0
    compared = 0
    for name, value in got.items():
        expected = tensors.get(f"{case}.{name}")
        if expected is None:
            continue
        compared += 1
        reference.assert_close(
            value,
            expected,
            rtol=tolerance["rtol"],
            atol=tolerance.get("atol", 0.0),
            atol_of_max=max(tolerance.get("atol_relative_to_max", 0.0), floor),
            what=f"{case}.{name}",
        )
    listed = {name for name in tensors if name.startswith(f"{case}.") and name != f"{case}.dy"}
    assert compared == len(listed), f"{case}: compared {compared} of {sorted(listed)}"


UPFIRDN, UPFIRDN_TENSORS = reference.load("ops_upfirdn2d")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("impl", ["auto", "reference"])
@pytest.mark.parametrize("case", UPFIRDN["cases"], ids=lambda case: case["case"])
def test_upfirdn2d(case: dict, impl: str, dtype: torch.dtype) -> None:
    f = UPFIRDN_TENSORS[case["filter"]] if case["filter"] else None
    options = {name: case[name] for name in ("up", "down", "padding", "flip_filter", "gain")}
    got = _gradients(
        lambda x: ops.upfirdn2d(x, f, **options, impl=impl),
        {"x": UPFIRDN_TENSORS["x"].to(dtype)},
        UPFIRDN_TENSORS[f"{case['case']}.dy"],
    )
    _compare(got, UPFIRDN_TENSORS, case["case"], UPFIRDN, dtype)


@pytest.mark.parametrize("case", UPFIRDN["helper_cases"], ids=lambda case: case["case"])
def test_resampling_helpers(case: dict) -> None:
    options = {k: v for k, v in case.items() if k not in ("case", "helper", "function", "filter", "op")}
    function = getattr(ops, case.get("helper") or case.get("function") or case["op"])
    f = UPFIRDN_TENSORS[case["filter"]] if case["filter"] else None
    y = function(UPFIRDN_TENSORS["x"].double(), f, **options)
    reference.assert_close(y, UPFIRDN_TENSORS[f"{case['case']}.y"], rtol=1e-6, atol_of_max=5e-7, what=case["case"])


FLRELU, FLRELU_TENSORS = reference.load("ops_filtered_lrelu")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("impl", ["auto", "reference"])
@pytest.mark.parametrize("case", FLRELU["cases"], ids=lambda case: case["case"])
def test_filtered_lrelu(case: dict, impl: str, dtype: torch.dtype) -> None:
    fu = FLRELU_TENSORS[case["up_filter"]] if case["up_filter"] else None
    fd = FLRELU_TENSORS[case["down_filter"]] if case["down_filter"] else None
    options = {name: case[name] for name in ("up", "down", "padding", "gain", "slope", "clamp", "flip_filter")}
    inputs = {"x": FLRELU_TENSORS["x"].to(dtype)} | ({"b": FLRELU_TENSORS["b"].to(dtype)} if case["bias"] else {})
    got = _gradients(
        lambda x, b=None: ops.filtered_lrelu(x, fu, fd, b, **options, impl=impl),
        inputs,
        FLRELU_TENSORS[f"{case['case']}.dy"],
    )
    _compare(got, FLRELU_TENSORS, case["case"], FLRELU, dtype)


BIAS, BIAS_TENSORS = reference.load("ops_bias_act")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", BIAS["cases"], ids=lambda case: case["case"])
def test_bias_act(case: dict, dtype: torch.dtype) -> None:
    options = {name: case[name] for name in ("dim", "act", "alpha", "gain", "clamp")}
    x = BIAS_TENSORS.get(f"{case['case']}.x", BIAS_TENSORS["x"]).to(dtype)
    inputs = {"x": x} | (
        {"b": BIAS_TENSORS.get(f"{case['case']}.b", BIAS_TENSORS["b"]).to(dtype)} if case["bias"] else {}
    )
    got = _gradients(
        lambda x, b=None: ops.bias_act(x, b, **options),
        inputs,
        BIAS_TENSORS.get(f"{case['case']}.dy", BIAS_TENSORS["dy"]),
    )
    _compare(got, BIAS_TENSORS, case["case"], BIAS, dtype)


CONV, CONV_TENSORS = reference.load("ops_conv2d_resample")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", CONV["cases"], ids=lambda case: case["case"])
def test_conv2d_resample(case: dict, dtype: torch.dtype) -> None:
    f = CONV_TENSORS[case["filter"]] if case["filter"] else None
    options = {name: case[name] for name in ("up", "down", "padding", "groups", "flip_weight", "flip_filter")}
    got = _gradients(
        lambda x, w: ops.conv2d_resample(x, w, f, **options),
        {"x": CONV_TENSORS["x"].to(dtype), "w": CONV_TENSORS[case["weight"]].to(dtype)},
        CONV_TENSORS[f"{case['case']}.dy"],
    )
    _compare(got, CONV_TENSORS, case["case"], CONV, dtype)


MOD, MOD_TENSORS = reference.load("ops_modulated_conv2d")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", MOD["cases"], ids=lambda case: case["case"])
def test_modulated_conv2d(case: dict, dtype: torch.dtype) -> None:
    t = {name: value.to(dtype) for name, value in MOD_TENSORS.items()}
    if case["version"] == "sg3":
        gain = t[case["input_gain"]] if case["input_gain"] else None

        def function(x: torch.Tensor, w: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
            return ops.modulated_conv2d(
                x, w, s, demodulate=case["demodulate"], padding=case["padding"], input_gain=gain
            )
    else:
        options = {name: case[name] for name in ("up", "down", "padding", "demodulate", "flip_weight")}
        noise = t[f"{case['case']}.noise"] if case.get("noise") else None

        def function(x: torch.Tensor, w: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
            return ops.modulated_conv2d_resample(x, w, s, noise=noise, f=MOD_TENSORS["f"], **options)

    got = _gradients(function, {"x": t["x"], "w": t[case["weight"]], "s": t["s"]}, t[f"{case['case']}.dy"])
    known = {name: value for name, value in MOD_TENSORS.items() if not name.endswith(".noise")}
    _compare(got, known, case["case"], MOD, dtype)


SETUP, SETUP_TENSORS = reference.load("ops_setup_filter")


@pytest.mark.parametrize("case", SETUP["cases"], ids=lambda case: case["case"])
def test_setup_filter(case: dict) -> None:
    got = ops.setup_filter(case["filter"], **case["options"])
    reference.assert_close(got, SETUP_TENSORS[case["case"]], rtol=1e-6, atol=1e-7)


DESIGN, DESIGN_TENSORS = reference.load("sg3_filters")


@pytest.mark.parametrize("index", range(len(DESIGN["settings"])))
def test_design_lowpass_filter(index: int) -> None:
    setting = DESIGN["settings"][index]
    width, fs = (next(value for name, value in setting.items() if name.startswith(key)) for key in ("width", "fs"))
    got = ops.design_lowpass_filter(setting["numtaps"], setting["cutoff"], width, fs, radial=bool(setting["radial"]))
    assert got is not None
    reference.assert_close(got, DESIGN_TENSORS[f"filter.{index:02d}"], rtol=1e-6, atol=1e-7)
