"""Networks of others as predictors: configs, read-outs and distances, ONNX graphs, TorchScript and pt2."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gantrol.control.predictors.external import External, ExternalAttribute, ExternalConfig, ExternalInput
from gantrol.control.predictors.folder import load_predictors
from gantrol.errors import CheckpointError, ConfigError, MissingExtraError

SIZE = 16


class Small(nn.Module):
    """Seven numbers of an image, and an embedding of four."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 7)
        self.embed = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return self.head(y), self.embed(y)


@pytest.fixture(scope="module")
def network() -> Small:
    torch.manual_seed(0)
    small = Small().eval().requires_grad_(False)
    small.norm.running_mean.uniform_(-0.2, 0.2)
    small.norm.running_var.uniform_(0.5, 1.5)
    return small


@pytest.fixture(scope="module")
def files(network: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the network as net.pt and net.pt2, the latter for any number of images and for exactly one."""
    folder = tmp_path_factory.mktemp("networks")
    x = torch.zeros(2, 3, SIZE, SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; people have such files
        torch.jit.trace(network, x).save(str(folder / "net.pt"))
        many = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("N", min=1, max=64)},))
        torch.export.save(many, folder / "net.pt2")
        torch.export.save(torch.export.export(network, (x[:1],)), folder / "one.pt2")
    return folder


def entry(**changes: Any) -> dict[str, Any]:
    plain = {
        "kind": "pt2",
        "weights": "net.pt2",
        "trusted": True,
        "input": {"size": SIZE, "range": [-1, 1]},
        "attributes": {
            "age": {"unit": "years", "readout": "expectation", "slice": [0, 5], "scale": 10, "spread": 4},
            "tail": {"unit": "cm", "slice": [5, 6], "low": [0], "high": [60]},
            "who": {"readout": "embedding", "output": 1, "distance": "cosine"},
        },
    }
    return plain | changes


def opened(folder: Path, **changes: Any) -> External:
    return External(ExternalConfig.from_entry(entry(**changes)), folder)


def pictures(count: int = 3, size: int = SIZE, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


# ---------------------------------------------------------------------------------------------------------------------
# Reading and comparing


@pytest.mark.parametrize(
    ("kind", "weights"), [("pt2", "net.pt2"), ("pt2", "one.pt2"), ("torchscript", "net.pt")], ids=str
)
def test_features_readings_and_distances(network: Small, files: Path, kind: str, weights: str) -> None:
    predictor = opened(files, kind=kind, weights=weights)
    images = pictures().requires_grad_()
    found = predictor(images)
    numbers, embedding = network(images)
    torch.testing.assert_close(found["age"], numbers[:, :5])
    torch.testing.assert_close(found["tail"], numbers[:, 5:6])
    torch.testing.assert_close(found["who"], embedding)
    expected = (numbers[:, :5].softmax(1) * torch.arange(5)).sum(1, keepdim=True) * 10
    torch.testing.assert_close(predictor.read("age", found["age"]), expected)
    torch.testing.assert_close(
        predictor.distance("age", found["age"][:1], found["age"][1:2]), (expected[0] - expected[1]).abs() / 4
    )
    cosine = torch.cosine_similarity(embedding[0], embedding[1], dim=0)
    assert predictor.distance("who", embedding[:1], embedding[1:2]).item() == pytest.approx(1 - cosine.item(), abs=1e-5)
    pairs = predictor.pairwise("age", found["age"])
    assert pairs.shape == (3, 3)
    (gradient,) = torch.autograd.grad(pairs.sum() + predictor.read("tail", found["tail"]).sum(), images)
    assert (gradient.flatten(1).abs().sum(1) > 0).all()
    assert predictor.attributes["age"].high == (40,)
    assert predictor.attributes["who"].components == ()
    with pytest.raises(ConfigError, match="no readings"):
        predictor.read("who", found["who"])
    with pytest.raises(ConfigError, match="did you mean age"):
        predictor.read("ages", found["age"])


def test_a_folder_that_lists_it(files: Path, tmp_path: Path) -> None:
    manifest = {"format": "gantrol-predictors", "format_version": 1}
    networks = [entry(weights=str(files / "net.pt2"))]
    (tmp_path / "predictors.json").write_text(json.dumps(manifest | {"networks": networks}))
    predictors = load_predictors(tmp_path)
    assert list(predictors.attributes) == ["age", "tail", "who"]
    assert predictors.features(pictures(), ["who"])["who"].shape == (3, 4)
    networks[0]["trusted"] = False
    (tmp_path / "predictors.json").write_text(json.dumps(manifest | {"networks": networks}))
    with pytest.raises(CheckpointError, match=r"net.pt2 is a torch.export program.*\"trusted\": true if you trust"):
        load_predictors(tmp_path)


def test_each_reading_by_hand() -> None:
    x = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    read = lambda **fields: ExternalAttribute(**fields).read(x).tolist()  # noqa: E731
    assert read(readout="value", scale=2.0, offset=1.0)[1] == [1, 1]
    assert read(readout="softmax")[0] == pytest.approx([0.25, 0.75])
    assert read(readout="expectation", scale=3.0, offset=-99.0)[0] == pytest.approx([0.75 * 3 - 99])
    assert read(readout="sigmoid")[0] == pytest.approx([0.5, 0.75])
    assert read(readout="expectation", probabilities=True)[0] == pytest.approx([math.log(3)])


def test_each_distance_by_hand() -> None:
    a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 2.0]])
    apart = lambda **fields: ExternalAttribute(**fields).apart(a, b).item()  # noqa: E731
    assert apart(distance="l1", spread=2.0) == pytest.approx(0.5)
    assert apart(distance="l1", scale=10.0) == pytest.approx(10)
    assert apart(distance="l1", scale=10.0, compare="features") == pytest.approx(1)
    assert apart(distance="squared-l2", spread=2.0) == pytest.approx(1)
    assert apart(distance="cosine") == pytest.approx(1 - 7 / math.sqrt(65))
    assert apart(readout="softmax") == pytest.approx((math.e - 1) / (math.e + 1))


def test_limits_follow_from_bins_and_probabilities() -> None:
    pose = ExternalAttribute(readout="expectation", scale=-3.0, offset=99.0).described(66)
    assert (pose.components, pose.low, pose.high) == (("value",), (-96,), (99,))
    moods = ExternalAttribute(readout="softmax", components=("calm", "wild")).described(2)
    assert (moods.low, moods.high) == ((0, 0), (1, 1))


# ---------------------------------------------------------------------------------------------------------------------
# Preparing images


def test_range_mean_std_order_and_layout() -> None:
    images = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    fields = {"size": 8, "range": (0.0, 255.0), "order": "bgr", "mean": (5.0, 0.0, 0.0), "std": (2.0,)}
    made = ExternalInput(**fields).prepare(images)  # type: ignore[arg-type]
    assert made[0, :, 0, 0].tolist() == [125, 63.75, 0]
    last = ExternalInput(layout="nhwc", **fields).prepare(images)  # type: ignore[arg-type]
    assert torch.equal(last, made.permute(0, 2, 3, 1))
    assert ExternalInput(size=8, grey=True).prepare(images)[0, 0, 0, 0].item() == pytest.approx(0.587 / 2 + 0.114)
    assert torch.equal(ExternalInput(size=8).prepare(images[:, 1:2]), torch.full((1, 3, 8, 8), 0.5))


def test_crop_and_resize() -> None:
    images = pictures(size=64)
    middle = ExternalInput(size=60, crop=480, range=(-1, 1)).prepare(images)
    torch.testing.assert_close(middle, images[..., 2:62, 2:62])
    for corners in (False, True):
        made = ExternalInput(size=24, resize="bicubic", align_corners=corners, range=(-1, 1)).prepare(images)
        expected = nn.functional.interpolate(images, (24, 24), mode="bicubic", align_corners=corners)
        torch.testing.assert_close(made, expected)
    smooth = ExternalInput(size=8, antialias=True).prepare(images)
    assert smooth.std() < 0.5 * ExternalInput(size=8).prepare(images).std()


# ---------------------------------------------------------------------------------------------------------------------
# Wrong configs and files


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wieghts": "x"}, "no field 'wieghts'; did you mean weights"),
        ({"kind": "keras"}, "kind='keras': expected one of onnx, torchscript, pt2"),
        ({"attributes": {}}, "attributes is empty"),
        ({"attributes": {"age": {"readuot": "value"}}}, "attributes.age: there is no field 'readuot'; did you mean"),
        ({"attributes": {"age": {"slice": [3, 3]}}}, r"attributes.age: slice=\(3, 3\): expected"),
        ({"attributes": {"age": {"spread": 0}}}, "attributes.age: spread=0.0: expected a number above 0"),
        ({"attributes": {"age": {"probabilities": True}}}, "probabilities=True: expected false with readout='value'"),
        ({"attributes": {"who": {"readout": "embedding", "low": [0]}}}, "an embedding has no reading"),
        ({"input": {"size": 0}}, "size=0: expected a number of pixels"),
        ({"input": {"size": 8, "mean": [1, 2]}}, "mean=.*expected 1 or 3 numbers"),
        ({"input": {"size": 8, "std": [0]}}, "std=.*none of them zero"),
    ],
)
def test_wrong_configs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ExternalConfig.from_entry(entry(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attributes": {"a": {"slice": [5, 9]}}}, r"attributes.a: slice=\[5, 9\]: output 0 of .* has 7 numbers"),
        ({"attributes": {"a": {"slice": [0, 2]}}}, "attributes.a: components=.*expected 2 names"),
        ({"attributes": {"a": {"slice": [0, 1]}}}, "attributes.a: low=.*expected 1 numbers"),
        ({"attributes": {"a": {"slice": [0, 1], "low": [2], "high": [1]}}}, "high=.*expected more than low"),
        ({"output": 2}, "output=2: there is none in .*net.pt2; known: 0, 1"),
        ({"input": {"size": 24}}, "images of 3 × 24 × 24 .nchw. would be given to .*which expects 3 × 16 × 16"),
        ({"input": {"size": SIZE, "grey": True}}, "images of 1 × 16 × 16"),
        ({"kind": "torchscript"}, "cannot load .*net.pt2: it is damaged, or not a TorchScript program"),
        ({"weights": "none.pt2"}, "there is no file .*none.pt2"),
        ({"kind": "torchscript", "weights": "net.pt", "trusted": False}, "bring the network as ONNX, which is data"),
    ],
)
def test_files_that_do_not_fit(files: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, CheckpointError), match=message) as caught:
        opened(files, **changes)
    assert "\n" not in str(caught.value)


def test_a_network_without_gradient(tmp_path: Path) -> None:
    class Hard(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)).argmax(1, keepdim=True).float()

    torch.export.save(torch.export.export(Hard(), (torch.zeros(2, 3, SIZE, SIZE),)), tmp_path / "net.pt2")
    with pytest.raises(ConfigError, match="gives no gradient to the image"):
        opened(tmp_path, attributes={"a": {"low": [0], "high": [2]}})


# ---------------------------------------------------------------------------------------------------------------------
# ONNX; without the package `onnx`, only that it is asked for


def test_the_extra_is_named(tmp_path: Path) -> None:
    try:
        import onnx  # noqa: F401
    except ImportError:
        (tmp_path / "net.onnx").write_bytes(b"anything")
        with pytest.raises(MissingExtraError, match=r"pip install 'gantrol\[predictors\]'"):
            opened(tmp_path, kind="onnx", weights="net.onnx")
    else:
        pytest.skip("onnx is installed")


Builder = Callable[..., Path]
Nodes = list[tuple[Any, ...]]


@pytest.fixture
def graph(tmp_path: Path) -> Builder:
    """Writes an ONNX file of nodes (operator, inputs, outputs, attributes), input `x` and output `y`."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper

    def build(
        nodes: Nodes,
        shape: list[int | str],
        constants: dict[str, Any] | None = None,
        *,
        opset: int = 18,
        outputs: tuple[str, ...] = ("y",),
        name: str = "net.onnx",
    ) -> Path:
        made = [
            helper.make_node(node[0], node[1].split(","), node[2].split(","), **(node[3:] or [{}])[0]) for node in nodes
        ]
        held = [numpy_helper.from_array(np.asarray(value), key) for key, value in (constants or {}).items()]
        ins = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)]
        outs = [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None) for output in outputs]
        model = helper.make_model(
            helper.make_graph(made, "net", ins, outs, held), opset_imports=[helper.make_opsetid("", opset)]
        )
        onnx.save(model, str(tmp_path / name))
        return tmp_path / name

    return build


RANDOM = np.random.default_rng(0)


def noise(*shape: int) -> Any:
    return RANDOM.standard_normal(shape).astype(np.float32)


INT = np.int64
SHAPE: Nodes = [
    ("Shape", "x", "s"),
    ("Gather", "s,zero", "n", {"axis": 0}),
    ("Unsqueeze", "n,axis0", "n1"),
    ("Concat", "n1,rest", "wanted", {"axis": 0}),
    ("Reshape", "x,wanted", "y"),
]
CASES: dict[str, tuple[Nodes, list[int], dict[str, Any], int]] = {
    "conv, asymmetric pads": (
        [("Conv", "x,w,b", "y", {"pads": [0, 1, 2, 1], "strides": [2, 1]})],
        [2, 3, 9, 8],
        {"w": noise(4, 3, 3, 3), "b": noise(4)},
        18,
    ),
    "conv, same upper": (
        [("Conv", "x,w", "y", {"auto_pad": "SAME_UPPER", "strides": [2, 2]})],
        [2, 3, 9, 8],
        {"w": noise(4, 3, 3, 3)},
        18,
    ),
    "conv, same lower, grouped": (
        [("Conv", "x,w", "y", {"auto_pad": "SAME_LOWER", "group": 2})],
        [2, 4, 7, 8],
        {"w": noise(6, 2, 2, 2)},
        11,
    ),
    "transposed conv": (
        [("ConvTranspose", "x,w,b", "y", {"strides": [2, 2], "pads": [1, 0, 1, 1], "output_padding": [1, 0]})],
        [2, 3, 5, 4],
        {"w": noise(3, 2, 3, 3), "b": noise(2)},
        18,
    ),
    "transposed conv, wanted shape": (
        [("ConvTranspose", "x,w", "y", {"strides": [3, 2], "output_shape": [10, 8]})],
        [1, 1, 3, 3],
        {"w": noise(1, 2, 3, 3)},
        11,
    ),
    "max pool, ceil": (
        [("MaxPool", "x", "y", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1})],
        [2, 3, 8, 6],
        {},
        18,
    ),
    "average pool, ceil": (
        [("AveragePool", "x", "y", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]})],
        [2, 3, 8, 6],
        {},
        19,
    ),
    "average pool, padding counts": (
        [("AveragePool", "x", "y", {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1], "count_include_pad": 1})],
        [2, 3, 8, 6],
        {},
        18,
    ),
    "softmax of new": ([("Softmax", "x", "y", {"axis": 1})], [2, 3, 4], {}, 13),
    "batch norm": (
        [("BatchNormalization", "x,s,b,m,v", "y")],
        [2, 3, 4, 4],
        {"s": noise(3), "b": noise(3), "m": noise(3), "v": noise(3) ** 2},
        15,
    ),
    "instance norm": ([("InstanceNormalization", "x,s,b", "y")], [2, 3, 4, 4], {"s": noise(3), "b": noise(3)}, 18),
    "group norm": (
        [("GroupNormalization", "x,s,b", "y", {"num_groups": 2})],
        [2, 4, 3, 3],
        {"s": noise(4), "b": noise(4)},
        21,
    ),
    "layer norm": ([("LayerNormalization", "x,s,b", "y", {"axis": -1})], [2, 3, 8], {"s": noise(8), "b": noise(8)}, 18),
    "slice backwards": (
        [("Slice", "x,a,b,c,d", "y")],
        [2, 5, 6],
        {"a": np.array([-1, 1]), "b": np.array([-100, 5]), "c": np.array([1, 2]), "d": np.array([-2, 2])},
        13,
    ),
    "slice of old": ([("Slice", "x", "y", {"starts": [1], "ends": [100], "axes": [1]})], [2, 5], {}, 9),
    "clip of old": ([("Clip", "x", "y", {"min": -0.5, "max": 0.5})], [3, 4], {}, 9),
    "squeeze of old": ([("Squeeze", "x", "y", {"axes": [1]})], [3, 1, 4], {}, 11),
    "split and concat": (
        [("Split", "x", "a,b,c", {"axis": 1, "num_outputs": 3}), ("Concat", "c,a", "y", {"axis": 1})],
        [2, 7],
        {},
        18,
    ),
    "reshape by shape": (SHAPE, [2, 3, 4], {"zero": np.array(0), "axis0": np.array([0]), "rest": np.array([-1])}, 18),
    "reduce, axes as input": ([("ReduceL2", "x,a", "y", {"keepdims": 0})], [2, 3, 4], {"a": np.array([1, -1])}, 18),
    "reduce, axes as attribute": ([("ReduceMean", "x", "y", {"axes": [1]})], [2, 3, 4], {}, 13),
    "pad, reflected": (
        [("Pad", "x,p", "y", {"mode": "reflect"})],
        [1, 2, 4, 5],
        {"p": np.array([0, 0, 2, 1, 0, 0, 1, 3])},
        18,
    ),
    "resize, linear": ([("Resize", "x,,,n", "y", {"mode": "linear"})], [1, 2, 5, 4], {"n": np.array([1, 2, 9, 7])}, 18),
    "resize, cubic": (
        [("Resize", "x,,k", "y", {"mode": "cubic", "coordinate_transformation_mode": "align_corners"})],
        [1, 2, 5, 4],
        {"k": np.array([1, 1, 2, 2], np.float32)},
        18,
    ),
    "resize, nearest": (
        [("Resize", "x,,k", "y", {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"})],
        [1, 2, 3, 4],
        {"k": np.array([1, 1, 2, 3], np.float32)},
        13,
    ),
    "attention": ([("Attention", "x,k,v", "y")], [1, 2, 3, 4], {"k": noise(1, 2, 5, 4), "v": noise(1, 2, 5, 6)}, 23),
    "gemm": (
        [("Gemm", "x,w,b", "y", {"transB": 1, "alpha": 0.5, "beta": 2.0})],
        [2, 4],
        {"w": noise(3, 4), "b": noise(3)},
        13,
    ),
    "weights in 8 bits": (
        [("DequantizeLinear", "w,s,z", "f", {"axis": 0}), ("MatMul", "x,f", "y")],
        [2, 4],
        {"w": np.arange(12, dtype=np.uint8).reshape(4, 3), "s": np.abs(noise(4)), "z": np.full(4, 3, np.uint8)},
        19,
    ),
    "prelu": ([("PRelu", "x,s", "y")], [2, 3, 4, 4], {"s": noise(3, 1, 1)}, 16),
    "where": (
        [("Greater", "x,t", "c"), ("Not", "c", "d"), ("Where", "d,x,t", "y")],
        [3, 4],
        {"t": np.float32(0.2)},
        16,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_operators_equal_the_reference(graph: Builder, case: str) -> None:
    """Against onnx's own evaluator, in numpy; and the gradient against finite differences."""
    from onnx.reference import ReferenceEvaluator

    from gantrol.control.predictors.onnx_graph import OnnxGraph

    nodes, shape, constants, opset = CASES[case]
    path = graph(nodes, shape, constants, opset=opset)
    x = noise(*shape)
    (expected,) = ReferenceEvaluator(str(path)).run(None, {"x": x})
    network = OnnxGraph(path)
    (found,) = network(torch.from_numpy(x))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)
    mapped = torch.func.vmap(network)(torch.from_numpy(np.stack([x, 2 * x])))[0]  # as networks of a fixed batch are run
    torch.testing.assert_close(mapped[0], found, rtol=1e-4, atol=1e-5)
    point = torch.from_numpy(x).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: network.double()(z), point, fast_mode=True, atol=1e-4)


def test_operators_where_the_reference_errs(graph: Builder) -> None:
    """By the formulas of the specification, which onnxruntime follows (the last one it does not have)."""
    from gantrol.control.predictors.onnx_graph import OnnxGraph

    x = torch.from_numpy(noise(2, 6, 5, 4))
    path = graph([("MaxPool", "x", "y", {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]})], [2, 6, 5, 4])
    padded = nn.functional.pad(x, (0, 1, 0, 1), value=-math.inf)
    torch.testing.assert_close(OnnxGraph(path)(x)[0], nn.functional.max_pool2d(padded, 2, 1))
    path = graph([("Softmax", "x", "y", {"axis": 1})], [2, 6, 5, 4], opset=11)
    torch.testing.assert_close(OnnxGraph(path)(x)[0], x.flatten(1).softmax(1).view_as(x))
    path = graph([("LRN", "x", "y", {"size": 4, "alpha": 0.5})], [2, 6, 5, 4], opset=13)
    sums = torch.stack([x[:, max(c - 1, 0) : c + 3].square().sum(1) for c in range(6)], dim=1)
    torch.testing.assert_close(OnnxGraph(path)(x)[0], x / (1 + 0.5 / 4 * sums) ** 0.75)


def conv_network(batch: int | str, rows: Any) -> tuple[Nodes, list[int | str], dict[str, Any]]:
    """A convolution, its mean over the image, reshaped to rows of 8, and a head of 6 numbers that sum to 1."""
    nodes: Nodes = [
        ("Conv", "x,w,b", "a", {"strides": [2, 2]}),
        ("Relu", "a", "r"),
        ("GlobalAveragePool", "r", "g"),
        ("Reshape", "g,rows", "f"),
        ("Gemm", "f,v", "logits"),
        ("Softmax", "logits", "y"),
        ("NonMaxSuppression", "f,f", "boxes"),  # not supported, and not asked for
    ]
    rows = np.array(rows)
    return nodes, [batch, 3, SIZE, SIZE], {"w": noise(8, 3, 3, 3), "b": noise(8), "v": noise(8, 6), "rows": rows}


@pytest.mark.parametrize(("batch", "rows"), [("N", [-1, 8]), (1, [1, 8]), (2, [2, 8])])
def test_an_onnx_network_as_predictor(graph: Builder, batch: int | str, rows: list[int]) -> None:
    """Also one that was exported for one image, or for two, at a time."""
    path = graph(*conv_network(batch, rows), outputs=("y", "f", "boxes"))
    attributes = {
        "age": {"unit": "years", "readout": "expectation", "probabilities": True, "scale": 10, "spread": 5},
        "who": {"readout": "embedding", "output": "f", "distance": "squared-l2"},
    }
    predictor = opened(path.parent, kind="onnx", weights=path.name, trusted=False, attributes=attributes)
    images = pictures(3, size=32).requires_grad_()
    found = predictor(images)
    assert found["age"].shape == (3, 6)
    assert found["who"].shape == (3, 8)
    years = predictor.read("age", found["age"])
    torch.testing.assert_close(years[:, 0], found["age"] @ torch.arange(6.0) * 10)
    alone = torch.cat([predictor.read("age", predictor(image[None])["age"]) for image in images])
    torch.testing.assert_close(alone, years)
    (gradient,) = torch.autograd.grad(years.sum() + predictor.pairwise("who", found["who"]).sum(), images)
    assert (gradient.flatten(1).abs().sum(1) > 0).all()
    assert not list(predictor.parameters())
    assert not predictor.state_dict()


def test_what_onnx_files_cannot_be(graph: Builder) -> None:
    from gantrol.control.predictors.onnx_graph import OnnxGraph

    nodes, shape, constants = conv_network("N", [-1, 8])
    path = graph([*nodes, ("Loop", "x,x", "z")], shape, constants, outputs=("y", "boxes", "z"))
    with pytest.raises(ConfigError, match="operators that are not supported: Loop, NonMaxSuppression; "):
        OnnxGraph(path)
    lines = graph([*nodes, ("Lo\nop", "x,x", "z")], shape, constants, outputs=("y", "z"), name="lines.onnx")
    with pytest.raises(ConfigError, match=r"not supported: 'Lo\\nop'; export"):
        OnnxGraph(lines)
    with pytest.raises(ConfigError, match=r"output='why': there is none in .*; did you mean y"):
        OnnxGraph(path, ["why"])
    with pytest.raises(ConfigError, match=r"output=3: .* has outputs 0 to 2"):
        OnnxGraph(path, [3])
    with pytest.raises(ConfigError, match="Conv cannot be computed from inputs of shape"):
        OnnxGraph(path, ["y"])(torch.zeros(1, 2, 8, 8))
    with pytest.raises(ConfigError, match="operator set 6: expected 7 or later"):
        OnnxGraph(graph(nodes, shape, constants, opset=6))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="it is damaged, or no ONNX network"):
        OnnxGraph(path)
    with pytest.raises(CheckpointError, match="there is no file"):
        OnnxGraph(path.with_name("none.onnx"))
