"""Pairs, the contrastive loss, thresholds, and a training in which each term does what it is for."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gantrol.control.contrastive import contrastive_terms
from gantrol.control.objective import ControlObjective, ControlTerm
from gantrol.control.pairs import PairPlan, plan_pairs
from gantrol.control.predictors import PredictorSet
from gantrol.errors import ConfigError
from gantrol.models import ControllableConfig, LatentGroup, StyleGAN2Config, group_slices
from tests.control.toy import MeanColor, images_of

GOLDEN = Path(__file__).parent.parent / "golden"
FFHQ = ("id", "id", "expression", "orientation", "gamma", "age", "hair", "other")
"""Groups of the paper for faces; identity has two pairs."""


def slices_of(**sizes: int) -> dict[str, slice]:
    return group_slices(LatentGroup(name=name, size=size) for name, size in sizes.items())


# ----------------------------------------------------------------------------------------------------------------------
# Pairs


def test_the_papers_batch() -> None:
    plan = plan_pairs(16, FFHQ)
    assert plan.shared == FFHQ
    assert plan.rows("id").tolist() == [[0, 1], [2, 3]]
    assert plan.rows("other").tolist() == [[14, 15]]


def test_every_pair_shares_exactly_one_group_and_no_others_do() -> None:
    slices = slices_of(age=3, yaw=2, other=4)
    plan = plan_pairs(12, ["age", "yaw", "other"])
    z = plan.share(torch.randn(12, 9), slices)
    for a, b in combinations(range(12), 2):
        common = [name for name, place in slices.items() if torch.equal(z[a, place], z[b, place])]
        assert common == ([plan.shared[a // 2]] if a // 2 == b // 2 else [])


def test_latents_stay_as_they_were() -> None:
    z = torch.randn(4, 5)
    before = z.clone()
    PairPlan(("age", "other")).share(z, slices_of(age=2, other=3))
    assert torch.equal(z, before)


def test_few_pairs_go_round_all_groups() -> None:
    groups = ["a", "b", "c", "d", "e"]
    rng = torch.Generator().manual_seed(0)
    counts = Counter(name for _ in range(400) for name in plan_pairs(4, groups, rng=rng).shared)
    assert set(counts) == set(groups)
    assert max(counts.values()) - min(counts.values()) < 60  # 160 each on average


def test_an_odd_row_has_no_partner() -> None:
    assert len(plan_pairs(5, ["a", "b"]).shared) == 2


def test_bad_plans() -> None:
    with pytest.raises(ConfigError, match="at least 2 images"):
        plan_pairs(1, ["a"])
    with pytest.raises(ConfigError, match="no latent group 'agee'"):
        PairPlan(("agee",)).share(torch.zeros(2, 5), slices_of(age=2, other=3))


# ----------------------------------------------------------------------------------------------------------------------
# The loss


def test_by_hand() -> None:
    # images at 0, 0.3, 1.0, 1.1 on a line; rows 0 and 1 share the group
    places = torch.tensor([0.0, 0.3, 1.0, 1.1])
    distances = (places[:, None] - places[None]).abs()
    terms = contrastive_terms(distances, torch.tensor([[0, 1]]), tau_same=0.1, tau_different=0.9)
    others = [1.0, 1.1, 0.7, 0.8, 0.1]  # 0-2, 0-3, 1-2, 1-3, 2-3
    assert terms.loss.item() == pytest.approx((0.3 - 0.1) + (0.2 + 0.1 + 0.8) / 5)
    assert terms.same is not None
    assert terms.same.item() == pytest.approx(0.3)
    assert terms.different.item() == pytest.approx(sum(others) / 5)


@pytest.mark.parametrize(("distance", "expected"), [(0.05, 0.0), (0.1, 0.0), (0.4, 0.3)], ids=["below", "at", "above"])
def test_hinge_of_same_pairs(distance: float, expected: float) -> None:
    distances = torch.tensor([[0.0, distance], [distance, 0.0]])
    terms = contrastive_terms(distances, torch.tensor([[0, 1]]), 0.1, 0.9)
    assert terms.loss.item() == pytest.approx(expected)


@pytest.mark.parametrize(("distance", "expected"), [(0.5, 0.4), (0.9, 0.0), (2.0, 0.0)], ids=["below", "at", "above"])
def test_hinge_of_other_pairs(distance: float, expected: float) -> None:
    distances = torch.tensor([[0.0, distance], [distance, 0.0]])
    terms = contrastive_terms(distances, torch.empty(0, 2, dtype=torch.int64), 0.1, 0.9)
    assert terms.loss.item() == pytest.approx(expected)
    assert terms.same is None


def test_order_within_a_pair_does_not_matter() -> None:
    distances = torch.rand(6, 6)
    distances = distances + distances.T
    pairs = torch.tensor([[0, 1], [4, 5]])
    assert torch.equal(
        contrastive_terms(distances, pairs, 0.1, 2).loss, contrastive_terms(distances, pairs.flip(1), 0.1, 2).loss
    )


def test_distances_must_be_a_square() -> None:
    with pytest.raises(ConfigError, match=r"shape \[2, 3\]"):
        contrastive_terms(torch.zeros(2, 3), torch.tensor([[0, 1]]), 0.1, 0.9)


GIVEN = json.loads((GOLDEN / "ganctl_contrastive.json").read_text())


def reference_distances(kind: str, features: torch.Tensor) -> torch.Tensor:
    """The paper's distances between all images, as the fixture's notes state them."""
    a, b = features[:, None], features[None]
    if kind == "hair":  # mean colour under the mask; 0 unless both masks cover more than 1 %
        mask = features[:, 3:].detach()  # colours come masked; no gradient through the mask
        covered = mask.sum((1, 2, 3)) > 0.01 * mask[0].numel()
        mean = features[:, :3].sum((2, 3)) / 2 / mask.sum((2, 3)).clamp(min=1)  # [-1, 1] to [0, 1]: half
        distances = (mean[:, None] - mean[None]).abs().mean(2)
        return distances * (covered[:, None] & covered[None])
    if kind.startswith("embedding"):
        return (a - b).square().sum(2)
    if kind.startswith("style"):
        return (a - b).square().mean((2, 3)) * 1e5
    return (a - b).abs().flatten(2).mean(2)


@pytest.mark.parametrize("name", sorted(GIVEN["losses"]))
def test_golden(name: str) -> None:
    tensors = load_file(GOLDEN / "ganctl_contrastive.safetensors")
    options = GIVEN["losses"][name]
    count = sum(key.startswith(f"{name}.features.") for key in tensors)
    features = [tensors[f"{name}.features.{k}"].requires_grad_() for k in range(count)]
    rows = GIVEN["place_in_mini_batch"]
    shared = [group for group, (low, high) in rows.items() for _ in range((high - low) // 2)]
    plan = PairPlan(tuple(shared))
    own = plan.rows(options["same_group"])
    others = torch.cat([plan.rows(group) for group in rows if group != options["same_group"]])
    weights = [*options["intermediate_layers_weights"], options["last_layer_weight"]]
    low = [*options["lower_thres"], options["last_lower_thres"]]
    high = [*options["upper_thres"], options["last_upper_thres"]]
    is_last_criterion = options["intermediate_criterion_as_last_layer"]
    total = torch.zeros([])
    for k, weight in enumerate(weights):
        if not weight:
            continue
        is_last = k == count - 1
        if is_last or is_last_criterion:
            distances = reference_distances(name, features[k])
        else:
            distances = (features[k][:, None] - features[k][None]).abs().flatten(2).mean(2)
        same = own if options["focus_on_list"][k] == "same_as_last_layer" else others
        total = total + weight * contrastive_terms(distances, same, low[k], high[k]).loss
    last = reference_distances(name, features[-1])
    torch.testing.assert_close(last, tensors[f"{name}.distances"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(total, tensors[f"{name}.loss"], rtol=1e-4, atol=1e-6)
    grads = torch.autograd.grad(total, features, allow_unused=True)
    for k, grad in enumerate(grads):
        expected = tensors.get(f"{name}.grad.{k}")
        if expected is not None:
            found = torch.zeros_like(features[k]) if grad is None else grad
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6 + 1e-4 * expected.abs().max().item())


def test_golden_pairs() -> None:
    tensors = load_file(GOLDEN / "ganctl_contrastive.safetensors")
    rows = GIVEN["place_in_mini_batch"]
    shared = tuple(group for group, (low, high) in rows.items() for _ in range((high - low) // 2))
    slices = {group: slice(*place) for group, place in GIVEN["place_in_latent"].items()}
    assert torch.equal(PairPlan(shared).share(tensors["z"], slices), tensors["z_rearranged"])


# ----------------------------------------------------------------------------------------------------------------------
# The objective


def terms(*names: str, weight: float = 1.0) -> list[ControlTerm]:
    return [ControlTerm(attribute=name, weight=weight, tau_same=0.01, tau_different=0.5) for name in names]


def test_sum_of_weighted_terms() -> None:
    objective = ControlObjective(terms("red", weight=0.5) + terms("blue", weight=2.0), PredictorSet([MeanColor()]))
    images = images_of([[0.0, 0, 0], [0.3, 0, 0], [0.0, 0, 0.4], [0.1, 0, 0]])
    value, stats = objective(images, PairPlan(("red", "blue")), torch.zeros(4, 2), {})
    assert value.item() == pytest.approx(0.5 * stats["control/red/loss"].item() + 2 * stats["control/blue/loss"].item())
    assert stats["control/red/same"].item() == pytest.approx(0.3)
    assert stats["control/blue/same"].item() == pytest.approx(0.4)


def test_predictors_without_the_attribute() -> None:
    with pytest.raises(ConfigError, match="no predictor reads 'reed'; did you mean red"):
        ControlObjective(terms("reed"), PredictorSet([MeanColor()]))


@pytest.mark.parametrize("name", ["red", "blue"])
def test_one_term_alone_brings_its_pairs_together(name: str) -> None:
    """A toy run: the colour that is asked for comes to hang on its group, the others do not."""
    torch.manual_seed(0)
    groups = tuple(LatentGroup(name=each, size=4) for each in ("red", "green", "blue", "other"))
    base = StyleGAN2Config(resolution_px=8, z_dim=16, w_dim=16, channel_base=64, channel_max=8, use_noise=False)
    g = ControllableConfig(base=base, groups=groups, mapping_layers=2, hidden_width=16).build()
    predictors = PredictorSet([MeanColor()])
    objective = ControlObjective(terms(name), predictors)
    opt = torch.optim.Adam(g.parameters(), lr=5e-3)

    @torch.no_grad()
    def distances() -> tuple[float, float]:
        """Mean distance of 64 pairs that share the group, and of 64 that do not."""
        z = PairPlan((name,) * 64).share(
            torch.randn(128, 16, generator=torch.Generator().manual_seed(1)), g.mapping.slices
        )
        seen = predictors.features(g(z, noise_mode="none"))[name]
        same = predictors.distance(name, seen[0::2], seen[1::2]).mean()
        return same.item(), predictors.distance(name, seen[0::2], seen[1::2].roll(1, 0)).mean().item()

    same_before, different_before = distances()
    for _ in range(150):
        plan = objective.plan(16)
        z = plan.share(torch.randn(16, 16), g.mapping.slices)
        loss, _ = objective(g(z, noise_mode="none"), plan, z, g.mapping.slices)
        opt.zero_grad()
        loss.backward()
        opt.step()
    same, different = distances()
    assert same < 0.5 * same_before
    assert same / different < 0.5 * same_before / different_before


def test_predictors_stay_as_they_are() -> None:
    predictors = PredictorSet([MeanColor()])
    predictors.train()
    assert not predictors.training
    assert all(not p.requires_grad for p in predictors.parameters())


def test_a_term_says_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match="age: weight=-1"):
        ControlTerm(attribute="age", weight=-1)
    with pytest.raises(ConfigError, match=r"tau_same=0\.5, tau_different=0\.2"):
        dataclasses.replace(ControlTerm(attribute="age"), tau_same=0.5, tau_different=0.2)
