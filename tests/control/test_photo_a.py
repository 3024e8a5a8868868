"""The paper's predictors for photographs: ArcFace, ESR-9, R-Net and DogFaceNet against the reference vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gantrol.control.predictors import Predictor, PredictorSet, preprocess
from gantrol.control.predictors.arcface import ArcFace
from gantrol.control.predictors.dogfacenet import DogFaceNet
from gantrol.control.predictors.esr9 import BASE_FILE, CLASSES, ESR9
from gantrol.control.predictors.folder import FORMAT, PREDICTORS, load_predictors, write_manifest
from gantrol.control.predictors.rnet import HEADS, RNet
from gantrol.control.predictors.weights import load_strictly
from gantrol.errors import CheckpointError, ConfigError
from tests.control.photo_fixtures import PhotoFixture

P = TypeVar("P", bound=Predictor)


def counted(predictor: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's state."""
    return {name: tuple(value.shape) for name, value in predictor.state_dict().items()}


def listed(fixture: PhotoFixture, file: int = 0) -> dict[str, tuple[int, ...]]:
    """Names and shapes in an official file."""
    return {name: tuple(shape) for name, shape, _ in fixture.info["official_weights"][file]["keys"]}


def test_arcface_is_the_reference() -> None:
    fixture, predictor = PhotoFixture("arcface"), ArcFace()
    assert counted(predictor) == listed(fixture)
    load_strictly(predictor, fixture.state(), "model_ir_se50.pth")
    layers = {f"layer{i}": predictor.body[last] for i, last in enumerate((2, 6, 20, 23), start=1)}
    features = fixture.check_network(
        predictor, lambda images: predictor(images)["identity"], prepare=predictor.prepare, layers=layers
    )
    fixture.assert_close(features.norm(dim=1), "feature_norm")
    fixture.assert_close(predictor.pairwise("identity", features), "distance")


def test_dogfacenet_is_the_reference() -> None:
    fixture, predictor = PhotoFixture("dogfacenet"), DogFaceNet()
    assert counted(predictor) == listed(fixture)
    load_strictly(predictor, fixture.state(), "pytorch_converted_model.pt")
    layers = {f"res_block{i}": predictor.get_submodule(f"res_block{i}") for i in range(1, 6)}
    layers["conv0"] = predictor.conv0
    features = fixture.check_network(
        predictor, lambda images: predictor(images)["identity"], prepare=predictor.prepare, layers=layers
    )
    fixture.assert_close(features.norm(dim=1), "feature_norm")
    fixture.assert_close(predictor.pairwise("identity", features), "distance")


def test_esr9_is_the_reference() -> None:
    fixture, predictor = PhotoFixture("esr9"), ESR9()
    assert counted(predictor.base) == listed(fixture, 0)
    assert all(counted(branch) == listed(fixture, 1) for branch in predictor.convolutional_branches)
    load_strictly(predictor, fixture.state(), "esr_9")
    logits = fixture.check_network(
        predictor,
        lambda images: predictor(images)["expression"],
        prepare=predictor.prepare,
        layers={"shared": predictor.base},
    )
    fixture.assert_close(predictor.pairwise("expression", logits), "distance")
    assert torch.equal(predictor.votes(logits), fixture.tensors["votes"].long())
    assert torch.equal(predictor.classes(logits), fixture.tensors["expression_class"].long())


def test_rnet_is_the_reference() -> None:
    fixture, predictor = PhotoFixture("rnet"), RNet()
    assert counted(predictor) == listed(fixture)
    load_strictly(predictor, fixture.state(), "pytorch_converted_model.pt")
    layers = {f"block{i}": predictor.get_submodule(f"block{i}") for i in range(1, 5)}
    layers["conv1"] = predictor.conv1
    fixture.check_network(predictor, predictor.coefficients, prepare=predictor.prepare, layers=layers)
    with torch.no_grad():
        features = predictor(fixture.images)
    fixture.assert_close(features["light"], "gamma")
    fixture.assert_close(predictor.pairwise("light", features["light"]), "gamma.distance")
    fixture.assert_close(predictor.pairwise("expression3d", features["expression3d"]), "expression.distance")
    fixture.assert_close(predictor.pairwise("pose3d", features["pose3d"]), "angles.distance")


def without_weights(predictor: Callable[[], P]) -> P:
    """A predictor whose weights take neither time nor memory."""
    with torch.device("meta"):
        return predictor()


def test_readings_are_in_units() -> None:
    angles = torch.tensor([[0.5, -0.25, 0.1]])
    got = without_weights(RNet).read("pose3d", angles)
    assert torch.allclose(got, torch.tensor([[-28.6479, -14.3239, 5.7296]]), atol=1e-4)
    assert RNet.attributes["pose3d"].components == ("pitch", "yaw", "roll")
    assert RNet.attributes["light"].components[:10] == (*(f"r{band}" for band in range(9)), "g0")
    assert sum(HEADS.values()) == 257


def test_votes_decide_the_class_and_the_first_of_equals_wins() -> None:
    logits = torch.zeros(2, 9, 8)
    for branch, choice in enumerate((6, 6, 6, 6, 1, 1, 1, 1, 3)):
        logits[0, branch, choice] = 2.0
    logits[1, :, 7] = 1.0
    assert ESR9.votes(logits).tolist() == [[0, 4, 0, 1, 0, 0, 4, 0], [0, 0, 0, 0, 0, 0, 0, 9]]
    assert [CLASSES[i] for i in ESR9.classes(logits)] == ["happy", "contempt"]


def test_shares_of_votes_have_the_gradient_of_the_soft_votes() -> None:
    predictor = without_weights(ESR9)
    logits = torch.randn(3, 9, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    shares = predictor.read("expression", logits)
    assert torch.allclose(shares, predictor.votes(logits) / 9)
    (hard,) = torch.autograd.grad(shares[:, 1].sum(), logits)
    (soft,) = torch.autograd.grad(predictor.soft_votes(logits)[:, 1].sum(), logits)
    assert torch.equal(hard, soft)
    assert hard.abs().sum() > 0


@pytest.mark.parametrize(
    ("predictor", "name", "shape"),
    [
        (ArcFace, "identity", (512,)),
        (DogFaceNet, "identity", (32,)),
        (ESR9, "expression", (9, 8)),
        (RNet, "light", (27,)),
    ],
)
def test_pairwise_distances_are_those_of_pairs_and_have_gradients(
    predictor: type[Predictor], name: str, shape: tuple[int, ...]
) -> None:
    network = without_weights(predictor)
    features = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
    matrix = network.pairwise(name, features)
    for i in range(4):
        for j in range(4):
            difference = features[i] - features[j]
            expected = difference.square().sum() if name == "identity" else difference.abs().mean()
            assert matrix[i, j].item() == pytest.approx(expected.item(), abs=1e-5)
    (gradient,) = torch.autograd.grad(matrix.sum(), features)
    assert gradient.isfinite().all()
    assert (gradient != 0).any(dim=1).all()


def test_the_crop_covers_the_same_share_at_every_size() -> None:
    ramp = torch.arange(512.0).expand(1, 3, 512, 512)
    crop = preprocess.centre_crop(ramp, 480)
    assert crop.shape == (1, 3, 480, 480)
    assert crop[0, 0, 0, 0] == 16
    assert crop[0, 0, 0, -1] == 495
    for size, side in ((1024, 960), (256, 240), (64, 60), (32, 30), (1, 1)):
        assert preprocess.centre_crop(torch.zeros(1, 3, size, size), 480).shape[-1] == side
    assert preprocess.centre_crop(torch.zeros(1, 3, 512, 256), 480).shape[2:] == (480, 240)
    for side in (0, 600):
        with pytest.raises(ConfigError, match=rf"crop={side}: expected .* 1 to 512"):
            preprocess.centre_crop(ramp, side)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_resizing_keeps_the_corners_and_never_antialiases(mode: str) -> None:
    images = torch.rand(1, 3, 13, 13, generator=torch.Generator().manual_seed(0))
    assert preprocess.resize(images, 13, mode=mode) is images
    # A step of exactly 2 pixels picks every other pixel: nothing is averaged.
    assert torch.allclose(preprocess.resize(images, 7, mode=mode), images[..., ::2, ::2], atol=1e-6)


def test_normalisation_of_ranges_and_channels() -> None:
    images = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    assert preprocess.to_unit(images).flatten().tolist() == [0.0, 0.5, 1.0]
    assert preprocess.to_bgr(images).flatten().tolist() == [1.0, 0.0, -1.0]
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    one_above = mean + torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    assert torch.allclose(
        preprocess.imagenet(torch.cat([mean, one_above]))[:, :, 0, 0], torch.eye(2)[:, 1:].expand(2, 3)
    )


def test_images_of_the_networks_size_are_taken_as_aligned_and_others_can_be() -> None:
    face, small = torch.rand(1, 3, 224, 224), torch.rand(1, 3, 112, 112)
    light, identity = without_weights(RNet), without_weights(ArcFace)
    assert torch.equal(light.prepare(face), preprocess.to_bgr(preprocess.to_unit(face)) * 255)
    assert torch.equal(identity.prepare(small), small)
    light.crop = None
    corners = light.prepare(torch.cat([small, -small]))[..., ::223, ::223]
    expected = preprocess.to_bgr(preprocess.to_unit(torch.cat([small, -small]))) * 255
    assert torch.allclose(corners, expected[..., ::111, ::111], atol=1e-3)


def saved(state: dict[str, Tensor], path: Path) -> Path:
    """A weight file as training scripts write it."""
    torch.save(state, path)
    return path


def test_files_of_old_and_of_parallel_training_are_read(tmp_path: Path) -> None:
    source = DogFaceNet()
    state = {name: value for name, value in source.state_dict().items() if not name.endswith("num_batches_tracked")}
    path = saved({f"module.{name}": value for name, value in state.items()}, tmp_path / "dog.pt")
    plain = tmp_path / "dog.safetensors"
    save_file(state, plain)
    images = torch.rand(2, 3, 40, 40) * 2 - 1
    expected = source(images)["identity"]
    for file in (path, plain):
        assert torch.equal(DogFaceNet.from_file(file)(images)["identity"], expected)


def test_the_ten_files_of_esr9_are_read_and_a_missing_one_is_named(tmp_path: Path) -> None:
    source = ESR9()
    saved(source.base.state_dict(), tmp_path / BASE_FILE)
    for i, branch in enumerate(source.convolutional_branches, start=1):
        saved(branch.state_dict(), tmp_path / f"Net-Branch_{i}.pt")
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    assert torch.equal(ESR9.from_file(tmp_path)(images)["expression"], source(images)["expression"])
    (tmp_path / "Net-Branch_7.pt").unlink()
    with pytest.raises(
        CheckpointError, match=r"Net-Branch_7\.pt: expected Net-Branch_7\.pt of .*MIT.*photo-predictors"
    ):
        ESR9.from_file(tmp_path)


def test_a_file_that_is_missing_says_which_its_licence_and_where_it_is_described(tmp_path: Path) -> None:
    for predictor, file in ((ArcFace, "model_ir_se50.pth"), (RNet, "face3dmm_recon"), (DogFaceNet, "dogfacenet")):
        with pytest.raises(
            CheckpointError, match=f"no weights at .*nowhere.*{file}.*licence.*photo-predictors"
        ) as error:
            predictor.from_file(tmp_path / "nowhere.pth")
        assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match=r"no weights at .*esr_9"):
        ESR9.from_file(tmp_path / "nowhere")


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    state = DogFaceNet().state_dict()
    wrong = {
        "fc.weight missing": {name: value for name, value in state.items() if name != "fc.weight"},
        "fc.bias not of this network": {**state, "fc.bias": torch.zeros(32)},
        r"fc.weight has shape \[16, 512\], expected \[32, 512\]": {**state, "fc.weight": torch.zeros(16, 512)},
    }
    for message, tensors in wrong.items():
        with pytest.raises(CheckpointError, match=rf"wrong\.pt does not fit DogFaceNet: {message}"):
            DogFaceNet.from_file(saved(tensors, tmp_path / "wrong.pt"))


def test_a_predictors_folder_names_a_published_network_by_its_path(tmp_path: Path) -> None:
    source = DogFaceNet()
    saved(source.state_dict(), tmp_path / "dog.pt")
    entry = {"kind": "dogfacenet", "weights": str(tmp_path / "dog.pt")}
    folder = tmp_path / "dogs"
    folder.mkdir()
    write_manifest(folder, {"format": FORMAT, "format_version": 1, "networks": [entry]})
    predictors = load_predictors(folder)
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    assert torch.equal(predictors.features(images)["identity"], source(images)["identity"])
    assert {"arcface", "dogfacenet", "esr9", "rnet"} <= set(PREDICTORS)

    entry |= {"kind": "arcface", "weights": "gone.pth", "crop": None}
    write_manifest(folder, {"format": FORMAT, "format_version": 1, "networks": [entry]})
    with pytest.raises(
        CheckpointError, match=r"dogs/gone\.pth: expected model_ir_se50\.pth .* docs/photo-predictors\.md$"
    ):
        load_predictors(folder)


def test_in_a_set_an_identity_has_distances_but_no_reading() -> None:
    predictors = PredictorSet([DogFaceNet()])
    features = predictors.features(torch.rand(2, 3, 64, 64) * 2 - 1)["identity"]
    assert predictors.distance("identity", features[:1], features[1:]).shape == (1,)
    with pytest.raises(ConfigError, match="distances but no readings"):
        predictors.read("identity", features)
