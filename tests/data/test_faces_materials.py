"""Skin, eyes and mouth of the built-in portraits: each label shows where it must, and light falls as on people."""

from __future__ import annotations

import colorsys
import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from gantrol.data.faces import eyes, light, wrinkles
from gantrol.data.faces.labels import complete_row
from gantrol.data.faces.palette import palette
from gantrol.data.faces.render import expose, render_row, sample_grid, set_up
from gantrol.data.faces.scene import PARTS, canonical
from gantrol.data.faces.shot import Frame

SIZE = 96
PERSON: dict[str, Any] = {
    "identity": 4, "age": 30, "gender": 0.9, "hair_style": "bald", "skin_tone": 0.75, "light_softness": 0.3,
    "african": 0.0, "asian": 0.0, "european": 1.0,
}  # fmt: skip


def frame(like: dict[str, Any] | None = None, **values: Any) -> Frame:
    """The samples of a person; `like`: these attributes for skin and eyes only, on unchanged geometry."""
    row = complete_row(PERSON | values)
    side = sample_grid(SIZE)
    shot, lens = set_up(row, side)
    if like is not None:
        other = row | like
        shot = dataclasses.replace(shot, row=other, look=palette(other))
    return expose(shot, lens, side)


@functools.cache
def place() -> np.ndarray:
    """Where on the average head the nearest vertex to each sample lies: [S · S, 3]."""
    side = sample_grid(SIZE)
    shot, lens = set_up(complete_row(PERSON), side)
    xy = lens.project(shot.vertices, side)[0]
    head = shot.slice("head")
    front = np.flatnonzero(shot.normals[head][:, 2] > 0.1)
    rows, columns = np.divmod(np.arange(side * side), side)
    _, nearest = cKDTree(xy[head][front]).query(np.stack([columns + 0.5, rows + 0.5], axis=1))
    return canonical()[front[nearest]]


def shown(made: Frame, part: str) -> np.ndarray:
    return made.part == 1 + PARTS.index(part)


def eye(made: Frame) -> np.ndarray:
    return shown(made, "eye_left") | shown(made, "eye_right")


def test_freckles_are_brown_spots_on_cheeks_and_nose() -> None:
    plain, freckled = frame(freckles=0.0), frame(freckles=1.0)
    darker = (plain.radiance - freckled.radiance).sum(axis=1)
    where = place()
    cheeks = (abs(abs(where[:, 0]) - 0.3) < 0.15) & (abs(where[:, 1] + 0.25) < 0.1) & shown(plain, "skin")
    forehead = (where[:, 1] > 0.35) & shown(plain, "skin")
    assert darker.min() > -1e-5
    assert darker[cheeks].mean() > 0.05
    assert darker[cheeks].std() > 0.5 * darker[cheeks].mean()  # spots, not a veil
    assert darker[forehead].mean() < 0.1 * darker[cheeks].mean()
    lost = 1 - freckled.radiance[cheeks].mean(axis=0) / plain.radiance[cheeks].mean(axis=0)
    assert lost[0] < lost[1] < lost[2]  # brown: blue suffers most
    assert (plain.radiance == freckled.radiance)[eye(plain)].all()


def test_skin_tone_lightens_skin_and_leaves_the_rest() -> None:
    tones = [frame(skin_tone=tone) for tone in (0.05, 0.35, 0.65, 0.95)]
    skin = shown(tones[0], "skin")
    means = [light.encode(made.radiance[skin]).mean(axis=0) for made in tones]
    assert (np.diff(means, axis=0) > 0.04).all()
    for mean in means:
        assert mean[0] > mean[1] > mean[2]  # skin is warm whatever its tone
    clothes = shown(tones[0], "clothes")
    assert (tones[0].radiance == tones[3].radiance)[clothes].all()


@pytest.mark.parametrize("color", [[0.36, 0.52, 0.66], [0.30, 0.48, 0.34], [0.42, 0.26, 0.14], [0.18, 0.11, 0.07]])
def test_eye_color_is_readable(color: list[float]) -> None:
    made, grey = frame(eye_color=color), frame(eye_color=[0.5, 0.5, 0.5])
    changed = (abs(made.radiance - grey.radiance).sum(axis=1) > 1e-4) & ~shown(made, "lashes")
    assert (changed <= eye(made)).all()  # nothing but eyes
    assert changed.sum() > 40
    iris = light.encode(np.median(made.radiance[changed], axis=0)[None])[0]
    hue, label_hue = colorsys.rgb_to_hsv(*iris)[0], colorsys.rgb_to_hsv(*color)[0]
    assert min(abs(hue - label_hue), 1 - abs(hue - label_hue)) < 0.09
    assert abs(iris.mean() - np.mean(color)) < 0.25


def test_the_catchlight_follows_the_key_light() -> None:
    columns = []
    for azimuth in (-45, 0, 45):
        made = frame(light_azimuth=azimuth, light_elevation=10, eye_color=[0.2, 0.12, 0.08])
        seen = np.flatnonzero(shown(made, "eye_left"))
        glow = made.radiance[seen].mean(axis=1)
        glow = np.where(glow > 0.8 * glow.max(), glow, 0)
        columns.append((seen % sample_grid(SIZE) * glow).sum() / glow.sum())
        assert made.radiance[seen].max() > 0.8
    assert columns[0] + 1 < columns[1] < columns[2] - 1


def test_eyes_are_hidden_by_closed_lids() -> None:
    assert eye(frame(eyes_closed=1.0)).sum() < 0.05 * eye(frame()).sum()


def test_creases_come_with_age_and_expression() -> None:
    young, old = (wrinkles.depths(complete_row({"age": age})) for age in (22, 75))
    assert all(young[name] <= old[name] for name in wrinkles.GROUPS)
    assert old["forehead"] > young["forehead"] + 0.3
    calm = wrinkles.depths(complete_row(PERSON))
    for expression, folds in {
        "smile": "nasolabial", "laugh": "crows_feet", "surprised": "forehead", "brow_raise": "forehead",
        "angry": "frown", "disgusted": "nose_bridge", "pucker": "lip_lines",
    }.items():  # fmt: skip
        assert wrinkles.depths(complete_row(PERSON | {expression: 1.0}))[folds] > calm[folds] + 0.1


def test_wrinkles_show_on_unchanged_geometry() -> None:
    young, old = frame({"age": 25}), frame({"age": 80})
    where = place()
    forehead = (abs(where[:, 1] - 0.48) < 0.12) & (abs(where[:, 0]) < 0.25) & shown(young, "skin")
    side = sample_grid(SIZE)

    def roughness(made: Frame) -> float:
        """Contrast from row to row of samples: forehead lines run across."""
        picture = light.encode(made.radiance).mean(axis=1).reshape(side, side)
        return float(abs(np.diff(picture, n=2, axis=0)[forehead.reshape(side, side)[1:-1]]).mean())

    assert roughness(old) > 2 * roughness(young)


def test_folds_are_relief_not_paint() -> None:
    """Lit from the other side, what was the bright flank of a fold is its dark one."""
    reliefs = []
    for azimuth in (-60, 60):
        fold, smooth = ({"angry": weight, "gender": 0.9} for weight in (1.0, 0.0))
        made, without = (frame(like, light_azimuth=azimuth, light_elevation=0) for like in (fold, smooth))
        where = place()
        brow = (abs(where[:, 0]) < 0.12) & (abs(where[:, 1] - 0.2) < 0.1) & shown(made, "skin")
        difference = (made.radiance - without.radiance).mean(axis=1)[brow]
        reliefs.append(difference - difference.mean())
    assert np.corrcoef(*reliefs)[0, 1] < -0.3


def test_relief_is_nothing_without_creases() -> None:
    points = np.zeros((0, 3), dtype=np.float32)
    found, slopes, groove = wrinkles.relief(points, complete_row(PERSON), np.zeros(16, np.float32), 0.01)
    assert len(found) == len(slopes[0]) == len(slopes[1]) == len(groove) == 0


def test_old_skin_has_spots_and_young_skin_none() -> None:
    assert palette(complete_row({"age": 40})).age_spots == 0
    assert palette(complete_row({"age": 80})).age_spots > 0.3


def test_make_up_is_for_grown_women_only() -> None:
    people = [complete_row({"identity": i, "gender": 0.0, "age": 30}) for i in range(40)]
    worn = [palette(row).lipstick > 0 for row in people]
    assert 8 < sum(worn) < 30
    assert not any(palette(row | {"age": 10}).lipstick for row in people)
    assert not any(palette(row | {"gender": 1.0}).lipstick for row in people)


def test_teeth_are_separate_and_darken_inwards() -> None:
    made = frame(laugh=1.0, light_azimuth=0)
    teeth = np.flatnonzero(shown(made, "teeth"))
    side = sample_grid(SIZE)
    assert len(teeth) > 60
    glow = made.radiance[teeth].mean(axis=1)
    middle = np.median(teeth % side)
    inner = abs(teeth % side - middle) < 0.3 * np.ptp(teeth % side)
    assert glow[inner].mean() > 1.3 * glow[~inner].mean()
    bright = light.encode(made.radiance[teeth]).max(axis=0)
    assert bright[0] > bright[2]  # ivory, not pure white
    assert bright.max() < 1


def test_pupil_iris_and_sclera_of_an_eye_seen_from_the_front() -> None:
    look = palette(complete_row(PERSON | {"eye_color": [0.36, 0.52, 0.66]}))
    ahead = np.array([0, 0, 1], dtype=np.float32)
    angle = np.array([0.0, 0.25, 0.7], dtype=np.float32)
    local = np.stack([-np.sin(angle), np.zeros(3), np.cos(angle)], axis=1).astype(np.float32)
    pupil, iris, sclera = eyes.paint_eye(local, ahead, ahead, ahead, look, 0.004)
    assert pupil.max() < 0.02
    assert iris[2] > 1.3 * iris[0]
    assert sclera.min() > 0.3


def test_the_same_row_gives_the_same_bytes() -> None:
    row = PERSON | {"freckles": 0.7, "age": 70, "laugh": 0.8}
    np.testing.assert_array_equal(render_row(row, 64), render_row(row, 64))
