"""The Inception network of the FID, without its weights: architecture, borders, resizing, and how its file is found."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gantrol import checkpoint
from gantrol.errors import CheckpointError
from gantrol.metrics.features import check_features, distance_name, load_features
from gantrol.metrics.networks import inception, weight_files
from gantrol.metrics.networks.inception import Inception, InceptionE, InceptionV3, average, halve
from gantrol.metrics.networks.tf1_resize import resize_tf1
from tests.metrics.formula_weights import formula_images, formula_weights


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return formula_weights(InceptionV3())


@pytest.fixture(scope="module")
def file(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "weights.safetensors"
    checkpoint.save(path, state, {})
    return path


@pytest.fixture(scope="module")
def network(file: Path) -> Inception:
    return Inception(file)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("GANTROL_INCEPTION", raising=False)
    return tmp_path / "gantrol" / "weights"


# ----------------------------------------------------------------------------------------------------------------------
# Resizing


def by_hand(image: Tensor, side: int) -> Tensor:
    """The definition, pixel by pixel in float64: [H, W] → [S, S]."""
    height, width = image.shape
    result = torch.zeros(side, side, dtype=torch.float64)
    for i in range(side):
        for j in range(side):
            y, x = i * height / side, j * width / side
            top, left = math.floor(y), math.floor(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            a, b = y - top, x - left
            upper = (1 - b) * image[top, left] + b * image[top, right]
            lower = (1 - b) * image[bottom, left] + b * image[bottom, right]
            result[i, j] = (1 - a) * upper + a * lower
    return result


def test_two_pixels_by_hand() -> None:
    row = torch.tensor([[0.0, 90.0]]).expand(2, 2)[None, None]
    assert resize_tf1(row, 3)[0, 0, 0].tolist() == pytest.approx([0, 60, 90])  # at 0, ⅔ and beyond the last pixel
    assert resize_tf1(row, 4)[0, 0, 0].tolist() == [0, 45, 90, 90]
    assert resize_tf1(row.mT, 4)[0, 0, :, 0].tolist() == [0, 45, 90, 90]
    large = torch.arange(8.0).expand(1, 1, 8, 8)
    assert resize_tf1(large, 4)[0, 0, 0].tolist() == [0, 2, 4, 6]  # sampled, not averaged


@pytest.mark.parametrize(("height", "width"), [(7, 7), (5, 12), (40, 31), (23, 23), (1, 3)])
def test_resizing_is_the_definition(height: int, width: int) -> None:
    image = torch.rand(height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(height)) * 255
    found = resize_tf1(image.float()[None, None], 23)[0, 0]
    torch.testing.assert_close(found.double(), by_hand(image, 23), atol=2e-3, rtol=0)


def test_images_of_the_right_size_stay_as_they_are() -> None:
    images = formula_images(1, 29)
    assert torch.equal(resize_tf1(images, 29), images.float())


def test_bytes_are_brought_to_the_range(network: Inception) -> None:
    given: list[Tensor] = []
    images = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    with network.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0])):
        network(images)
    assert given[0].shape == (3, 3, 299, 299)
    assert [float(x.unique()) for x in given[0]] == [-1, 0, 127 / 128]


# ----------------------------------------------------------------------------------------------------------------------
# Architecture


def test_parameters_and_names(state: dict[str, Tensor]) -> None:
    network = InceptionV3()
    assert sum(parameter.numel() for parameter in network.parameters()) == 23_850_960
    assert sum(parameter.numel() for parameter in network.fc.parameters()) == 2048 * 1008 + 1008
    names = sorted(state)
    assert len(names) == 94 * 6 + 2  # 94 convolutions with five tensors of statistics each, and the classes
    digest = hashlib.sha256("\n".join(f"{name} {list(state[name].shape)}" for name in names).encode()).hexdigest()
    assert digest[:16] == "8cdd2faeb41211e1"
    for name in ("Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch1x1.bn.running_var", "Mixed_7c.branch3x3dbl_3b.bn.bias"):
        assert name in names


def test_average_pools_leave_the_padding_out() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])[None, None]
    assert average(x)[0, 0].tolist() == [[3, 3.5, 4], [4.5, 5, 5.5], [6, 6.5, 7]]
    assert halve(torch.arange(25.0).view(1, 1, 5, 5))[0, 0].tolist() == [[12, 14], [22, 24]]


def test_the_last_block_pools_by_maximum() -> None:
    """With ones in the pooling branch only, a block shows what that branch pooled."""
    x = torch.tensor([[0.0, 8.0], [4.0, 0.0]]).expand(1, 16, 2, 2) / 16
    for is_last, expected in ((False, [[3, 3], [3, 3]]), (True, [[8, 8], [8, 8]])):
        block = InceptionE(16, is_last=is_last).eval()
        for parameter in block.parameters():
            nn.init.zeros_(parameter)
        nn.init.ones_(block.branch_pool.conv.weight)
        norm = block.branch_pool.bn
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.ones_(norm.weight)
        out = block(x)
        assert out.shape == (1, 2048, 2, 2)
        pooled = out[0, -1] * math.sqrt(1 + 1e-3)
        torch.testing.assert_close(pooled, torch.tensor(expected, dtype=torch.float32))
        assert not out[0, :-192].any()


def test_shapes_inside(network: Inception) -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in network.network.named_children():
        module.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
    network(formula_images(1, 16))
    assert shapes["Conv2d_1a_3x3"] == (32, 149, 149)
    assert shapes["Conv2d_4a_3x3"] == (192, 71, 71)
    assert shapes["Mixed_5b"] == (256, 35, 35)
    assert shapes["Mixed_5d"] == (288, 35, 35)
    assert shapes["Mixed_6a"] == shapes["Mixed_6e"] == (768, 17, 17)
    assert shapes["Mixed_7a"] == (1280, 8, 8)
    assert shapes["Mixed_7c"] == (2048, 8, 8)


def test_agrees_with_an_independent_implementation(network: Inception) -> None:
    """Numbers of torch-fidelity 0.4.0 (`inception-v3-compat`) with the same weights and images."""
    seen = network.observe(formula_images(2, 40))
    assert seen.features.shape == (2, 2048)
    assert seen.probabilities is not None
    expected = [3.7524423599243164, 3.4728236198425293, 2.522742509841919, 1.835042953491211, 2.493739366531372]
    assert seen.features[0, :5].tolist() == pytest.approx(expected, abs=2e-4)
    assert seen.features[1, 1000:1003].tolist() == pytest.approx([0.49652, 0.0, 5.11358], abs=2e-4)
    assert seen.features.mean(1).tolist() == pytest.approx([1.01882, 1.06939], abs=1e-4)
    assert float(seen.probabilities[0].max()) == pytest.approx(0.0293, abs=1e-4)
    logits = seen.probabilities.log()  # up to a constant
    differences = (logits[0, :3] - logits[0, 3]).tolist()
    assert differences == pytest.approx([-3.526382, -2.450029, -4.921309], abs=1e-3)


def test_what_it_says_of_itself(network: Inception, file: Path) -> None:
    images = formula_images(3, 20)
    seen = network.observe(images)
    assert seen.probabilities is not None
    assert seen.probabilities.shape == (3, network.num_classes)
    torch.testing.assert_close(seen.probabilities.sum(1), torch.ones(3))
    torch.testing.assert_close(network(images[2:]), seen.features[2:], rtol=1e-3, atol=1e-4)
    grey = images[:1, :1]
    torch.testing.assert_close(network(grey), network(grey.expand(-1, 3, -1, -1)))
    assert distance_name(network) == "FID"
    assert hashlib.sha256(file.read_bytes()).hexdigest()[:16] in network.version


# ----------------------------------------------------------------------------------------------------------------------
# The file


def test_files_of_torch_save_are_read(
    state: dict[str, Tensor], network: Inception, nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.pth"
    kept = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(kept, path, _use_new_zipfile_serialization=False)  # as the published file is
    monkeypatch.setenv("GANTROL_INCEPTION", str(path))
    check_features("inception")
    found: Any = load_features("inception")
    assert torch.equal(found.network.fc.weight, network.network.fc.weight)
    assert torch.equal(found.network.Mixed_6b.branch1x1.conv.weight, network.network.Mixed_6b.branch1x1.conv.weight)


def test_a_file_in_the_cache_is_found(file: Path, nowhere: Path) -> None:
    nowhere.mkdir(parents=True)
    (nowhere / "pt_inception-2015-12-05-6726825d.safetensors").symlink_to(file)
    assert inception.WEIGHTS.obtain().suffix == ".safetensors"


def test_wrong_files_are_named(tmp_path: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANTROL_INCEPTION", str(tmp_path / "absent.pth"))
    with pytest.raises(
        CheckpointError, match=r"GANTROL_INCEPTION=.*absent.pth: there is no such file; expected pt_inc"
    ):
        check_features("inception")
    program = tmp_path / "inception-2015-12-05.pt"
    with zipfile.ZipFile(program, "w") as archive:
        archive.writestr("inception/code/__torch__.py", "raise SystemExit")
    with pytest.raises(CheckpointError, match=r"TorchScript program, which is not run: .*6726825d.pth"):
        Inception(program)
    other = tmp_path / "other.safetensors"
    checkpoint.save(other, {"fc.weight": torch.zeros(3)}, {})
    with pytest.raises(CheckpointError, match=r"does not fit InceptionV3: .* missing"):
        Inception(other)


def answers(monkeypatch: pytest.MonkeyPatch, content: bytes, url: str = "https://example.org/file") -> list[str]:
    """Has the network answer every request with `content`; the addresses that were asked."""
    asked: list[str] = []

    class Answer(io.BytesIO):
        headers = {"Content-Length": str(len(content))}  # noqa: RUF012

        def geturl(self) -> str:
            return url

    def urlopen(address: str, timeout: float) -> Answer:
        asked.append(address)
        return Answer(content)

    monkeypatch.setattr(weight_files.urllib.request, "urlopen", urlopen)
    return asked


def published(content: bytes, **changes: Any) -> weight_files.PublishedFile:
    digest = hashlib.sha256(content).hexdigest()[:8]
    facts: dict[str, Any] = {"file": "w.pth", "source": "us", "licence": "free", "variable": "GANTROL_INCEPTION"}
    facts |= {"url": "https://example.org/w.pth", "sha256": digest, "max_bytes": 1 << 22, "instead": "another"}
    return weight_files.PublishedFile(**(facts | changes))


def test_a_download_happens_once(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * 9000
    asked, told = answers(monkeypatch, content), []
    weights = published(content)
    path = weights.obtain(lambda done, total: told.append((done, total)))
    assert path == nowhere / "w.pth"
    assert path.read_bytes() == content
    assert told[-1] == (len(content), len(content))
    assert weights.obtain() == path
    assert asked == ["https://example.org/w.pth"]


@pytest.mark.parametrize(
    ("changes", "url", "message"),
    [
        ({"sha256": "00000000"}, "https://a", "cut short or another file: its SHA-256 begins with .*, expected 0000"),
        ({"max_bytes": 3}, "https://a", "larger than 3 bytes, so it is not w.pth"),
        ({}, "http://a", "without https, which is refused"),
    ],
)
def test_refused_downloads_leave_nothing(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], url: str, message: str
) -> None:
    answers(monkeypatch, b"content", url)
    with pytest.raises(CheckpointError, match=message):
        published(b"content", **changes).obtain()
    assert not nowhere.exists() or not list(nowhere.iterdir())


def test_without_a_network_one_line_says_what_to_do(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(address: str, timeout: float) -> None:
        raise weight_files.urllib.error.URLError("no route")

    monkeypatch.setattr(weight_files.urllib.request, "urlopen", urlopen)
    check_features("inception")  # it may be fetched
    with pytest.raises(CheckpointError) as caught:
        load_features("inception")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("pt_inception-2015-12-05-6726825d.pth", "no route", "https://github.com", "GANTROL_INCEPTION"):
        assert part in message
    assert "efficientnet-lite0" in message
