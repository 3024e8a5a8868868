"""Skin: tone, redness, freckles, moles, lips, make-up and folds, and how it answers light.

Skin is painted in canonical coordinates (the average head, eyes' middle at the origin, dm): they are carried by the
vertices, so a freckle stays where it belongs whatever the shape and expression. What varies slowly over the face is
made once per vertex (`_complexion`); what is fine is made per sample, and only where the picture resolves it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from gantrol.data.faces import facial_hair, hair
from gantrol.data.faces.head import FloatArray, IntArray, load_head
from gantrol.data.faces.palette import Palette
from gantrol.data.faces.raster import Surface
from gantrol.data.faces.scene import HEAD_VALUES, canonical, head_piece, unit
from gantrol.data.faces.shot import Shot, cell_noise, cell_noises, smooth_step, spot
from gantrol.data.faces.wrinkles import relief

SKIN_WRAP = np.array([0.36, 0.20, 0.14], dtype=np.float32)
"""How far round the terminator each channel of the light reaches: red travels farthest inside skin."""

_BLOOD = np.array([0.03, 0.25, 0.20], dtype=np.float32)  # what a full flush takes from red, green and blue
_MELANIN = np.array([0.31, 0.43, 0.50], dtype=np.float32)  # what a dark freckle takes
_SHAVED = np.array([0.30, 0.26, 0.19], dtype=np.float32)
_SHADE = np.array([0.15, 0.25, 0.21], dtype=np.float32)
_ROUGE = np.array([0.02, 0.30, 0.22], dtype=np.float32)
_EYE_SHADOW = np.array([0.40, 0.50, 0.50], dtype=np.float32)
_MOLE = np.array([0.55, 0.70, 0.75], dtype=np.float32)
_LID = np.array([0.08, 0.16, 0.145], dtype=np.float32)
_CREASE = np.array([0.22, 0.30, 0.32], dtype=np.float32)
_DEPTH = np.array([0.90, 0.92, 0.92], dtype=np.float32)
_MOUTH = np.array([0.20, 0.035, 0.03], dtype=np.float32)
_WAVES = 6
_CHART_DM = 0.8  # from radians around the head to dm


@functools.cache
def _regions() -> dict[str, FloatArray]:
    """Masks [V] of the regions that complexions differ in, on the vertices of the average head."""
    p, masks = canonical(), load_head().masks
    front = smooth_step(p[:, 2], -0.6, -0.1)

    def on_face(x: float, y: float, width: float, height: float) -> FloatArray:
        found: FloatArray = spot(p, x, y, width, height) * front
        return found

    jaw = smooth_step(p[:, 1], -0.40, -0.60) * smooth_step(p[:, 1], -1.40, -1.12) * smooth_step(p[:, 2], -0.72, -0.45)
    jaw *= 1 - on_face(0.30, -0.42, 0.15, 0.14) - 0.8 * on_face(0.0, -0.42, 0.16, 0.10)
    return {
        "cheeks": on_face(0.38, -0.27, 0.17, 0.16),
        "apples": on_face(0.42, -0.22, 0.18, 0.14),
        "nose": on_face(0.0, -0.37, 0.12, 0.10) + 0.8 * on_face(0.12, -0.42, 0.06, 0.06),
        "chin": on_face(0.0, -0.93, 0.16, 0.12),
        "sockets": on_face(0.28, -0.01, 0.20, 0.12) + 0.6 * on_face(0.14, -0.02, 0.06, 0.08),
        "upper_lid": on_face(0.29, 0.075, 0.14, 0.055),
        "under_eye": on_face(0.26, -0.135, 0.13, 0.055) + 0.5 * on_face(0.16, -0.10, 0.05, 0.06),
        "forehead": on_face(0.0, 0.45, 0.45, 0.22),
        "jaw": np.clip(jaw, 0, 1) * (1 - masks["lips"]),
        "oil": np.clip(0.8 * on_face(0.0, 0.43, 0.30, 0.20) + 0.8 * on_face(0.0, -0.34, 0.08, 0.09)
                       + 0.3 * on_face(0.0, 0.0, 0.09, 0.3) + 0.7 * on_face(0.38, -0.17, 0.12, 0.09)
                       + 0.5 * on_face(0.0, -0.93, 0.10, 0.09), 0, 1),
    }  # fmt: skip


@functools.cache
def _skin_vertices() -> IntArray:
    """The vertices of skin that a picture can show much of."""
    p = canonical()
    skin = np.unique(load_head().part_triangles("skin"))
    return skin[(p[skin, 1] > -2.4) & (p[skin, 2] > -1.2)]


@functools.cache
def _skin_regions() -> tuple[FloatArray, dict[str, FloatArray]]:
    """`_regions` and the points [3, s] of `_skin_vertices` only."""
    chosen, found = _skin_vertices(), _regions()
    flush = 0.95 * found["cheeks"] + 0.9 * found["nose"] + 0.35 * found["chin"]
    found = found | {"flush": flush, "red": 0.5 * load_head().masks["ears"] + 0.35 * found["sockets"]}
    return np.ascontiguousarray(canonical()[chosen].T), {name: mask[chosen] for name, mask in found.items()}


@functools.cache
def _wave_bank(frequency: float) -> FloatArray:
    """Sines, then cosines [2 · w, s], of plane waves over the skin's vertices; lengths around 2π / `frequency` dm."""
    x, y, z = _skin_regions()[0] * np.float32(frequency)
    arguments = []
    for k in range(_WAVES):
        tilt, stretch = 2.4 * k + frequency, 0.75 + 0.13 * k
        arguments.append(stretch * (x * np.sin(tilt) + y * np.cos(tilt)) + z * np.sin(k * 1.7 + 0.5))
    stacked = np.stack(arguments).astype(np.float32)
    return np.concatenate([np.sin(stacked), np.cos(stacked)])


def _waves(frequency: float, phases: FloatArray) -> FloatArray:
    """Smooth noise of about −1…1 over the skin's vertices [s]: sin(x + φ), taken apart so that x is worked out once."""
    of_sines, of_cosines = np.cos(phases[:_WAVES]), np.sin(phases[:_WAVES])
    weights = np.concatenate([of_sines, of_cosines]) * np.float32(0.4)
    noise: FloatArray = np.einsum("w,ws->s", weights, _wave_bank(frequency))
    return noise


def _complexion(look: Palette) -> FloatArray:
    """Per vertex of the head its `HEAD_VALUES`, what the skin's reflectance is multiplied by (3), its oil: [V, 11]."""
    region = _skin_regions()[1]
    uneven = _waves(16.0, look.phases) * np.float32(look.mottle)
    red = (look.blush * region["flush"] + region["red"]) * (1 + 0.35 * uneven) + 0.16 * uneven + 0.06
    red = np.minimum(np.maximum(red, -0.2), 1.2) * look.fairness
    tint = 1 - red * _BLOOD[:, None]  # [3, s]
    tint *= 1 - (0.22 * region["sockets"] + look.tired * region["under_eye"]) * _SHADE[:, None]
    if look.shaved:
        tint *= 1 - look.shaved * (0.6 + 0.4 * look.fairness) * region["jaw"] * _SHAVED[:, None]
    if look.rouge:
        tint *= 1 - 0.5 * look.rouge * region["apples"] * _ROUGE[:, None]
    if look.eye_shadow:
        tint *= 1 - look.eye_shadow * region["upper_lid"] * _EYE_SHADOW[:, None]
    tint *= 1 + 0.04 * look.mottle * _waves(9.0, look.phases[_WAVES:]) + 0.03 * region["forehead"]
    fixed, chosen = head_piece().values, _skin_vertices()
    made = np.ones((len(fixed), fixed.shape[1] + 4), dtype=np.float32)
    made[:, :-4] = fixed
    for values, column in zip((*tint, 0.25 + look.oil * region["oil"]), made.T[-4:], strict=True):
        column[chosen] = values
    return made


def _rows(points: FloatArray, where: IntArray) -> FloatArray:
    """Some of the points [P, 3], column by column in memory as they are."""
    return points.T.take(where, axis=1).T


def _darken(color: FloatArray, where: IntArray, share: FloatArray, taken: FloatArray) -> None:
    """Takes `taken` [3] of each channel of color [3, P] at samples `where` [n], as far as `share` [n] says."""
    for channel, most in zip(color, taken.tolist(), strict=True):  # one channel at a time indexing is fast
        channel[where] *= 1 - share * most


def _cover(color: FloatArray, where: IntArray, paint: FloatArray, share: FloatArray) -> None:
    """Mixes `paint` ([3] or [3, n]) into color [3, P] at samples `where` [n] by `share` [n]."""
    for channel, painted in zip(color, paint, strict=True):
        below = channel.take(where)
        channel[where] = below + (painted - below) * share


def _flecks(u: FloatArray, v: FloatArray, kinds: Sequence[tuple[float, float, float, float]],
            spacing: float) -> FloatArray:  # fmt: skip
    """Irregular soft flecks in some of the cells of jittered grids, one for each of k kinds: darkness [P].

    Each kind is (dm between flecks, turn of their grid, share of cells that hold one, how dark they are).
    """
    size, turn, share, dark = np.array(kinds).T[:, :, None]  # [k, 1] each
    a, b = (np.cos(turn) / size).astype(np.float32), (np.sin(turn) / size).astype(np.float32)
    x, y = u * a - v * b, u * b + v * a  # [k, P]
    x, y = x + np.float32(0.5) * np.sin(y * np.float32(0.7)), y + np.float32(0.5) * np.sin(x * np.float32(0.6))
    column, row = np.floor(x), np.floor(y)
    random, other, third = cell_noises(column, row, (0, 0), (17, 5), (9, 51))
    there = (random - (1 - share).astype(np.float32)) * (1 / (0.3 * share)).astype(np.float32)
    radius = 0.09 + 0.19 * other * third
    dx, dy = x - column - (0.3 + 0.4 * other), y - row - (0.3 + 0.4 * third)
    lean = (random - 0.8) * 1.2
    dx *= dx
    dy *= dy
    distance = np.sqrt(dx + dy + (dx - dy) * lean)
    soft = (0.13 + 0.5 * spacing / size).astype(np.float32)
    dots = (radius - distance) / soft + np.float32(0.5)
    # where flecks are finer than the samples, what is lost in depth has been gained in breadth
    dark = (dark * np.minimum(1.0, 0.9 * size / (spacing + 0.3 * size))).astype(np.float32)
    dots = np.minimum(np.maximum(dots, 0), 1) * np.minimum(np.maximum(there, 0), 1)
    flecks: FloatArray = (dots * ((0.45 + 0.55 * third) * dark)).sum(axis=0)
    return flecks


def _around(points: FloatArray) -> FloatArray:
    """The way around the head, dm, of canonical points [P, 3]: with their height, a chart of the skin [P]."""
    way: FloatArray = np.arctan2(points[:, 0], points[:, 2] + np.float32(0.7)) * np.float32(_CHART_DM)
    return way


def _pigment(color: FloatArray, points: FloatArray, shot: Shot) -> None:
    """Paints freckles, age spots and moles into reflectance `color` [3, P]."""
    look, shift, up, gap = shot.look, float(shot.look.phases[0]), points[:, 1], shot.spacing
    if look.freckles > 0.02:
        near = np.flatnonzero((up < 0.2) & (up > -0.72) & (points[:, 2] > -0.35))
        p = _rows(points, near)
        u, v = _around(p) + 3 * shift, p[:, 1] + shift
        amount = np.minimum(1.2 * spot(p, 0.28, -0.25, 0.24, 0.16) + spot(p, 0.0, -0.20, 0.16, 0.2), 1)
        share = 0.30 + 0.55 * look.freckles
        kinds = (0.030, 0.4, share, 1.0), (0.040, 1.3, share, 1.0), (0.062, 2.2, 0.5 * share, 1.0)
        dark = _flecks(u, v, kinds, gap)
        strength = min(1.0, 0.35 + 0.9 * look.freckles)
        _darken(color, near, (np.minimum(dark, 1) * np.minimum(amount * 1.4, 1) + 0.10 * amount) * strength, _MELANIN)
    if look.age_spots > 0.02:
        near = np.flatnonzero((points[:, 2] > -0.7) & (up > -0.7))
        p = _rows(points, near)
        u, v = _around(p) + shift, p[:, 1] + 2 * shift
        edge = np.minimum(0.2 + spot(p, 0.55, 0.1, 0.2, 0.5) + spot(p, 0.0, 0.65, 0.5, 0.2), 1)
        dark = _flecks(u, v, ((0.16, 0.6, 0.4, 0.7), (0.08, 1.7, 0.3, 0.5)), gap)
        _darken(color, near, dark * edge * look.age_spots, _MELANIN)
    for x, y, radius, depth in look.moles.tolist():
        if (abs(abs(x) - 0.29) < 0.2 and abs(y) < 0.12) or (abs(x) < 0.28 and abs(y + 0.67) < 0.15):
            continue  # not on eyes or lips
        near = np.flatnonzero((np.abs(points[:, 0] - x) < 0.05) & (np.abs(up - y) < 0.05) & (points[:, 2] > -0.4))
        away = np.sqrt((points[near, 0] - x) ** 2 + (up[near] - y) ** 2)
        soft = np.minimum(np.maximum((radius - away) / (0.5 * radius + 0.5 * gap) + 0.5, 0), 1) * depth
        _darken(color, near, soft, _MOLE)


def paint(points: FloatArray, masks: dict[str, FloatArray], tint: FloatArray, shot: Shot) -> FloatArray:
    """The reflectance [3, P] of skin samples at canonical `points` [P, 3].

    `masks` [P] name the regions of `HEAD_VALUES`, `tint` [3, P] comes from the vertices' complexion.
    """
    look = shot.look
    color = tint * look.skin[:, None]  # [3, P]: channels apart are several times faster
    _pigment(color, points, shot)
    lips = np.flatnonzero(masks["lips"] > 0.01)
    if len(lips):
        _cover(color, lips, _lips(points[lips], shot), smooth_step(masks["lips"][lips], 0.0, 0.85) * np.float32(0.92))
    inside = np.flatnonzero(masks["mouth_inside"] > 0.01)
    if len(inside):  # dark and warm, with a wet line where the lips meet
        share = masks["mouth_inside"][inside]
        _cover(color, inside, _MOUTH, share)
        _darken(color, inside, smooth_step(points[inside, 2], 0.27, 0.12) * smooth_step(share, 0.0, 0.6), _DEPTH)
    lids = np.flatnonzero(masks["eyelids"] > 0.02)
    if len(lids):
        lid = masks["eyelids"][lids]
        shut = _shut(points[lids], shot)
        liner = np.where(points[lids, 1] > -0.018, 0.50 + 0.45 * look.eye_liner, 0.12 + 0.4 * look.eye_liner)
        liner += (0.93 - liner) * shut * shut  # closed, the lashes lie over both rims
        _darken(color, lids, lid, _LID)
        _darken(color, lids, smooth_step(lid, 0.86, 0.99) * liner, np.ones(3, dtype=np.float32))
    painted = facial_hair.paint(color.T, points, masks, shot)
    return hair.paint_scalp(painted, points, masks, shot).T


def _shut(points: FloatArray, shot: Shot) -> FloatArray:
    """How far the eye on the same side as each of the points [n, 3] is closed, 0–1 [n]."""
    wink = np.maximum(np.sign(points[:, 0]) * np.float32(shot.row["wink"]), 0)
    shut: FloatArray = np.minimum(wink + np.float32(shot.row["eyes_closed"]), 1)
    return shut


def _lips(points: FloatArray, shot: Shot) -> FloatArray:
    """The reflectance [3, n] of lips, with fine lines up and down where the picture resolves them."""
    x, y = points[:, 0], points[:, 1]
    seen = min(max(0.016 / shot.spacing - 0.7, 0.0), 1.0)
    tone = 1 - 0.10 * smooth_step(y, -0.655, -0.60)  # the upper lip is a little darker
    if seen:
        bend = x * (1 + 0.8 * (y + 0.66)) + np.float32(0.004) * np.sin(y * 90)
        tone = tone - seen * 0.11 * (np.sin(bend * 330) * np.sin(bend * 173 + 1) + 0.3)
    colored: FloatArray = shot.look.lips[:, None] * tone
    return colored


def _tilt(normals: FloatArray, slopes: tuple[FloatArray, FloatArray], rotation: FloatArray) -> FloatArray:
    """Normals [n, 3] of a surface raised by a height with these slopes (each [n]) along the head's x and y axes."""
    slope = slopes[0] * rotation[:, :1] + slopes[1] * rotation[:, 1:2]  # [3, n] in the camera's axes
    along = (slope * normals.T).sum(axis=0)
    return unit((normals.T * (1 + along) - slope).T)


def _grain(normals: FloatArray, points: FloatArray, spacing: float) -> FloatArray:
    """Pores: normals shaken cell by cell of a fine grid, as far as the samples are dense enough to show it."""
    seen = min(max(0.022 / spacing - 1.4, 0.0), 1.0)
    if not seen:
        return normals
    shaken, around = normals.copy(order="F"), _around(points)
    slanted = points[:, 1] + np.float32(0.4) * around
    for size, amount in ((0.017, 0.05), (0.040, 0.035)):
        u, v = np.floor(around * np.float32(1 / size)), np.floor(slanted * np.float32(1 / size))
        shaken[:, 0] += (cell_noise(u, v) - np.float32(0.5)) * np.float32(amount * seen)
        shaken[:, 1] += (cell_noise(u + 31, v) - np.float32(0.5)) * np.float32(amount * seen)
    return shaken  # longer or shorter by a thousandth only


def _lit(shot: Shot, normals: FloatArray, exposed: FloatArray, folds: IntArray, bent: FloatArray) -> FloatArray:
    """Matte light [3, P] on skin whose normals are `bent` [n, 3] at samples `folds` [n]."""
    light: FloatArray = (shot.light.diffuse(normals, exposed, SKIN_WRAP) + shot.light.ambient(normals, exposed)).T
    if len(folds):  # light that is scattered inside softens the folds, most of all red light
        seen = _rows(exposed, folds)
        hard = shot.light.diffuse(bent, seen, SKIN_WRAP) + shot.light.ambient(bent, seen)
        for smooth, sharp, share in zip(light, hard.T, (0.65, 0.9, 1.0), strict=True):
            below = smooth.take(folds)
            smooth[folds] = below + (sharp - below) * np.float32(share)
    return light


def shade(shot: Shot, seen: Surface, normals: FloatArray, part: str) -> FloatArray:
    """Skin under the picture's light."""
    mixed = seen.interpolate(_complexion(shot.look), first=shot.first["head"])
    values = np.ascontiguousarray(mixed.T)  # [C, P]: sums run several times faster along the samples
    points, masks = values[:3].T, {name: values[k] for k, name in enumerate(HEAD_VALUES) if k > 2}
    tint, oil = values[-4:-1], values[-1]
    exposed, lips = shot.exposed(seen), masks["lips"]
    color = paint(points, masks, tint, shot)
    inside = np.flatnonzero(masks["mouth_inside"] > 0)
    _darken(exposed.T, inside, masks["mouth_inside"][inside], np.full(3, 0.75))
    if shot.row["eyes_closed"] > 0 or shot.row["wink"] != 0:  # what an open eye folds away comes to light
        near = np.flatnonzero((np.abs(points[:, 1] - 0.04) < 0.12) & (points[:, 2] > -0.2))
        at = _rows(points, near)
        bared = 0.7 * _shut(at, shot) * np.minimum(1.5 * spot(at, 0.287, 0.045, 0.13, 0.055), 1)
        _cover(exposed.T, near, np.ones(3, dtype=np.float32), bared)

    folds, slopes, groove = relief(points, shot.row, shot.look.phases, shot.spacing)
    bent = _tilt(_rows(normals, folds), slopes, shot.head_rotation.astype(np.float32))
    _darken(color, folds, groove, _CREASE)
    lit = _lit(shot, normals, exposed, folds, bent)
    lit *= color

    rough = normals
    if len(folds):
        rough = normals.copy(order="F")
        for channel, turned in zip(rough.T, bent.T, strict=True):
            channel[folds] = turned
    rough = _grain(rough, points, shot.spacing)
    # two lobes: a broad sheen, and oil where skin is oily; lips are wet
    shine = shot.light.highlight(rough, 9.0) * (np.float32(0.022) + np.float32(0.03) * lips)
    shine += shot.light.highlight(rough, 52.0) * (np.float32(0.095) * oil + np.float32(0.12) * lips)
    shine *= shot.light.shadow(exposed[:, 0])
    rim = 1 - np.minimum(np.maximum(rough[:, 2], 0), 1)
    rim *= rim * rim * exposed[:, 1] * (np.float32(0.05) + np.float32(0.05) * rough[:, 1])  # the sky is above
    lit += shine * shot.light.key_color[:, None]
    lit += rim * shot.light.sky_color[:, None]
    return lit.T
