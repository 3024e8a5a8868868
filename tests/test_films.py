"""Films: what their frames show, that loops close, and that frames are made when they are asked for."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from gantrol import films
from gantrol.control import ControlSet
from gantrol.controls import Control, ControlWarning, seed_control
from gantrol.errors import ConfigError
from gantrol.mixing import mixed
from gantrol.model import Model
from gantrol.models import StyleGAN2Config, StyleGAN3Config
from gantrol.pictures import to_arrays
from gantrol.sample import Look

SIZES: dict[str, Any] = {"channel_base": 64, "channel_max": 4, "z_dim": 4, "w_dim": 4}
ONE = np.array([[3]])


def stylegan3(c_dim: int = 0) -> Model:
    torch.manual_seed(0)
    g = StyleGAN3Config(resolution_px=16, num_layers=3, c_dim=c_dim, **SIZES).build().eval().requires_grad_(False)
    g.mapping.w_avg.normal_()
    return Model(g)


@pytest.fixture(scope="module")
def model() -> Model:
    return stylegan3()


@pytest.fixture(scope="module")
def fixed_model() -> Model:
    """StyleGAN2, with loud noise: it cannot be moved."""
    torch.manual_seed(0)
    g = StyleGAN2Config(resolution_px=16, mapping_layers=2, **SIZES).build().eval().requires_grad_(False)
    for name, parameter in g.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.5)
    return Model(g)


def assert_alike(frame: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for rounding: a batch may differ from single images by one step."""
    assert np.abs(frame.astype(int) - expected).max() <= 1


def assert_closed(frames: list[np.ndarray]) -> None:
    """The step over the seam is no larger than the other steps."""
    steps = [np.abs(a.astype(int) - b).mean() for a, b in itertools.pairwise([*frames, frames[0]])]
    assert min(steps) > 0
    assert steps[-1] <= 1.25 * max(steps[:-1])


# ----------------------------------------------------------------------------------------------------------------------
# Walks


def test_keyframes_are_shared_out_cell_by_cell() -> None:
    seeds = films.keyframe_seeds(range(12), (3, 2))
    assert seeds.shape == (2, 3, 2)
    assert seeds[0, 0].tolist() == [0, 1]
    assert seeds[1, 2].tolist() == [10, 11]
    repeated = films.keyframe_seeds([5, 6], (1, 1), keyframes=5)
    assert repeated[0, 0].tolist() == [5, 6, 5, 6, 5]
    with pytest.raises(ConfigError, match="5 seeds do not divide among 2x1 cells"):
        films.keyframe_seeds(range(5), (2, 1))
    with pytest.raises(ConfigError, match="keyframes=0"):
        films.keyframe_seeds(range(5), (1, 1), keyframes=0)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_spline_passes_its_keyframes_and_closes_smoothly(count: int) -> None:
    keyframes = np.random.default_rng(0).standard_normal((count, 3, 2))
    steps = 40
    walk = films.looping_spline(keyframes)(np.arange(count * steps) / steps)
    assert walk.shape == (count * steps, 3, 2)
    np.testing.assert_allclose(walk[::steps], keyframes, atol=1e-12)
    closed = np.concatenate([walk, walk[:2]])
    jumps = np.abs(np.diff(closed, axis=0)).max(axis=(1, 2))
    assert jumps[-2:].max() <= jumps.max()  # the seam is no larger than any other step
    bends = np.abs(np.diff(closed, 2, axis=0)).max(axis=(1, 2))
    assert bends[-2:].max() <= 2 * bends[:-2].max() + 1e-12


def test_interpolation_starts_each_leg_at_its_seed(model: Model) -> None:
    seeds = films.keyframe_seeds(range(4), (2, 1))
    film = films.interpolation(model, seeds, 6, look=Look(batch_size=3))
    frames = list(film)
    assert len(film) == len(frames) == 6
    assert frames[0].shape == (16, 32, 3)
    expected = model.generate(range(4), output="np").astype(int)
    for keyframe, cell in itertools.product(range(2), range(2)):
        shown = frames[3 * keyframe][:, 16 * cell : 16 * cell + 16]
        assert_alike(shown, expected[2 * cell + keyframe])


def test_any_number_of_frames_makes_a_loop(model: Model) -> None:
    seeds = films.keyframe_seeds(range(3), (1, 1))
    assert_closed(list(films.interpolation(model, seeds, 25)))
    with pytest.raises(ConfigError, match="0 frames: expected at least 1"):
        films.interpolation(model, seeds, 0)


@pytest.mark.parametrize("kind", ["walk", "move", "mix"])
def test_frames_do_not_depend_on_the_batch_and_repeat_exactly(model: Model, kind: str) -> None:
    def frames(batch_size: int) -> list[np.ndarray]:
        look = Look(batch_size=batch_size)
        if kind == "walk":
            return list(films.interpolation(model, films.keyframe_seeds(range(4), (2, 1)), 4, look=look))
        if kind == "move":
            return list(films.sweep(model, np.array([[0, 1]]), films.circle(4, 0.2), look=look))
        return list(films.style_mix(model, np.array([[0, 1]]), [2, 3], [3, 4], 4, look=look))

    for one, other, again in zip(frames(1), frames(16), frames(16), strict=True):
        assert_alike(one, other)
        np.testing.assert_array_equal(other, again)


def test_frames_are_made_when_they_are_asked_for(model: Model) -> None:
    calls: list[int] = []
    handle = model.generator.synthesis.register_forward_hook(lambda *_: calls.append(1))
    film = films.sweep(model, ONE, {"rotate": films.full_turn(10)}, look=Look(batch_size=2))
    frames = iter(film)
    assert calls == []
    next(frames)
    assert len(calls) == 1
    next(frames)
    next(frames)
    assert len(calls) == 2
    handle.remove()
    assert len(list(film)) == 10  # and again from the beginning


# ----------------------------------------------------------------------------------------------------------------------
# Sweeps


def test_a_translated_frame_is_the_translated_image(model: Model) -> None:
    values = films.circle(8, 0.25)
    frames = list(films.sweep(model, ONE, values))
    assert_closed(frames)
    for index in (0, 3, 6):
        pose = (float(values["translate_x"][index]), float(values["translate_y"][index]))
        assert np.hypot(*pose) == pytest.approx(0.25)
        assert_alike(frames[index], model.generate([3], translate=pose, output="np")[0])
    assert torch.equal(model.generator.synthesis.input.transform, torch.eye(3))


def test_a_turn_goes_round_once(model: Model) -> None:
    frames = list(films.sweep(model, ONE, {"rotate": films.full_turn(12)}))
    assert_closed(frames)
    assert_alike(frames[0], model.generate([3], output="np")[0])
    assert_alike(frames[3], model.generate([3], rotate=90.0, output="np")[0])


def test_there_and_back_ends_where_it_began() -> None:
    values = films.there_and_back(8, -1.0, 3.0)
    assert values[0] == -1
    assert values[4] == 3
    np.testing.assert_allclose(values[1:4], values[:4:-1])
    colours = films.there_and_back(4, (0.0, 1.0), (1.0, 0.0))
    np.testing.assert_allclose(colours, [[0, 1], [0.5, 0.5], [1, 0], [0.5, 0.5]], atol=1e-12)


@pytest.mark.parametrize("cutoff", [None, 2])
def test_a_sweep_of_truncation_is_truncation(model: Model, cutoff: int | None) -> None:
    values = films.loop_between(model, "truncation", 0.0, 1.0, 6)
    frames = list(films.sweep(model, ONE, {"truncation": values}, look=Look(truncation_cutoff=cutoff)))
    for frame, psi in zip(frames, values, strict=True):
        expected = model.generate([3], truncation_psi=float(psi), truncation_cutoff=cutoff, output="np")
        assert_alike(frame, expected[0])


def test_whole_turns_go_on_and_other_angles_come_back(model: Model) -> None:
    np.testing.assert_allclose(films.loop_between(model, "rotate", -180.0, 180.0, 4), [-180, -90, 0, 90])
    np.testing.assert_allclose(films.loop_between(model, "rotate", 0.0, -720.0, 4), [0, -180, -360, -540])
    np.testing.assert_allclose(films.loop_between(model, "rotate", -30.0, 30.0, 4), [-30, 0, 30, 0], atol=1e-12)


class Steering(ControlSet):
    """Controls that move features of w; `who` takes a seed."""

    config = None
    controls = {  # noqa: RUF012
        "yaw": Control("degrees", -45.0, 45.0, 0.0, "turns"),
        "hair_color": Control("r,g,b", (0.0,) * 3, (1.0,) * 3, (0.5,) * 3, "colour", components=("r", "g", "b")),
        "face": Control("0-1", (0.0,) * 2, (1.0,) * 2, (0.5,) * 2, "face", components=("smile", "angry")),
        "who": seed_control("who it is"),
    }

    def steer(self, ws: torch.Tensor, values: Any) -> torch.Tensor:
        ws = ws.clone()
        ws[:, :, :1] += values.get("yaw", torch.zeros(1, 1))[:, None] / 10
        ws[:, :, 1:4] += values.get("hair_color", torch.full([1, 3], 0.5))[:, None]
        ws[:, :, 2:4] += values.get("face", torch.zeros(1, 2))[:, None]
        return ws


def test_controls_are_swept_by_value(model: Model) -> None:
    steered = Model(model.generator, control_set=Steering())
    by_value = ["yaw", "hair_color", "face", "smile", "angry"]
    assert films.sweepable(steered) == [*by_value, "truncation", "translate_x", "translate_y", "rotate"]
    values = {
        "yaw": films.loop_between(steered, "yaw", -30.0, 30.0, 6),
        "hair_color": films.loop_between(steered, "hair_color", (0.0, 0.0, 0.0), (1.0, 0.5, 0.0), 6),
        "truncation": films.loop_between(steered, "truncation", 0.5, 1.0, 6),
    }
    frames = list(films.sweep(steered, np.array([[0, 1]]), values))
    assert_closed(frames)
    middle = {"yaw": 30.0, "hair_color": (1.0, 0.5, 0.0)}
    expected = np.concatenate(list(steered.generate([0, 1], controls=middle, output="np")), axis=1)
    assert_alike(frames[3], expected)
    fixed = next(iter(films.sweep(steered, ONE, {"truncation": np.ones(2)}, look=Look(controls={"yaw": 20}))))
    assert_alike(fixed, steered.generate([3], controls={"yaw": 20}, output="np")[0])
    smiling = list(films.sweep(steered, ONE, {"smile": films.loop_between(steered, "smile", 0.0, 1.0, 4)}))
    assert_alike(smiling[2], steered.generate([3], controls={"face": {"smile": 1.0}}, output="np")[0])
    with pytest.warns(ControlWarning, match="60 is out of its range of -45 to 45"):
        assert films.loop_between(steered, "yaw", 0.0, 60.0, 6).max() == 45
    with pytest.raises(ConfigError, match="'who': it takes a seed, and between two seeds there is nothing"):
        films.loop_between(steered, "who", 0.0, 5.0, 6)
    with pytest.raises(ConfigError, match="'yawn': this model does not have it; did you mean yaw"):
        films.loop_between(steered, "yawn", 0.0, 60.0, 6)


def test_what_cannot_be_swept_is_refused_with_what_can(model: Model, fixed_model: Model) -> None:
    with pytest.raises(ConfigError, match=r"no controls; what it can sweep: truncation, translate_x, .*, rotate$"):
        films.loop_between(model, "yaw", -30.0, 30.0, 6)
    with pytest.raises(ConfigError, match=r"no controls; what it can sweep: truncation$"):
        films.loop_between(fixed_model, "yaw", -30.0, 30.0, 6)
    with pytest.raises(ConfigError, match="a stylegan2 model cannot be translated or rotated"):
        films.sweep(fixed_model, ONE, {"rotate": films.full_turn(6)})
    with pytest.raises(ConfigError, match="expected one finite number at each end"):
        films.loop_between(model, "truncation", (0.0, 1.0), 1.0, 6)
    with pytest.raises(ConfigError, match="finite"):
        films.sweep(model, ONE, films.circle(6, float("nan")))
    with pytest.raises(ConfigError, match="equally many"):
        films.sweep(model, ONE, {"rotate": np.zeros(3), "truncation": np.zeros(2)})
    with pytest.raises(ConfigError, match="equally many"):
        films.sweep(model, ONE, {})


# ----------------------------------------------------------------------------------------------------------------------
# Style mixing, classes, noise


def test_the_moving_latent_gives_its_layers_to_all_cells(model: Model) -> None:
    look = Look(truncation_psi=0.8)
    frames = list(films.style_mix(model, np.array([[0], [1]]), [5, 6], [2, 3, 4], 24, look=look))
    assert len(frames) == 24
    assert frames[0].shape == (32, 16, 3)
    assert_closed(frames)
    still, moving = model.map([0, 1], truncation_psi=0.8), model.map([5, 6], truncation_psi=0.8)
    for keyframe in range(2):
        expected = to_arrays(model.synthesize(mixed(still, moving[keyframe], [2, 3, 4])))
        assert_alike(frames[12 * keyframe], expected.reshape(32, 16, 3))
    with pytest.raises(ConfigError, match="layer 5: this model has the layers 0 to 4"):
        films.style_mix(model, ONE, [1], [5], 4)
    with pytest.raises(ConfigError, match="needs a second latent"):
        films.style_mix(model, ONE, [], [1], 4)


def test_conditional_models_need_a_class_in_films_too() -> None:
    model = stylegan3(c_dim=3)
    (frame,) = films.sweep(model, ONE, {"rotate": np.zeros(1)}, look=Look(class_index=2))
    assert_alike(frame, model.generate([3], class_index=2, output="np")[0])
    (walk,) = films.interpolation(model, ONE[:, :, None], 1, look=Look(class_index=2))
    assert_alike(walk, frame)
    with pytest.raises(ConfigError, match="choose a class from 0 to 2"):
        films.interpolation(model, ONE[:, :, None], 1)


def test_noise_stands_still_or_flickers_or_is_off(fixed_model: Model) -> None:
    def frames(mode: Any) -> list[np.ndarray]:
        return list(
            films.sweep(fixed_model, np.array([[0, 0]]), {"truncation": np.ones(2)}, look=Look(noise_mode=mode))
        )

    still, flickering, again, off = map(frames, ("const", "random", "random", "none"))
    assert_alike(still[0], still[1])
    assert np.abs(flickering[0].astype(int) - flickering[1]).max() > 3
    np.testing.assert_array_equal(flickering, again)  # it follows from the seed and the frame
    np.testing.assert_array_equal(flickering[0][:, :16], flickering[0][:, 16:])
    assert_alike(off[0], off[1])
    assert np.abs(off[0].astype(int) - still[0]).max() > 3
