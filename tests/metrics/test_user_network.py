"""A user's own feature network: what its description may say, and that it is run as described."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gantrol.errors import CheckpointError, ConfigError
from gantrol.metrics.features import check_features, distance_name, load_features
from tests.metrics.formula_weights import formula_images, formula_weights

SIDE = 16


class Net(nn.Module):
    """Maps of five channels, and the logits of four classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, 2, 1)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = torch.relu(self.conv(x))
        return maps, self.head(maps.mean((2, 3)))


@pytest.fixture(scope="module")
def net() -> Net:
    network = Net().eval().requires_grad_(False)
    network.load_state_dict(formula_weights(network))
    return network


@pytest.fixture(scope="module")
def files(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.pt and net.pt2 for any number of images, and one.pt2 for exactly one."""
    folder = tmp_path_factory.mktemp("networks")
    x = torch.zeros(2, 3, SIDE, SIDE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; people have such files
        torch.jit.trace(net, x).save(str(folder / "net.pt"))
        many = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("N", min=1, max=64)},))
        torch.export.save(many, folder / "net.pt2")
        torch.export.save(torch.export.export(net, (x[:1],)), folder / "one.pt2")
    return folder


def described(folder: Path, name: str = "features.json", **changes: Any) -> Path:
    content = {
        "format": "gantrol-features",
        "title": "Small",
        "kind": "pt2",
        "weights": "net.pt2",
        "trusted": True,
        "input": {"size": SIDE, "range": [-1, 1]},
        "pool": "mean",
        "probabilities": 1,
    } | changes
    path = folder / name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(("kind", "file"), [("pt2", "net.pt2"), ("pt2", "one.pt2"), ("torchscript", "net.pt")])
def test_the_network_is_run_as_described(net: Net, files: Path, kind: str, file: str) -> None:
    path = described(files, kind=kind, weights=file)
    check_features(path)
    network = load_features(str(path))
    images = formula_images(3, SIDE)
    seen = network.observe(images)
    maps, logits = net(images / 127.5 - 1)
    torch.testing.assert_close(seen.features, maps.mean((2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(seen.probabilities, logits.softmax(1), rtol=1e-5, atol=1e-6)
    assert torch.equal(network(images), seen.features)
    assert (network.num_features, network.num_classes) == (5, 4)
    assert distance_name(network) == "FD-Small"
    assert network.resampling == "bilinear, to 16 px"


def test_images_of_any_size_are_resized_as_described(net: Net, files: Path) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    prepared = {"size": SIDE, "resize": "bicubic", "antialias": True, "mean": mean, "std": std}
    network = load_features(described(files, input=prepared))
    images = formula_images(2, 40)
    x = nn.functional.interpolate(images / 255, size=(SIDE, SIDE), mode="bicubic", antialias=True)
    x = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(network(images), net(x)[0].mean((2, 3)), rtol=1e-4, atol=1e-5)
    assert network.resampling == "bicubic, antialiased, to 16 px"


def test_maps_can_be_taken_whole_and_classes_left_out(net: Net, files: Path) -> None:
    network = load_features(described(files, pool="none", probabilities=None))
    seen = network.observe(formula_images(2, SIDE))
    assert seen.features.shape == (2, 5 * 8 * 8)
    assert seen.probabilities is None
    assert network.num_classes == 0


def test_a_description_may_be_toml_or_lie_beside_the_network(net: Net, files: Path) -> None:
    (files / "net.toml").write_text(
        'format = "gantrol-features"\ntitle = "Small"\nkind = "pt2"\nweights = "net.pt2"\ntrusted = true\n'
        f'pool = "mean"\n[input]\nsize = {SIDE}\n',
        encoding="utf-8",
    )
    expected = load_features(files / "net.toml")
    found = load_features(files / "net.pt2")
    assert found.version == expected.version
    images = formula_images(2, SIDE)
    assert torch.equal(found(images), expected(images))


def test_the_version_follows_what_changes_numbers(files: Path) -> None:
    version = load_features(described(files)).version
    assert load_features(described(files, title="Renamed")).version == version
    assert load_features(described(files, pool="none")).version != version
    assert load_features(described(files, input={"size": SIDE})).version != version
    assert load_features(described(files, kind="torchscript", weights="net.pt")).version != version


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "keras"}, "kind='keras': expected one of onnx, torchscript, pt2"),
        ({"titel": "x"}, r"there is no field 'titel'; did you mean title"),
        ({"title": "fid"}, "title='fid': expected a name of at most 64 characters, and not FID"),
        ({"input": {"size": 0}}, "size=0: expected a number of pixels"),
        ({"format": "other"}, "is no description of a feature network"),
    ],
)
def test_wrong_descriptions_are_named_before_anything_is_loaded(
    files: Path, changes: dict[str, Any], message: str
) -> None:
    path = described(files, **changes)
    for ask in (check_features, load_features):
        with pytest.raises(ConfigError, match=message) as caught:
            ask(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trusted": False}, 'set "trusted": true if you trust them'),
        ({"features": 7}, "output=7: there is none"),
        ({"features": 1}, r"pool=mean takes an output \[N, D, H, W\], found \[2, 4\]"),
        ({"input": {"size": SIDE, "grey": True}}, "set size, grey and layout"),
    ],
)
def test_descriptions_that_do_not_fit_the_network(files: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_features(described(files, **changes))


def test_missing_files_are_named(files: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no file .*absent.json"):
        check_features(tmp_path / "absent.json")
    with pytest.raises(CheckpointError, match=r"there is no file .*absent.onnx"):
        check_features(described(tmp_path, kind="onnx", weights="absent.onnx"))
    (tmp_path / "alone.onnx").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"how are images prepared for it\? Write alone.json beside it"):
        check_features(tmp_path / "alone.onnx")
    broken = tmp_path / "broken.json"
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken.json: cannot be read as JSON"):
        check_features(broken)


def test_onnx_networks_need_no_trust(net: Net, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    weight, bias = net.conv.weight.numpy(), net.conv.bias
    assert bias is not None
    helper, constants = onnx.helper, onnx.numpy_helper
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "weight", "bias"], ["conv"], strides=[2, 2], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["conv"], ["maps"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("maps", onnx.TensorProto.FLOAT, None)],
        [constants.from_array(weight, "weight"), constants.from_array(bias.numpy(), "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "net.onnx")
    path = described(tmp_path, kind="onnx", weights="net.onnx", features="maps", probabilities=None, trusted=False)
    images = formula_images(2, SIDE)
    expected = net(images / 127.5 - 1)[0].mean((2, 3))
    torch.testing.assert_close(load_features(path)(images), expected, rtol=1e-5, atol=1e-6)
