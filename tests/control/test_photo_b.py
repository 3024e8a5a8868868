"""The paper's predictors for photographs: Hopenet, DEX, PSPNet, VGG's styles and ResNet-18 against the vectors."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gantrol.control.predictors import Predictor
from gantrol.control.predictors.dex import DEX, standard_name
from gantrol.control.predictors.folder import PREDICTORS, load_predictors, write_manifest
from gantrol.control.predictors.hopenet import ANGLES, Hopenet
from gantrol.control.predictors.imagenet_class import ImageNetClass
from gantrol.control.predictors.pspnet import HairColour, colour_under
from gantrol.control.predictors.style import TAPS, UNUSED, Style, gram_matrix
from gantrol.control.predictors.vgg import VGG16
from gantrol.control.predictors.weights import WeightFile, load_strictly, load_weights
from gantrol.errors import CheckpointError, ConfigError
from tests.control.photo_fixtures import PhotoFixture

TINY = WeightFile(file="tiny.pt", source="somebody/tiny", licence="MIT")


Kind = TypeVar("Kind", bound=Predictor)
Published = type[Hopenet] | type[DEX] | type[HairColour] | type[Style] | type[ImageNetClass]


def counted(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's state."""
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def listed(fixture: PhotoFixture, *without: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes in the official file, but for names that start with one of `without`."""
    keys = fixture.info["official_weights"][0]["keys"]
    return {name: tuple(shape) for name, shape, _ in keys if not name.startswith(without or ("\0",))}


def given(fixture: PhotoFixture, predictor: Predictor, *unused: str) -> None:
    """Gives a predictor's network the weights of a fixture."""
    assert isinstance(predictor.network, nn.Module)
    load_strictly(predictor.network, fixture.state(), fixture.name, unused=unused)


# ----------------------------------------------------------------------------------------------------------------------
# Each network is the reference


def test_hopenet_is_the_reference() -> None:
    fixture, predictor = PhotoFixture("hopenet"), Hopenet()
    assert counted(predictor.network) == listed(fixture, "fc_finetune.")
    given(fixture, predictor, "fc_finetune.")
    logits = fixture.check_network(
        predictor,
        lambda images: predictor(images)["orientation"],
        prepare=predictor.prepare,
        layers={f"layer{i}": predictor.network.get_submodule(f"layer{i}") for i in range(1, 5)},
    )
    fixture.assert_close(predictor.pairwise("orientation", logits), "distance")
    fixture.assert_close(predictor.read("orientation", logits), "yaw_pitch_roll_degrees")
    for i, name in enumerate(ANGLES):
        alone, together = predictor.read(name, logits[:, i]), predictor.read("orientation", logits)
        assert torch.allclose(alone[:, 0], together[:, i], atol=1e-4)


@pytest.mark.slow
def test_dex_is_the_reference() -> None:
    fixture, predictor = PhotoFixture("dex"), DEX()
    named = {standard_name(name): shape for name, shape in listed(fixture).items()}
    assert counted(predictor.network) == named
    tensors = {standard_name(name): value for name, value in fixture.state().items()}
    load_strictly(predictor.network, tensors, "dex_imdb_wiki.pt")
    pools = [layer for layer in predictor.network.features if isinstance(layer, nn.MaxPool2d)]
    logits = fixture.check_network(
        predictor,
        lambda images: predictor(images)["age"],
        prepare=predictor.prepare,
        layers={f"pool{i}": pool for i, pool in enumerate(pools, start=1)},
    )
    fixture.assert_close(predictor.pairwise("age", logits), "distance")
    fixture.assert_close(predictor.read("age", logits)[:, 0], "age_years")


def test_hair_is_the_reference() -> None:
    fixture, predictor = PhotoFixture("pspnet_hair"), HairColour()
    assert counted(predictor.network) == listed(fixture)
    given(fixture, predictor)
    images = fixture.images.clone().requires_grad_(True)
    network, logits = predictor.network, []
    network.register_forward_hook(lambda _, input, output: logits.append((input[0], output)))
    layers = {name: network.get_submodule(name) for name in ("base_network", "psp", "up_1", "up_2", "up_3")}
    with fixture.watched(layers):
        prepared = predictor.prepare(images)
        mask = predictor.mask(prepared)
    fixture.check_prepared(logits[0][0])
    fixture.assert_close(logits[0][1][:2, :, ::4, ::4], "logits_sample")
    assert (mask[:2, :, ::2, ::2] != fixture.tensors["mask"]).float().mean() <= 0.002
    assert ((mask.sum((1, 2, 3)) - fixture.tensors["mask_area"]).abs() <= 10).all()
    fixture.assert_close((prepared * mask)[:2, :, ::16, ::16], "masked_image_sample")

    features = colour_under(prepared, mask)
    fixture.assert_close(predictor.read("hair_color", features), "hair_rgb")
    fixture.assert_close(predictor.pairwise("hair_color", features), "distance")
    assert torch.allclose(predictor(images[:1].detach())["hair_color"], features[:1], atol=1e-3)
    # The reference's features are the masked image and the mask; their sum, from the mean colour and the area:
    areas = mask.sum((1, 2, 3))
    fixture.check_gradient(predictor, ((2 * features[:, :3] - 1).sum(1) * areas).sum(), images)


def test_style_is_the_reference() -> None:
    fixture, predictor = PhotoFixture("style_vgg"), Style()
    assert counted(predictor.network) == listed(fixture, *UNUSED)
    given(fixture, predictor, *UNUSED)
    images = fixture.images.clone().requires_grad_(True)
    fixture.check_prepared(predictor.prepare(images))
    grams = predictor(images)
    for i, name in enumerate(TAPS, start=1):
        gram = grams[name].detach()
        stride = max(1, gram.shape[1] // 24)
        fixture.assert_close(gram[:, ::stride, ::stride], f"gram{i}.sample")
        fixture.assert_close(gram.double().square().mean((1, 2)).sqrt(), f"gram{i}.rms")
        fixture.assert_close(gram.diagonal(dim1=1, dim2=2).sum(1), f"gram{i}.trace")
        fixture.assert_close(predictor.pairwise(name, gram), f"gram{i}.distance")
        fixture.assert_close(Predictor.pairwise(predictor, name, gram), f"gram{i}.distance")
    fixture.check_gradient(predictor, torch.stack([gram.sum() for gram in grams.values()]).sum(), images)


def test_class_is_the_reference() -> None:
    fixture, predictor = PhotoFixture("class_resnet18"), ImageNetClass()
    assert counted(predictor.network) == listed(fixture)
    given(fixture, predictor)
    images = fixture.images.clone().requires_grad_(True)
    fixture.check_prepared(predictor.prepare(images))
    names = ("maxpool", "layer1", "layer2", "layer3", "layer4")
    with fixture.watched({name: predictor.network.get_submodule(name) for name in names}):
        features = predictor(images)
    for name, key in (("class", "pooled"), ("class_logits", "logits")):
        fixture.assert_close(features[name], key)
        fixture.assert_close(predictor.pairwise(name, features[name]), f"{key}.distance")
    fixture.check_gradient(predictor, features["class"].sum(), images)


# ----------------------------------------------------------------------------------------------------------------------
# What surrounds the networks


def bare(kind: type[Kind], **values: object) -> Kind:
    """A predictor without its network: distances and readings need no weights, and these are large."""
    predictor = kind.__new__(kind)
    nn.Module.__init__(predictor)
    for name, value in values.items():
        setattr(predictor, name, value)
    return predictor


def test_dex_prepares_like_the_reference() -> None:
    fixture = PhotoFixture("dex")
    fixture.check_prepared(bare(DEX, crop=480).prepare(fixture.images))


def bins(bin: float, count: int) -> Tensor:
    """Logits of which the expectation is `bin`: all probability on the two bins next to it."""
    low = int(bin)
    logits = torch.full((count,), -100.0)
    logits[low] = torch.tensor(1 - bin + low).log()
    if bin > low:
        logits[low + 1] = torch.tensor(bin - low).log()
    return logits


def test_distances_in_units_are_degrees_and_years() -> None:
    young, old = bins(20.25, 101)[None], bins(50.0, 101)[None]
    dex = bare(DEX, distance_of="units")
    assert dex.read("age", young).tolist() == [[pytest.approx(20.25, abs=1e-4)]]
    assert dex.distance("age", young, old).item() == pytest.approx(29.75, abs=1e-4)
    assert bare(DEX, distance_of="logits").distance("age", young, old).item() > 2

    hopenet = bare(Hopenet, distance_of="units")
    ahead, aside = (torch.stack([bins((angle + 99) / 3, 66) for angle in angles])[None] for angles in POSES)
    assert torch.allclose(hopenet.read("orientation", aside), torch.tensor([POSES[1]]), atol=1e-4)
    assert hopenet.distance("orientation", ahead, aside).item() == pytest.approx((30 + 6 + 9) / 3, abs=1e-4)
    assert hopenet.distance("pitch", ahead[:, 1], aside[:, 1]).item() == pytest.approx(6, abs=1e-4)
    with pytest.raises(ConfigError, match="distance='degrees': choose 'logits'"):
        Hopenet(distance="degrees")  # type: ignore[arg-type]


POSES = ((0.0, 0.0, 0.0), (30.0, -6.0, 9.0))


def test_hair_is_compared_where_both_images_show_some() -> None:
    """And a pair of which one does not has distance 0 and no gradient, as in the paper."""
    images = torch.full((4, 3, 10, 20), -1.0)
    images[:, 0] = torch.tensor([1.0, 0.0, 1.0, 1.0])[:, None, None]
    mask = torch.zeros(4, 1, 10, 20)
    mask[0, 0, :5] = 1
    mask[1, 0, 0, :3] = 1
    mask[2, 0, 0, :2] = 1  # 1 % of the pixels, and not more
    images.requires_grad_(True)
    features = colour_under(images, mask)
    hair = bare(HairColour)
    assert hair.read("hair_color", features).tolist() == [[1, 0, 0], [0.5, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert torch.allclose(features[:, 3], torch.tensor([0.5, 0.015, 0.01, 0.0]))
    distances = hair.pairwise("hair_color", features)
    expected = torch.zeros(4, 4)
    expected[0, 1] = expected[1, 0] = 0.5 / 3
    assert torch.allclose(distances, expected)
    (gradient,) = torch.autograd.grad(distances.sum(), images)
    assert torch.equal(gradient.ne(0).any(1, keepdim=True)[:2].float(), mask[:2]), "only hair is pushed"
    assert not gradient[2:].any()


def test_style_distances_of_a_batch_are_those_of_its_pairs_and_have_their_gradients() -> None:
    style = bare(Style)
    maps = torch.randn(5, 16, 7, 7, generator=torch.Generator().manual_seed(0))
    maps[1] = maps[0] * 1.0001  # nearly the same: the difference of squares must not lose it
    grams = gram_matrix(maps.relu()).requires_grad_(True)
    weights = torch.rand(5, 5, generator=torch.Generator().manual_seed(1))
    found, expected = style.pairwise("style", grams), Predictor.pairwise(style, "style", grams)
    assert torch.allclose(found, expected, rtol=1e-4, atol=0)
    assert found[0, 1] > 0
    assert not found.diagonal().any()
    got, wanted = (torch.autograd.grad((weights * matrix).sum(), grams)[0] for matrix in (found, expected))
    assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-6 * wanted.abs().max().item())


# ----------------------------------------------------------------------------------------------------------------------
# Weight files


def official(name: str, *, counters: bool) -> dict[str, Tensor]:
    """An official file's content with all values alike, so that it takes no space."""
    keys = PhotoFixture(name).info["official_weights"][0]["keys"]
    return {
        key: torch.full((), 0.25, dtype=getattr(torch, dtype)).expand(shape)
        for key, shape, dtype in keys
        if counters or not key.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize(
    ("kind", "name", "old"),
    [
        (Hopenet, "hopenet", True),
        (HairColour, "pspnet_hair", True),
        (Style, "style_vgg", False),
        (ImageNetClass, "class_resnet18", False),
        pytest.param(DEX, "dex", False, marks=pytest.mark.slow),
    ],
)
def test_files_are_read_as_published(kind: Published, name: str, old: bool, tmp_path: Path) -> None:
    """Old ones, too: without counters, and in the first format of `torch.save`."""
    path = tmp_path / "weights.pkl"
    state = official(name, counters=not old)
    torch.save({"weight": state} if name == "pspnet_hair" else state, path, _use_new_zipfile_serialization=not old)
    predictor = kind.from_file(path)
    assert not predictor.training
    for key, parameter in predictor.named_parameters():
        assert not parameter.requires_grad, key
        assert (parameter == 0.25).all(), key


def test_a_file_with_more_in_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({**official("class_resnet18", counters=True), "fc_more.weight": torch.zeros(1)}, path)
    with pytest.raises(
        CheckpointError, match=r"weights\.pth does not fit ResNet18: fc_more\.weight not of this network"
    ):
        ImageNetClass.from_file(path)


def test_a_file_that_is_missing_says_which_its_licence_and_where_it_is_described(tmp_path: Path) -> None:
    for kind, file in ((Hopenet, "hopenet_robust_alpha1"), (HairColour, "pspnet_resnet101"), (Style, "vgg16-397923af")):
        with pytest.raises(
            CheckpointError, match=f"no weights at .*nowhere.*{file}.*licence.*photo-predictors"
        ) as error:
            kind.from_file(tmp_path / "nowhere.pth")
        assert "\n" not in str(error.value)


def test_a_folder_names_them_with_their_options(tmp_path: Path) -> None:
    for name in ("hopenet", "class_resnet18"):
        torch.save(official(name, counters=False), tmp_path / f"{name}.pkl")
    networks = [
        {"kind": "hopenet", "weights": "hopenet.pkl", "distance": "units"},
        {"kind": "resnet18-class", "weights": str(tmp_path / "class_resnet18.pkl")},
    ]
    write_manifest(tmp_path, {"format": "gantrol-predictors", "format_version": 1, "networks": networks})
    predictors = load_predictors(tmp_path)
    assert list(predictors.attributes) == ["yaw", "pitch", "roll", "orientation", "class", "class_logits"]
    features = predictors.features(torch.rand(2, 3, 40, 40) * 2 - 1, ["yaw", "class"])
    assert predictors.read("yaw", features["yaw"]).shape == (2, 1)
    assert predictors.distance("yaw", bins(40, 66)[None], bins(42, 66)[None]).item() == pytest.approx(6)
    assert predictors.pairwise("class", features["class"]).shape == (2, 2)
    with pytest.raises(ConfigError, match="distances but no readings"):
        predictors.read("class", features["class"])
    assert {"dex", "pspnet-hair", "vgg-style"} < set(PREDICTORS)


def test_names_of_dex_become_those_of_a_vgg() -> None:
    with torch.device("meta"):
        expected = list(VGG16(101).state_dict())
    names = [name for name, _, _ in PhotoFixture("dex").info["official_weights"][0]["keys"]]
    assert [standard_name(name) for name in names] == expected
    assert [standard_name(name.replace("-", "_")) for name in names] == expected
    assert standard_name("fc9.weight") == "fc9.weight", "a name that DEX does not have is left to be refused"


def test_a_weight_file_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tiny.pt"
    layer = nn.Linear(2, 2)
    torch.save(layer, path)  # a whole module: needs code
    with pytest.raises(
        CheckpointError, match=r"cannot read .*tiny\.pt: .*code to be run, .* tiny\.pt of somebody"
    ) as error:
        load_weights(path, TINY)
    assert "\n" not in str(error.value)
    for content in (b"", b"\x80\x02}", pickle.dumps({"weight": [1.0]})):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"tiny\.pt"):
            load_weights(path, TINY)
    torch.save({"epoch": 3, "lr": 0.1}, path)
    with pytest.raises(CheckpointError, match=r"does not hold named tensors; expected tiny\.pt of somebody/tiny"):
        load_weights(path, TINY)


def test_weights_are_unwrapped(tmp_path: Path) -> None:
    path, plain = tmp_path / "tiny.pt", tmp_path / "tiny.safetensors"
    layer = nn.Linear(3, 2)
    state = layer.state_dict()
    parallel = {f"module.{name}": value for name, value in state.items()}
    save_file(state, plain)
    contents = (state, parallel, {"state_dict": parallel, "epoch": 3}, {"weight": state})
    for content in contents:
        torch.save(content, path)
        assert all(torch.equal(value, state[name]) for name, value in load_weights(path, TINY).items())
    assert set(load_weights(plain, TINY)) == {"weight", "bias"}
    with pytest.raises(CheckpointError, match=r"bias missing and other not of this network"):
        load_strictly(layer, {"weight": state["weight"], "other": state["bias"]}, path)
