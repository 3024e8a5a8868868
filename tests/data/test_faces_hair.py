"""Hair, brows and beard of the portraits: every cut is its own, strands are repeatable, and faces stay free."""

from __future__ import annotations

import functools
import subprocess
import sys
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gantrol.data.faces import facial_hair, hair, hair_strands, render
from gantrol.data.faces.hair_cuts import CUTS
from gantrol.data.faces.hair_sheet import sheet
from gantrol.data.faces.labels import BEARDS, HAIR_STYLES, complete_row
from gantrol.data.faces.render import expose, set_up
from gantrol.data.faces.scene import HEAD_VALUES, PARTS, canonical, head_piece
from gantrol.data.faces.shot import Frame
from gantrol.data.faces.strands import bound, splat

PLAIN: dict[str, Any] = {"identity": 5, "gender": 0.9, "light_azimuth": 0.0}
FREE_FACE = [name for name in HAIR_STYLES if name not in ("bangs", "long_bangs")]
SIDE = 128


@functools.cache
def labelled(**values: Any) -> np.ndarray:
    """The name of the part that each sample shows, "" for the backdrop: [S, S]."""
    shot, lens = set_up(complete_row(PLAIN | values), SIDE)
    return np.array(["", *PARTS])[expose(shot, lens, SIDE).part].reshape(SIDE, SIDE)


@functools.cache
def picture(**values: Any) -> np.ndarray:
    return render([PLAIN | values], 64)[0].astype(np.float64)


def share(parts: np.ndarray, *names: str) -> float:
    return float(np.isin(parts, names).mean())


# --- cuts -----------------------------------------------------------------------------------------------------------


def test_every_cut_of_the_labels_is_in_the_table() -> None:
    assert set(CUTS) == set(HAIR_STYLES) - {"bald"}


@pytest.mark.parametrize("name", CUTS)
def test_every_cut_shows_hair(name: str) -> None:
    assert share(labelled(hair_style=name), "hair") > 0.01


def test_bald_heads_have_no_hair() -> None:
    assert hair.pieces(complete_row({"hair_style": "bald"})) == []
    assert share(labelled(hair_style="bald"), "hair") == 0


def test_cuts_differ_from_one_another() -> None:
    pictures = {name: picture(hair_style=name) for name in HAIR_STYLES}
    for index, name in enumerate(HAIR_STYLES):
        for other in HAIR_STYLES[index + 1 :]:
            assert abs(pictures[name] - pictures[other]).mean() > 0.7, (name, other)


def test_longer_cuts_cover_more() -> None:
    areas = [share(labelled(hair_style=name), "hair") for name in ("receding", "short", "bob", "long")]
    assert all(a < b for a, b in pairwise(areas))


@pytest.mark.parametrize("name", FREE_FACE)
@pytest.mark.parametrize("yaw", [-30.0, 0.0, 30.0])
def test_cuts_without_a_fringe_leave_the_face_free(name: str, yaw: float) -> None:
    bald, worn = labelled(hair_style="bald", yaw=yaw), labelled(hair_style=name, yaw=yaw)
    features = np.isin(bald, ["eye_left", "eye_right", "lashes", "brows"])
    if name != "curly":  # single ringlets may cross a brow
        assert share(worn[features], "hair") < 0.02
    rows, columns = np.nonzero(np.isin(bald, ["eye_left", "eye_right"]))
    below = np.s_[rows.max() : rows.max() + SIDE // 5, columns.min() : columns.max()]  # nose, mouth and cheeks
    assert share(worn[below], "hair") < 0.03


@pytest.mark.parametrize("name", ["bangs", "long_bangs"])
def test_a_fringe_covers_the_forehead_and_spares_the_eyes(name: str) -> None:
    bald, worn = labelled(hair_style="bald"), labelled(hair_style=name)
    rows, columns = np.nonzero(np.isin(bald, ["eye_left", "eye_right"]))
    middle = (columns.min() + columns.max()) // 2
    forehead = np.s_[rows.min() - SIDE // 5 : rows.min() - SIDE // 8, middle - 8 : middle + 8]
    assert share(worn[forehead], "hair") > 0.9
    assert share(worn[np.isin(bald, ["eye_left", "eye_right"])], "hair") < 0.05


# --- colour ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["short", "afro", "buzz"])
def test_grey_hair_is_lighter_but_not_paper_white(name: str) -> None:
    dark = {"hair_style": name, "hair_color": (0.12, 0.08, 0.06)}
    shows = labelled(hair_style=name)[::2, ::2] == "hair"
    levels = [picture(**dark, grey=grey)[shows].mean() for grey in (0.0, 0.5, 1.0)]
    assert levels[0] < levels[1] < levels[2] < 204
    assert hair.hair_color(complete_row({"grey": 1.0})).max() < 0.8**2.2


def test_half_grey_is_salt_and_pepper() -> None:
    grown = hair_strands.strands("short", 512)
    assert 0.45 < (grown.rank < 0.5).mean() < 0.55


def test_brows_are_darker_than_any_skin() -> None:
    for tone in (0.0, 0.5, 1.0):
        shot, _ = set_up(complete_row(PLAIN | {"skin_tone": tone, "hair_color": [0.9, 0.85, 0.7]}), 64)
        assert facial_hair._brow_tint(shot).mean() < 0.5 * shot.look.skin.mean()


# --- strands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CUTS)
def test_strands_are_mixes_of_the_sheet(name: str) -> None:
    grown, made = hair_strands.strands(name, 128), sheet(name)
    assert made is not None
    np.testing.assert_allclose(np.asarray(grown.bind.sum(axis=1)).ravel(), 1, atol=1e-5)
    assert grown.bind.data.min() >= -1e-6  # within the grid's cells
    assert grown.vertices.max() < len(made.points)
    assert len(grown.lift) == grown.points * len(grown.tone)
    assert grown.cover.min() >= 0
    assert grown.cover.max() <= 1
    reach = np.linalg.norm(grown.bind @ made.points[grown.vertices] - canonical().mean(0), axis=1)
    assert np.isfinite(reach).all()


def test_coarser_grids_get_fewer_of_the_same_strands() -> None:
    few, many = hair_strands.strands("long", 128), hair_strands.strands("long", 512)
    assert len(few.tone) < len(many.tone) / 4
    np.testing.assert_array_equal(few.rank, many.rank[: len(few.rank)])


def fingerprint() -> str:
    """Checksums of strands and of a picture full of them."""
    grown = hair_strands.strands("wavy", 128)
    shown = render([{"identity": 3, "gender": 1.0, "hair_style": "wavy", "beard": "full"}], 64)
    parts = (grown.lift, grown.side, grown.bind.data, grown.bind.indices, shown)
    return " ".join(str(zlib.crc32(np.ascontiguousarray(part).tobytes())) for part in parts)


def test_strands_are_the_same_in_another_process() -> None:
    here = Path(__file__)
    program = (
        f"import sys; sys.path.insert(0, {str(here.parent)!r}); import {here.stem}; print({here.stem}.fingerprint())"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == fingerprint()


def empty_frame(side: int) -> Frame:
    shot, lens = set_up(complete_row(PLAIN | {"hair_style": "bald"}), side)
    frame = expose(shot, lens, side)
    frame.radiance[:], frame.depth[:], frame.part[:] = 0, np.inf, 0
    return frame


def test_splat_draws_a_line_without_gaps_and_the_nearest_wins() -> None:
    frame = empty_frame(64)
    xy = np.array([[5.5, 10.5], [30.5, 10.5], [50.5, 10.5], [20.5, 5.5], [20.5, 20.5], [20.5, 40.5]], dtype=np.float32)
    depth = np.array([10, 10, 10, 9, 9, 9], dtype=np.float32)
    light = np.repeat(np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32), 3, axis=0)
    splat(frame, xy, depth, light, np.ones(6, dtype=np.float32), 3, 7)
    part, radiance = frame.part.reshape(64, 64), frame.radiance.reshape(64, 64, 3)
    assert (part[10, 6:50] == 7).all()
    assert (part[6:40, 20] == 7).all()
    np.testing.assert_array_equal(radiance[10, 20], [0, 1, 0])
    np.testing.assert_array_equal(radiance[10, 21], [1, 0, 0])
    assert frame.depth.reshape(64, 64)[10, 20] == 9


def test_splat_stays_behind_what_is_nearer_and_inside_the_picture() -> None:
    frame = empty_frame(64)
    frame.depth.reshape(64, 64)[:, :32] = 5
    xy = np.array([[-40, 10.5], [100, 10.5]], dtype=np.float32)
    splat(frame, xy, np.full(2, 8, np.float32), np.ones((2, 3), np.float32), np.ones(2, np.float32), 2, 7)
    part = frame.part.reshape(64, 64)
    assert not part[:, :32].any()
    assert (part[10, 32:] == 7).all()
    assert part.astype(bool).sum() == 32


def test_uncovered_strands_draw_nothing() -> None:
    frame = empty_frame(64)
    xy = np.array([[3.5, 3.5], [60.5, 60.5]], dtype=np.float32)
    splat(frame, xy, np.ones(2, np.float32), np.ones((2, 3), np.float32), np.zeros(2, np.float32), 2, 7)
    assert not frame.part.any()


def test_bound_keeps_only_the_vertices_used() -> None:
    vertices, bind = bound(np.array([[7, 3], [3, 9]]), np.array([[0.25, 0.75], [0.5, 0.5]]))
    np.testing.assert_array_equal(vertices, [3, 7, 9])
    np.testing.assert_allclose(bind.toarray(), [[0.75, 0.25, 0], [0.5, 0, 0.5]])


# --- brows and beard ------------------------------------------------------------------------------------------------


def test_brows_sit_above_the_eyes_and_follow_the_expression() -> None:
    def height(parts: np.ndarray) -> float:
        return float(np.nonzero(parts == "brows")[0].mean())

    calm, raised = labelled(hair_style="bald"), labelled(hair_style="bald", brow_raise=1.0)
    eyes = np.nonzero(np.isin(calm, ["eye_left", "eye_right"]))[0].mean()
    assert height(raised) < height(calm) - 1 < eyes


def test_brows_belong_to_the_person() -> None:
    assert abs(picture(identity=1, hair_style="bald") - picture(identity=2, hair_style="bald")).mean() > 1
    one, other = (facial_hair._brow_shape(complete_row({"identity": i, "gender": 0.5})) for i in (1, 2))
    assert one != other


def test_beards_grow_only_where_they_should() -> None:
    points = head_piece().points[np.unique(head_piece().triangles[head_piece().part == 0])]
    assert not facial_hair.beard_mask(points, "none").any()
    for beard in BEARDS[1:]:
        grown = points[facial_hair.beard_mask(points, beard) > 0.1]
        assert len(grown)
        assert grown[:, 1].max() < 0.1
        assert grown[:, 1].min() > -1.35
        assert grown[:, 2].min() > -0.7
    lip = points[facial_hair.beard_mask(points, "moustache") > 0.1]
    assert lip[:, 1].min() > -0.7
    assert abs(facial_hair.beard_mask(points, "goatee")[abs(points[:, 0]) > 0.45]).max() == 0


def test_beards_leave_lips_and_upper_face_bare() -> None:
    shaved = labelled(hair_style="bald")
    names = labelled(hair_style="bald", beard="full")
    eyes = np.nonzero(np.isin(shaved, ["eye_left", "eye_right"]))[0].max()
    middle = np.s_[: eyes + 2, SIDE // 2 - 14 : SIDE // 2 + 14]
    assert share(names[middle], "beard") == 0
    assert share(names, "beard") > 0.01
    grown = facial_hair._beard("full", 2000)
    lips = head_piece().values[:, HEAD_VALUES.index("lips")]
    roots = grown.bind[:: grown.points] @ lips[grown.vertices]
    assert roots.max() < 0.4


def test_longer_beards_hide_more_skin() -> None:
    covers = [share(labelled(hair_style="bald", beard=beard), "beard") for beard in ("none", "moustache", "full")]
    assert covers[0] == 0 < covers[1] < covers[2]


def test_hats_hide_the_strands_beneath_them() -> None:
    free, worn = labelled(hair_style="afro"), labelled(hair_style="afro", hat="beanie")
    rows = np.nonzero(worn == "hat")[0]
    assert share(worn[: (rows.min() + rows.max()) // 2], "hair") < 0.1 * share(free[: rows.max()], "hair")
