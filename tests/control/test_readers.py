"""Readers: what they learn of labels, how far apart they find things, and the folders they live in."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gantrol.cli import main
from gantrol.control.predictors import (
    Examples,
    LearningConfig,
    Reader,
    ReaderConfig,
    choose_targets,
    examine,
    load_examples,
    load_predictors,
    read_manifest,
    save_predictors,
    split_examples,
    train_reader,
    write_manifest,
)
from gantrol.control.predictors.errors_table import errors_from_dict, errors_to_dict
from gantrol.control.predictors.folder import BUNDLED, BUNDLED_SECOND, PREDICTORS, bundled_predictors
from gantrol.control.predictors.learning import _Order, augmented, blurred, supervised_contrastive
from gantrol.control.predictors.reader import TRUNKS
from gantrol.control.predictors.targets import PORTRAIT_ATTRIBUTES, Target, encode_labels, shows_hair_color
from gantrol.data import DatasetWriter, ImageDataset
from gantrol.errors import CheckpointError, ConfigError, DataError

SIZE_PX = 16
SCHEMA: dict[str, Any] = {
    "place": {"kind": "scalar", "unit": "px", "mirror": -1, "help": "to the right of the middle"},
    "paint": {"kind": "color", "unit": "sRGB"},
    "shape": {"kind": "choice", "choices": ["bar", "dot", "never"]},
    "pattern": {"kind": "seed"},
    "fixed": {"kind": "scalar"},
}


def toys(count: int, seed: int = 0, per_pattern: int = 4) -> Examples:
    """Bars and dots of some colour, somewhere, on a ground that belongs to the pattern."""
    rng = np.random.default_rng(seed)
    pixels, rows = np.zeros((count, 3, SIZE_PX, SIZE_PX), dtype=np.uint8), []
    for index in range(count):
        pattern = 10_000 * seed + index // per_pattern
        ground = np.random.default_rng(pattern).integers(0, 256, 3)
        place, paint, shape = int(rng.integers(-5, 6)), rng.integers(0, 256, 3), ("bar", "dot")[rng.integers(2)]
        pixels[index] = ground[:, None, None]
        height = slice(2, 14) if shape == "bar" else slice(6, 10)
        pixels[index, :, height, 6 + place : 10 + place] = paint[:, None, None]
        colour = [float(part) / 255 for part in paint]
        rows.append({"place": place, "paint": colour, "shape": shape, "pattern": pattern, "fixed": 1.0})
    return Examples(pixels=torch.from_numpy(pixels), rows=tuple(rows), schema=SCHEMA, source="toys")


def portrait_row(**changes: Any) -> dict[str, Any]:
    """A row with the labels of a portrait that readers look at."""
    row: dict[str, Any] = {
        "identity": 1,
        "age": 30.0,
        "yaw": 0.0,
        "pitch": 0.0,
        "roll": 0.0,
        "hair_color": [0.2, 0.1, 0],
    }
    row |= {"hair_style": "bob", "light_azimuth": 20.0, "light_elevation": 10.0, "style": "photo"}
    row |= dict.fromkeys(("smile", "laugh", "sad", "surprised", "angry"), 0.0)
    return row | changes


@pytest.fixture(scope="module")
def learnt() -> Reader:
    return train_reader(toys(1024), LearningConfig(epochs=12, batch=32, seed=2), widths=(8, 16, 24, 32))


def untrained(examples: Examples, **fields: Any) -> Reader:
    torch.manual_seed(0)
    targets = choose_targets(examples.rows, examples.schema)
    return ReaderConfig(targets=targets, resolution_px=SIZE_PX, hidden=16, **fields).build().eval()


def as_images(examples: Examples) -> Tensor:
    return examples.pixels.float() / 127.5 - 1


# What is learnt


def test_targets_follow_the_schema() -> None:
    targets = {target.name: target for target in choose_targets(toys(64).rows, SCHEMA)}
    assert list(targets) == ["place", "paint", "shape", "pattern"]  # `fixed` does not vary
    assert targets["place"].attribute.components == ("value",)
    assert (targets["place"].low, targets["place"].high) == ((-5,), (5,))
    assert targets["paint"].components == ("r", "g", "b")
    assert targets["shape"].components == ("bar", "dot")  # only what occurs
    assert targets["pattern"].kind == "embedding"
    assert targets["pattern"].attribute.components == ()


def test_targets_without_a_schema_follow_the_values() -> None:
    rows = [{"width": index, "place": [index, 2.0], "kind": "ab"[index % 2], "note": None} for index in range(20)]
    kinds = {target.name: (target.kind, target.components) for target in choose_targets(rows, {})}
    assert kinds == {
        "width": ("numbers", ("value",)),
        "place": ("numbers", ("0", "1")),
        "kind": ("choice", ("a", "b")),
    }


def test_targets_of_portraits() -> None:
    rng = np.random.default_rng(0)
    rows = [
        portrait_row(identity=i // 2, light_azimuth=float(rng.uniform(-80, 80)), smile=float(rng.uniform()))
        | {name: float(rng.normal()) for name in ("age", "yaw", "pitch", "roll")}
        | {"hair_color": rng.uniform(size=3).tolist()}
        for i in range(40)
    ]
    targets = {target.name: target for target in choose_targets(rows, {})}
    assert list(targets) == [name for name in PORTRAIT_ATTRIBUTES if name != "style"]  # one style only
    assert targets["light"].attribute.components == ("azimuth", "elevation")
    assert targets["expression"].attribute.components == ("smile", "laugh", "sad", "surprised", "angry")
    assert list({t.name for t in choose_targets(rows, {}, ["age", "smile"])} ^ {"age", "smile"}) == []
    labels = encode_labels([targets["light"]], [portrait_row(light_azimuth=90.0, light_elevation=0.0)], {})
    assert np.allclose(labels.values, [[1, 0, 0]], atol=1e-6)


def test_a_flip_is_labelled_as_one() -> None:
    schema = {"light_azimuth": {"mirror": -1}, "yaw": {"mirror": -1}}
    rows = [portrait_row(yaw=float(i), light_azimuth=3.0 * i, identity=i // 2) for i in range(20)]
    targets = choose_targets(rows, schema, ["yaw", "light"])
    labels = encode_labels(targets, rows, schema)
    assert np.allclose(labels.mirrored, labels.values * [-1, -1, 1, 1], atol=1e-6)


def test_hair_counts_where_it_shows() -> None:
    rows = [portrait_row(hair_color=[0.1 * i, 0, 0]) for i in range(5)]
    rows += [portrait_row(hair_style="bald"), portrait_row(hat="cap"), portrait_row(grey=0.9), portrait_row(hat="none")]
    assert [shows_hair_color(row) for row in rows[5:]] == [False, False, False, True]
    labels = encode_labels(choose_targets(rows, {}, ["hair_color"]), rows, {})
    assert labels.counts[:, 0].tolist() == [True] * 5 + [False] * 3 + [True]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["plaec"], "no attribute 'plaec'; did you mean place"),
        (["fixed"], "'fixed' has the same value in every image"),
    ],
)
def test_attributes_that_cannot_be_learnt(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train_reader(toys(64), LearningConfig(epochs=1), attributes=names)


def test_identity_takes_several_images_of_each() -> None:
    lonely = toys(64, per_pattern=1)
    assert "pattern" not in {target.name for target in choose_targets(lonely.rows, SCHEMA)}
    with pytest.raises(ConfigError, match="--per-identity 4"):
        choose_targets(lonely.rows, SCHEMA, ["pattern"])


def test_labels_that_do_not_fit() -> None:
    examples = toys(64)
    targets = choose_targets(examples.rows, SCHEMA)
    with pytest.raises(DataError, match=r"toys: attribute 'place'"):
        replace(examples, rows=({**examples.rows[0], "place": "left"},)).labels(targets)
    with pytest.raises(DataError, match=r"no label 'paint'"):
        replace(examples, rows=({"place": 1},)).labels(targets)
    with pytest.raises(DataError, match="no attributes"):
        choose_targets([{}], {})
    with pytest.raises(DataError, match="too few"):
        train_reader(toys(8))


# How a reader sees


@pytest.mark.parametrize("architecture", list(TRUNKS))
def test_any_size_is_seen_and_felt(architecture: str) -> None:
    reader = untrained(toys(64), architecture=architecture)
    for size in (8, SIZE_PX, 50):
        images = torch.rand(2, 3, size, size, requires_grad=True)
        features = reader(images)
        assert {name: tuple(f.shape) for name, f in features.items()} == {
            "place": (2, 1),
            "paint": (2, 3),
            "shape": (2, 2),
            "pattern": (2, 64),
        }
        sum(reader.distance(name, f[:1], f[1:]).sum() for name, f in features.items()).backward()  # type: ignore[union-attr]
        assert images.grad is not None
        assert images.grad.isfinite().all()
        assert images.grad.abs().amax((1, 2, 3)).min() > 0


def test_grey_images_are_seen_in_colour_and_others_refused() -> None:
    reader = untrained(toys(64))
    grey = torch.rand(2, 1, SIZE_PX, SIZE_PX)
    assert torch.equal(reader(grey)["place"], reader(grey.expand(-1, 3, -1, -1))["place"])
    with pytest.raises(ConfigError, match="4 channels"):
        reader(torch.rand(1, 4, SIZE_PX, SIZE_PX))


def test_an_image_is_read_alike_in_any_company(learnt: Reader) -> None:
    images = as_images(toys(8, seed=3))
    for name, features in learnt(images).items():
        assert torch.allclose(features[:1], learnt(images[:1])[name], atol=1e-4)


def light_target() -> Target:
    return Target(
        name="light",
        kind="direction",
        sources=("light_azimuth", "light_elevation"),
        components=("azimuth", "elevation"),
        low=(-90.0, -90.0),
        high=(90.0, 90.0),
        spread=30.0,
    )


def test_distances_are_in_units_of_the_data() -> None:
    examples = toys(64)
    reader = untrained(examples)
    place = next(target for target in reader.config.targets if target.name == "place")
    a, b = torch.tensor([[0.5]]), torch.tensor([[-1.0]])
    assert reader.distance("place", a, b).item() == pytest.approx(1.5)
    apart = reader.read("place", a) - reader.read("place", b)
    assert apart.item() == pytest.approx(1.5 * place.deviation[0])
    assert reader.distance("paint", torch.zeros(1, 3), torch.tensor([[3.0, 0, 0]])).item() == pytest.approx(1)
    sure = torch.tensor([[30.0, 0], [0, 30.0]])
    share = np.mean([row["shape"] == "bar" for row in examples.rows])
    expected = 1 / (1 - share**2 - (1 - share) ** 2)
    assert reader.distance("shape", sure[:1], sure[1:]).item() == pytest.approx(expected, rel=1e-4)
    assert torch.allclose(reader.read("shape", sure), torch.eye(2), atol=1e-6)
    unit = torch.eye(64)[:2]
    assert reader.distance("pattern", unit[:1], unit[1:]).item() == pytest.approx(2)
    with pytest.raises(ConfigError, match="no readings"):
        reader.read("pattern", unit)


def test_light_is_an_angle() -> None:
    reader = ReaderConfig(targets=(light_target(),), resolution_px=SIZE_PX, hidden=8).build()
    ahead, right, above = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]).split(1)
    assert reader.distance("light", ahead, right).item() == pytest.approx(3)
    assert reader.read("light", right)[0].tolist() == pytest.approx([90, 0])
    assert reader.read("light", above)[0, 1].item() == pytest.approx(90, abs=1e-3)
    for other in (ahead, -ahead):  # where the angle's derivative has no direction
        features = other.clone().requires_grad_()
        reader.distance("light", features, ahead).sum().backward()
        assert features.grad is not None
        assert features.grad.isfinite().all()


def test_configs_that_cannot_be() -> None:
    target = light_target()
    for fields, message in (
        ({"architecture": "seperable"}, "did you mean separable"),
        ({"resolution_px": 48}, "power of two"),
        ({"channels": 2}, "expected 1 or 3"),
        ({"widths": (8, 8)}, "four widths"),
        ({"targets": (target, target)}, "each name once"),
    ):
        with pytest.raises(ConfigError, match=message):
            ReaderConfig(**({"targets": (target,)} | fields))
    with pytest.raises(ConfigError, match="1 epoch"):
        LearningConfig(epochs=0)


# Learning


def test_it_learns_what_can_be_seen(learnt: Reader) -> None:
    rows = {row.attribute: row for row in examine(learnt, toys(256, seed=2), toys(512))}
    assert list(rows) == ["place", "paint", "shape", "pattern"]
    for row in rows.values():
        assert row.error < 0.85 * row.guessing, row
        assert set(row.disturbed) == {"blurred", "noisy", "shifted", "halved"}
    assert rows["place"].error < 0.75 * rows["place"].guessing
    assert rows["place"].correlation is not None
    assert rows["place"].correlation > 0.7  # 0.95 here; rounding differs between machines, and so does what is learnt
    assert errors_from_dict(errors_to_dict(list(rows.values())))[0].images == 256


def test_a_flipped_image_is_read_as_its_mirror_image(learnt: Reader) -> None:
    images = as_images(toys(64, seed=4))
    straight = learnt.read("place", learnt(images)["place"])
    flipped = learnt.read("place", learnt(images.flip(3))["place"])
    assert (straight + flipped).abs().mean() < 0.6 * (straight - flipped).abs().mean()


def test_the_same_seed_gives_the_same_reader() -> None:
    config = LearningConfig(epochs=1, batch=32, seed=3)
    state = torch.get_rng_state()
    one, same = (train_reader(toys(64), config).state_dict() for _ in range(2))
    other = train_reader(toys(64), replace(config, seed=4)).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), state)  # and leaves the caller's randomness alone


def test_training_can_begin_with_a_reader(learnt: Reader) -> None:
    config = LearningConfig(epochs=1, batch=64, learning_rate=1e-4)
    other_names = train_reader(toys(128, seed=6), config, widths=(8, 16, 24, 32), attributes=["place"], init=learnt)
    assert list(other_names.attributes) == ["place"]
    row = examine(other_names, toys(128, seed=2))[0]
    assert row.error < 0.7 * row.guessing  # two steps from nothing would not do
    with pytest.raises(ConfigError, match="no network like this one"):
        train_reader(toys(64), config, architecture="separable", widths=(5, 6, 7, 8), init=learnt)


def test_a_time_limit_is_kept() -> None:
    seen: list[tuple[int, int]] = []
    limit = LearningConfig(minutes=0.01, batch=16)
    train_reader(toys(16), limit, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (1, 1)


def test_batches_hold_several_images_of_each_individual() -> None:
    keys = [index // 5 for index in range(60)]  # five each, cut into four and one
    order = _Order(keys, LearningConfig(batch=20))
    epoch = order._epoch()
    assert sorted(epoch.tolist()) == list(range(60))
    together = [keys[i] == keys[j] for i, j in pairwise(epoch)]
    assert sum(together) >= 12 * 3
    assert not np.array_equal(order._epoch(), epoch)
    assert [len(batch) for batch, _ in zip(order.batches(), range(4), strict=False)] == [20] * 4


def test_the_contrastive_loss_by_hand() -> None:
    vectors = torch.tensor([[1.0, 0], [0, 1.0], [-1.0, 0]])
    # images 0 and 1 belong together; similarities 0·1 = 0, 0·2 = −1, 1·2 = 0
    first = -math.log(1 / (1 + math.exp(-1)))
    second = -math.log(1 / 2)
    loss = supervised_contrastive(vectors, torch.tensor([7, 7, 8]), temperature=1.0)
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-5)
    assert supervised_contrastive(vectors, torch.tensor([1, 2, 3])).item() == 0


def test_training_images_keep_their_colours() -> None:
    torch.manual_seed(0)
    plain = torch.full((64, 3, 64, 64), 200, dtype=torch.uint8)
    images = augmented(plain, torch.rand(64) < 0.5)
    assert images.mean((1, 2, 3)).sub(200 / 127.5 - 1).abs().max() < 0.01
    dot = torch.zeros(2, 1, 9, 9)
    dot[:, :, 4, 4] = 1
    sharp, soft = blurred(dot, torch.tensor([0.0, 1.0])).unbind(0)
    assert torch.allclose(sharp, dot[0])
    assert soft[0, 4, 4].item() == pytest.approx(1 / (2 * math.pi), rel=0.02)
    assert soft.sum().item() == pytest.approx(1, rel=1e-3)


def test_held_out_individuals_are_strangers() -> None:
    known, held_out = split_examples(toys(80), share=0.25)
    assert (len(known), len(held_out)) == (60, 20)
    people = [{row["pattern"] for row in part.rows} for part in (known, held_out)]
    assert not people[0] & people[1]
    reader = untrained(known)
    with pytest.raises(DataError, match="are in the training data"):
        examine(reader, known, known)


# Folders


def test_a_folder_gives_back_the_reader(learnt: Reader, tmp_path: Path) -> None:
    folder = tmp_path / "readers"
    rows = examine(learnt, toys(64, seed=2))
    save_predictors(folder, [learnt], about={"trained_on": "toys", "errors": errors_to_dict(rows)})
    loaded = load_predictors(folder)
    images = as_images(toys(4, seed=5))
    with torch.no_grad():
        for name, features in loaded.features(images).items():
            assert torch.equal(features, learnt(images)[name])
    assert list(loaded.attributes) == ["place", "paint", "shape", "pattern"]
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    size = sum(parameter.numel() for parameter in learnt.parameters())
    assert (folder / "reader.safetensors").stat().st_size < 2.1 * size  # float16
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| place | px |" in card
    with pytest.raises(CheckpointError, match="exists already"):
        save_predictors(folder, [learnt])
    save_predictors(folder, [learnt, learnt], overwrite=True)
    assert len(read_manifest(folder)["networks"]) == 2


def test_a_manifest_takes_thresholds(learnt: Reader, tmp_path: Path) -> None:
    folder = tmp_path / "readers"
    save_predictors(folder, [learnt])
    manifest = read_manifest(folder)
    write_manifest(folder, manifest | {"thresholds": {"place": {"same": 0.1, "different": 1.0}}})
    assert read_manifest(folder)["thresholds"]["place"]["different"] == 1
    assert load_predictors(str(folder)).attributes
    with pytest.raises(CheckpointError, match="no description of predictors"):
        write_manifest(folder, {})


def test_folders_that_cannot_be_loaded(learnt: Reader, tmp_path: Path) -> None:
    folder = tmp_path / "readers"
    save_predictors(folder, [learnt])
    good = json.loads((folder / "predictors.json").read_text(encoding="utf-8"))

    def refused(manifest: Any) -> str:
        (folder / "predictors.json").write_text(json.dumps(manifest), encoding="utf-8")
        with pytest.raises(CheckpointError) as caught:
            load_predictors(folder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    network = good["networks"][0]
    assert "no description" in refused([])
    assert "later gantrol" in refused(good | {"format_version": 2})
    assert "no list of networks" in refused(good | {"networks": []})
    assert "no kind 'raeder'" in refused(good | {"networks": [network | {"kind": "raeder"}]})
    assert "reader" in refused(good | {"networks": [network | {"kind": "raeder"}]})
    assert "there is no such safetensors file" in refused(good | {"networks": [network | {"weights": "other.pt"}]})
    assert "`weights` is missing" in refused(good | {"networks": [{"kind": "reader", "config": network["config"]}]})
    assert "did you mean resolution_px" in refused(
        good | {"networks": [network | {"config": network["config"] | {"resolution": 64}}]}
    )
    assert "does not fit" in refused(good | {"networks": [network | {"config": network["config"] | {"hidden": 8}}]})
    (folder / "predictors.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_predictors(folder)
    (folder / "predictors.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds no predictors\.json"):
        load_predictors(folder)
    with pytest.raises(CheckpointError, match="no predictors 'nowhere': expected bundled predictors"):
        load_predictors("nowhere")


def test_networks_of_others_are_named_by_path(tmp_path: Path) -> None:
    assert {"reader", "hopenet", "arcface", "dex", "esr9", "rnet", "dogfacenet"} <= set(PREDICTORS)
    manifest = {"format": "gantrol-predictors", "format_version": 1}
    write_manifest(tmp_path, manifest | {"networks": [{"kind": "hopenet", "weights": "missing.pkl"}]})
    with pytest.raises(CheckpointError, match=r"missing\.pkl.*licence"):
        load_predictors(tmp_path)
    write_manifest(tmp_path, manifest | {"networks": [{"kind": "hopenet", "weights": "a.pkl", "crpo": 1}]})
    with pytest.raises(CheckpointError, match="crpo"):
        load_predictors(tmp_path)


def test_a_dataset_is_read_in_the_readers_size(tmp_path: Path) -> None:
    examples = toys(16)
    with DatasetWriter(tmp_path / "toys.zip") as writer:
        for pixels, row in zip(examples.pixels.numpy(), examples.rows, strict=True):
            writer.add(pixels.transpose(1, 2, 0), attributes=row)
    dataset = ImageDataset(tmp_path / "toys.zip")
    assert torch.equal(load_examples(dataset, SIZE_PX).pixels, examples.pixels)
    large = load_examples(dataset, 64)
    assert large.pixels.shape == (16, 3, 64, 64)
    assert large.rows == examples.rows
    with DatasetWriter(tmp_path / "bare.zip") as writer:
        writer.add(examples.pixels[0].permute(1, 2, 0).numpy())
    with pytest.raises(DataError, match="has no attributes"):
        load_examples(ImageDataset(tmp_path / "bare.zip"))


# The command


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["control", "predictors", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_command_trains_writes_and_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = toys(40)
    data, out, scores = tmp_path / "toys.zip", tmp_path / "readers", tmp_path / "scores.json"
    with DatasetWriter(data, schema=SCHEMA) as writer:
        for pixels, row in zip(examples.pixels.numpy(), examples.rows, strict=True):
            writer.add(pixels.transpose(1, 2, 0), attributes=row)
    arguments = ("--data", data, "--out", out, "--attributes", "place,pattern", "--epochs", 1, "--json", scores)
    assert run(*arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == [
        "attribute",
        "unit",
        "error",
        "guessing",
        "r",
        "blurred",
        "noisy",
        "shifted",
        "halved",
    ]
    assert [line.split()[0] for line in printed[1:3]] == ["place", "pattern"]
    assert json.loads(scores.read_text(encoding="utf-8"))["errors"] == read_manifest(out)["about"]["errors"]
    assert list(load_predictors(out).attributes) == ["place", "pattern"]
    assert "--attributes place,pattern" in (out / "README.md").read_text(encoding="utf-8")

    def refused(*more: object) -> str:
        assert run(*more) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 1
        return captured.err

    other = tmp_path / "other"
    assert "exists already" in refused(*arguments)
    assert "give one of them" in refused("--data", data, "--out", other, "--epochs", 1, "--minutes", 1)
    assert "did you mean place" in refused("--data", data, "--out", other, "--attributes", "plase")
    assert "are in the training data" in refused("--data", data, "--held-out", data, "--out", other, "--epochs", 1)
    assert "no predictors 'nowhere'" in refused("--data", data, "--out", other, "--init", "nowhere", "--epochs", 1)
    assert not other.exists()


# The bundled ones


def test_bundled_predictors_are_two_different_networks_and_small() -> None:
    folders = bundled_predictors()
    assert set(folders) == {BUNDLED, BUNDLED_SECOND}
    assert sum(file.stat().st_size for folder in folders.values() for file in folder.iterdir()) <= 6 * 2**20
    manifests = [read_manifest(name) for name in (BUNDLED, BUNDLED_SECOND)]
    networks = [manifest["networks"][0]["config"]["architecture"] for manifest in manifests]
    assert networks == ["residual", "separable"]
    assert manifests[0]["about"]["trained_on"] != manifests[1]["about"]["trained_on"]
    for manifest in manifests:
        errors = errors_from_dict(manifest["about"]["errors"])
        assert {row.attribute.partition(".")[0] for row in errors} == set(PORTRAIT_ATTRIBUTES) - {"style"}
        for row in errors:
            if row.attribute in ("expression", "identity"):  # most expressions are 0: r tells, the mean error does not
                assert row.correlation is not None
                assert row.correlation > 0.5, row
            elif "." not in row.attribute:
                assert row.error < 0.6 * row.guessing, row


def test_the_tables_in_the_documentation_are_theirs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "predictors.md").read_text(encoding="utf-8")
    for folder in bundled_predictors().values():
        table = [line for line in (folder / "README.md").read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
        assert len(table) > 10
        assert "\n".join(table) in page


@pytest.mark.parametrize("name", [BUNDLED, BUNDLED_SECOND])
def test_bundled_predictors_read_new_portraits(name: str) -> None:
    from gantrol.data.faces.labels import complete_row
    from gantrol.data.faces.render import render_row

    rows = [{"yaw": -25.0, "light_azimuth": 50.0}, {"yaw": 25.0, "light_azimuth": -50.0}]
    pixels = np.stack([render_row(complete_row(row), 64) for row in rows])
    predictors = load_predictors(name)
    with torch.no_grad():
        features = predictors.features(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1)
    yaw = predictors.read("yaw", features["yaw"])[:, 0]
    assert (yaw - torch.tensor([-25.0, 25.0])).abs().max() < 8
    azimuth = predictors.read("light", features["light"])[:, 0]
    assert azimuth[0] > 20
    assert azimuth[1] < -20
