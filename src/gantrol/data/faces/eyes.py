"""Eyes, lashes, teeth and tongue.

An eye is a sphere with a cornea: a smaller sphere let into its front, through which the iris is seen. Refraction at the
cornea is a shift of the iris against the viewer (parallax); what the cornea mirrors is the key light's window.
Directions are in the head's own axes unless said otherwise; lengths on the eye are in its radius. There are few samples
of eyes and mouth, so what counts is the number of steps: vectors and colours are [3, P], turned by one product.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces import facial_hair
from gantrol.data.faces.head import FloatArray, IntArray, load_head
from gantrol.data.faces.palette import Palette
from gantrol.data.faces.pose import gaze_direction
from gantrol.data.faces.raster import Surface
from gantrol.data.faces.scene import canonical, head_piece, unit
from gantrol.data.faces.shot import Shot, smooth_step

IRIS = 0.405
"""Radius of the iris (sine of its half angle): 11.7 mm across where the lids' opening is 29 mm wide."""

PUPIL_SHARE = 0.36
"""Radius of the pupil in that of the iris."""

_EYE_DM = 0.153
_CORNEA = 1.55  # how much stronger the cornea is curved than the eyeball
_CHAMBER = 0.20  # depth of the iris below the cornea's top
_PUPIL = np.full((3, 1), 0.005, dtype=np.float32)
_FLESH = np.array([0.50, 0.20, 0.18], dtype=np.float32)
_ENAMEL = np.array([[0.66], [0.60], [0.49]], dtype=np.float32)
_GUM = np.array([[0.42], [0.15], [0.14]], dtype=np.float32)
_TONGUE = np.array([[0.40], [0.13], [0.12]], dtype=np.float32)
_PINK = np.array([[0.18], [0.62], [0.60]], dtype=np.float32)  # what small vessels take from the sclera
_STAIN = np.array([[0.72], [0.82], [0.86]], dtype=np.float32)  # what the gap between two teeth takes
_BULGE = math.sqrt(1 - (1.12 * IRIS) ** 2), math.sqrt(1 - (0.8 * IRIS) ** 2)  # where the cornea begins and is complete
_FRONT_WINDOW = np.array([-0.20, 0.42, 0.88], dtype=np.float32)  # what eyes mirror besides the key light


@functools.cache
def _lid_rims() -> dict[str, tuple[IntArray, IntArray]]:
    """For each eye the vertices along the rims of the upper and of the lower lid, by rising x."""
    p, head = canonical(), load_head()
    skin = np.unique(head.part_triangles("skin"))
    rims = {}
    for name, joint in (("eye_left", "l-eye"), ("eye_right", "r-eye")):
        away = p[skin] - p[head.joints[joint]]
        radius = np.sqrt((away * away).sum(axis=1))
        rim = skin[(radius > 0.157) & (radius < 0.177) & (away[:, 2] > 0.05) & (head.masks["eyelids"][skin] > 0.85)]
        place = p[rim] - p[head.joints[joint]]
        bins = np.round(place[:, 0] / 0.026).astype(int)
        upper, lower = [], []
        for b in np.unique(bins):
            above, below = rim[(bins == b) & (place[:, 1] > -0.016)], rim[(bins == b) & (place[:, 1] <= -0.016)]
            if len(above) and len(below):
                upper.append(int(above[p[above, 1].argmin()]))
                lower.append(int(below[p[below, 1].argmax()]))
        rims[name] = np.array(upper), np.array(lower)
    return rims


def _rim_height(x: FloatArray, rim: FloatArray) -> FloatArray:
    """The height of a lid's rim [k, 3] at `x` [P], both around the eye's centre: [P]."""
    order = np.argsort(rim[:, 0], kind="stable")
    height: FloatArray = np.interp(x, rim[order, 0], rim[order, 1]).astype(np.float32)
    return height


def _from_lids(shot: Shot, offset: FloatArray, is_left: NDArray[np.bool_], centers: FloatArray) -> FloatArray:
    """How far samples at `offset` [3, P] from the eye's centre lie below the upper and above the lower lid: [2, P]."""
    away = np.empty_like(offset[:2])
    for name, center, mine in zip(("eye_right", "eye_left"), centers, (~is_left, is_left), strict=True):
        chosen = np.flatnonzero(mine)
        if len(chosen):
            x, y = offset[0, chosen], offset[1, chosen]
            upper, lower = (shot.aligned.take(rim, axis=0) - center for rim in _lid_rims()[name])
            away[0, chosen] = _rim_height(x, upper) - y
            away[1, chosen] = y - _rim_height(x, lower)
    return away


def _turned(rotation: FloatArray, ways: FloatArray) -> FloatArray:
    """Vectors [3, P] turned by a matrix, or their products with each of its k rows: [k, P]."""
    turned: FloatArray = np.einsum("kc,cp->kp", rotation, ways)
    return turned


def _over(below: FloatArray, paint: FloatArray, share: FloatArray) -> FloatArray:
    """Colours ([3, 1] or [3, P]) with `paint` over them, as far as `share` [P] says: [3, P]."""
    mixed: FloatArray = below + (paint - below) * share
    return mixed


def _iris(place: FloatArray, glow: FloatArray, look: Palette, fine: float) -> FloatArray:
    """The reflectance [3, n] of iris and pupil at `place` [3, n] on the iris' plane, in iris radii.

    `glow` [3] is where the light comes from: what falls through the cornea gathers on the far side. `fine` 0–1 is how
    much of the fibres the picture resolves.
    """
    radius = np.sqrt((place * place).sum(axis=0))
    turn, p = np.arctan2(place[1], place[0]), look.phases
    ridge = 0.50 + 0.05 * np.sin(turn * 7 + p[4])
    from_ridge = radius - ridge
    color = _over(look.iris[:, None], look.iris_core[:, None], smooth_step(from_ridge, 0.12, -0.10) * 0.65)
    light = 1 + 0.30 * np.exp(from_ridge * from_ridge * -100.0)
    if fine:
        warp = np.float32(1.5) * np.sin(turn * 3 + p[0]) + radius
        fibres = np.sin(turn * 23 + warp * 2 + p[1]) * 0.45 + np.sin(turn * 41 - warp * 3 + p[2]) * 0.35
        light += (fine * 0.30) * (fibres + np.sin(turn * 11 + p[3]) * 0.4) * smooth_step(radius, 0.3, 0.55)
    light *= np.minimum(np.maximum(1.05 - 0.75 * _turned(glow[None], place)[0], 0.45), 1.9)
    light *= 1 - 0.25 * smooth_step(radius, 0.55, 0.95)
    color *= light
    soft = 0.05 + 0.10 * (1 - fine)
    limbal = 0.8 * smooth_step(radius, 0.80, 1.0)  # the dark ring around it
    color = _over(color, look.iris[:, None] * np.float32(0.25), limbal)
    return _over(color, _PUPIL, smooth_step(radius, PUPIL_SHARE + soft, PUPIL_SHARE - soft))


def paint_eye(local: FloatArray, gaze: FloatArray, viewer: FloatArray, glow: FloatArray, look: Palette,
              spacing: float) -> FloatArray:  # fmt: skip
    """The reflectance [P, 3] of an eyeball: sclera, and the iris as the cornea shows it.

    `local` [P, 3] are unit directions from the eye's centre; `gaze`, `viewer` and `glow` unit vectors [3] to where the
    eye looks, to the camera and to the light; `spacing` is the samples' distance in dm.
    """
    local = local.T
    along = _turned(gaze[None], local)[0]
    flat = local - along * gaze[:, None]
    off = np.sqrt((flat * flat).sum(axis=0)) / np.float32(IRIS)
    aside = np.abs(local[0] - np.float32(0.6) * gaze[0])
    pink = smooth_step(aside, 0.30, 0.85) * 0.35 + smooth_step(np.abs(local[1]), 0.15, 0.6) * 0.15
    color = look.sclera[:, None] * (1 - pink * _PINK)
    near = np.flatnonzero((off < 1.15) & (along > 0))
    if len(near):
        ahead, lit = float((viewer * gaze).sum()), float((glow * gaze).sum())
        aslant = (viewer - ahead * gaze) * (0.75 / max(ahead, 0.25))  # 0.75 = 1 / the index of water
        off = off[near]
        depth = np.maximum(1 - off * off, 0) * _CHAMBER
        place = (flat.take(near, axis=1) - depth * aslant[:, None]) * np.float32(1 / IRIS)
        fine = min(max(_EYE_DM * 0.06 / spacing - 0.35, 0.0), 1.0)
        edge = 0.06 + 0.4 * spacing / _EYE_DM
        painted = _iris(place, glow - lit * gaze, look, fine)
        color[:, near] = _over(color.take(near, axis=1), painted, smooth_step(off, 1 + edge, 1 - edge))
    return color.T


def _window(mirrored: FloatArray, toward: FloatArray, size: float, blur: float) -> FloatArray:
    """How much of a square window at unit direction `toward` [3] (camera axes) each mirrored ray [3, P] meets: [P]."""
    x, y, z = toward.tolist()
    level = max(math.hypot(x, z), 1e-3)
    axes = [[z / level, 0, -x / level], [-x * y / level, level, -z * y / level], [x, y, z]]  # right, up, towards it
    off = _turned(np.array(axes, dtype=np.float32), mirrored)
    across, upright = smooth_step(np.abs(off[:2]), size + blur, size - blur)
    seen: FloatArray = across * upright * (off[2] > 0)
    return seen


def shade_eyes(shot: Shot, seen: Surface, normals: FloatArray, part: str) -> FloatArray:
    """Both eyeballs between their lids, wet, with the key light's window in the cornea."""
    place = seen.interpolate(shot.aligned[shot.slice("head")], first=shot.first["head"]).T
    joints = load_head().joints
    centers = shot.aligned[[joints["r-eye"], joints["l-eye"]]]
    is_left = place[0] > (centers[0, 0] + centers[1, 0]) / 2  # the person's left eye, at the image's right
    offset = np.where(is_left, centers[1][:, None], centers[0][:, None])
    offset = np.subtract(place, offset, out=offset)
    local = unit(offset.T).T
    rotation = shot.head_rotation.astype(np.float32)
    gaze, viewer = gaze_direction(shot.row), rotation[2]
    key = _turned(rotation.T, shot.light.key[:, None])[:, 0]
    color = paint_eye(local.T, gaze, viewer, key, shot.look, shot.spacing).T

    below_upper, above_lower = _from_lids(shot, offset, is_left, centers)
    inner = np.where(is_left, -local[0], local[0])
    flesh = smooth_step(inner, 0.52, 0.72) * smooth_step(below_upper + above_lower, 0.055, 0.025)
    color = _over(color, (_FLESH * shot.look.sclera / 0.55)[:, None], flesh * 0.85)
    tear = smooth_step(above_lower, 0.014 + 0.5 * shot.spacing, 0.0)
    color = _over(color, _FLESH[:, None] * 1.15, tear * 0.5)
    shadow = 1 - 0.68 * smooth_step(below_upper, 0.045, -0.004)
    shadow *= 1 - 0.22 * smooth_step(above_lower, 0.02, 0.0)
    shadow *= 1 - 0.30 * smooth_step(np.abs(inner), 0.55, 0.95)

    along = _turned(gaze[None], local)
    bulge = smooth_step(along[0], *_BULGE)
    ahead = gaze[:, None] * along
    curved = ahead + (local - ahead) * (1 + (_CORNEA - 1) * bulge)
    ball, cornea = _turned(rotation, local), _turned(rotation, unit(curved.T).T)

    exposed = np.minimum(shot.exposed(seen) * 1.3 + 0.08, 1)
    soft = (shot.light.diffuse(ball.T, exposed, np.float32(0.5)) * 0.75 + shot.light.ambient(ball.T, exposed)).T
    facing = cornea[2]
    mirrored = 2 * facing * cornea
    mirrored[2] -= 1
    turn = 2 * shot.spacing * _CORNEA / _EYE_DM  # radians that the mirrored ray turns from sample to sample
    window = min(0.07 + 0.55 * shot.light.width, 0.34)  # of the key light, as large as it looks
    size = window + 0.25 * turn
    blur = 0.25 * window + 0.45 * turn
    wet = 0.30 + 0.70 * bulge
    strength = 2.0 * max((window / size) ** 2, 0.3)
    glint = _window(mirrored, shot.light.key, size, blur) * (strength * (0.3 + 0.7 * exposed[:, 0]))
    front = _FRONT_WINDOW if shot.light.key[0] >= 0 else _FRONT_WINDOW * np.array([-1, 1, 1], dtype=np.float32)
    fill = 0.40 * _window(mirrored, front, 0.20 + 0.2 * turn, 0.10 + 0.4 * turn)
    fresnel = 0.03 + 0.5 * (1 - np.minimum(np.maximum(facing, 0), 1)) ** 4
    sky = fresnel * (0.5 + 0.5 * np.minimum(np.maximum(mirrored[1], -1), 1)) * exposed[:, 1]
    to_key = np.maximum(_turned(shot.light.key[None], ball)[0], 0)
    gleam = 0.5 * tear * exposed[:, 0] * to_key * (1 - flesh * 0.5)
    lit = color * (soft * shadow)
    lit += ((glint * wet + 0.35 * gleam) * (0.4 + 0.6 * shadow)) * shot.light.key_color[:, None]
    lit += ((fill * wet + sky) * shadow) * shot.light.sky_color[:, None]
    if below_upper.min() < -0.008:  # a bulge that pokes through the lid is painted as lid
        lid = (shot.look.skin * np.array([0.92, 0.84, 0.86], dtype=np.float32))[:, None] * soft
        lit = _over(lit, lid, smooth_step(below_upper, -0.008, -0.024))
    return lit.T


# y of the gums' edges and of the biting edges, and along the arch the gaps between teeth, from the middle (dm)
_UPPER_GUM, _LOWER_GUM, _BITE = -0.535, -0.755, -0.657
_UPPER_GAPS = np.array([0.0, 0.084, 0.151, 0.225, 0.295, 0.365, 0.46, 0.60], dtype=np.float32)
_LOWER_GAPS = np.array([0.0, 0.054, 0.112, 0.180, 0.250, 0.322, 0.43, 0.60], dtype=np.float32)
_ARCH = np.array(
    [[0.0, 0.299, 0.656, 0.987, 1.335, 1.68, 2.2], [0.0, 0.073, 0.160, 0.238, 0.315, 0.398, 0.53]]
)  # angle around the arch -> place
_ARCH_TURN = np.array([[0.0, 0.073, 0.16, 0.238, 0.40], [0.0, 0.15, 0.60, 0.95, 1.25]])  # place -> where it faces


def _paint_teeth(points: FloatArray, spacing: float) -> tuple[FloatArray, FloatArray]:
    """The reflectance [3, P] of teeth and gums at canonical points [3, P], and their unit normals [3, P]."""
    x, y, z = points
    place = np.interp(np.arctan2(np.abs(x), z + np.float32(0.10)), *_ARCH).astype(np.float32)
    turn = np.interp(place, *_ARCH_TURN).astype(np.float32)
    color, outward = np.empty_like(points), np.empty_like(points)
    wide = 0.006 + 0.5 * spacing
    for chosen, gaps, gum, sign in ((y > _BITE, _UPPER_GAPS, _UPPER_GUM, 1), (y <= _BITE, _LOWER_GAPS, _LOWER_GUM, -1)):
        where = np.flatnonzero(chosen)
        if not len(where):
            continue
        at = place[where]
        tooth = np.minimum(np.maximum(np.searchsorted(gaps, at, side="right") - 1, 0), len(gaps) - 2)
        left, right = gaps.take(tooth), gaps.take(tooth + 1)
        across = (at - left) / (right - left) * 2 - 1
        aside = np.abs(across)
        height = (y[where] - np.float32(_BITE)) * sign  # above the biting edge
        crown = abs(gum - _BITE)
        to_gap = (1 - aside) * (right - left) / 2
        gap = 0.75 * min(0.006 / wide, 1) * smooth_step(to_gap, wide, 0.0)
        corner = 0.022 * aside**4 + 0.004 * (tooth % 2).astype(np.float32)  # rounded edges leave dark notches
        notch = smooth_step(corner - height, -0.3 * spacing - 0.004, 0.3 * spacing + 0.004)
        gap = np.maximum(gap, 0.85 * notch)
        into_gum = height - crown + 0.022 * across * across
        gums = smooth_step(into_gum, -0.006 - 0.4 * spacing, 0.006 + 0.4 * spacing)
        tone = 1 - 0.04 * (tooth == 2).astype(np.float32) - 0.05 * smooth_step(height, 0.3 * crown, crown)
        color[:, where] = _over(_ENAMEL * tone * (1 - gap * _STAIN), _GUM, gums)
        lean = turn[where] + 0.45 * across * aside  # each tooth is round
        out = np.sin(lean) * np.sign(x[where]), sign * (0.9 * height / crown - 0.45), np.cos(lean)
        outward[:, where] = out
    return color, unit(outward.T).T


@functools.cache
def _mouth_corners() -> IntArray:
    """The vertices [2] at the outer ends of the lips, on the image's right and left."""
    lips = np.flatnonzero(load_head().masks["lips"] > 0.9)
    x = canonical()[lips, 0]
    return lips[[int(x.argmax()), int(x.argmin())]]


@functools.cache
def _lip_edges() -> IntArray:
    """The vertices [2] where the lips meet in the middle, on the upper and on the lower lip."""
    lips = np.flatnonzero(load_head().masks["lips"] > 0.5)
    away = [
        ((canonical()[lips] - np.array(place)) ** 2).sum(axis=1) for place in ((0, -0.655, 0.286), (0, -0.672, 0.294))
    ]
    return lips[[int(distance.argmin()) for distance in away]]


def shade_mouth(shot: Shot, seen: Surface, normals: FloatArray, part: str) -> FloatArray:
    """Teeth and tongue: wet, and darker farther in."""
    head = shot.slice("head")
    points, place = shot.values(seen, "head").T[:3], seen.interpolate(shot.aligned[head], first=head.start).T
    exposed = np.ones_like(normals)
    if part == "teeth":
        color, outward = _paint_teeth(points, shot.spacing)
        normals = _turned(shot.head_rotation.astype(np.float32), outward).T
        dim = 0.12 + 0.74 * smooth_step(points[2], -0.16, 0.13)
        gloss = 0.10
    else:
        x, _, z = points
        tone = 1 - 0.35 * np.exp(-((x / 0.025) ** 2))
        bumps = 0.03 * min(max(0.02 / shot.spacing - 1, 0.0), 1.0)
        if bumps:
            tone += bumps * np.sin(x * 210) * np.sin(z * 190)
        color = _TONGUE * tone
        dim = 0.06 + 0.50 * smooth_step(z, -0.22, 0.16)
        gloss = 0.07
    corner = shot.aligned[_mouth_corners(), 0]
    aside = np.abs(place[0]) / max(float(corner[0] - corner[1]) / 2, 1e-3)
    dim *= 1 - 0.92 * smooth_step(aside, 0.60, 0.98)  # little light comes in past the mouth's corners
    upper, lower = shot.aligned[_lip_edges(), 1].tolist()
    dim *= 0.2 + 0.8 * min(max((upper - lower - 0.02) / 0.10, 0.0), 1.0)  # nor through lips that hardly part
    soft = (shot.light.diffuse(normals, exposed, np.float32(0.5)) * 0.7 + shot.light.ambient(normals, exposed)).T
    lit: FloatArray = color * soft * dim
    lit[1] *= 0.6 + 0.4 * dim
    lit[2] *= 0.55 + 0.45 * dim
    lit += shot.light.highlight(normals, 40.0) * (gloss * dim) * shot.light.key_color[:, None]
    return lit.T


@functools.cache
def _lash_places() -> FloatArray:
    """For every vertex of the head [V, 2]: how far out along a lash it lies (0 root, 1 tip), where along the lid."""
    p, piece = canonical(), head_piece()
    side = np.abs(p[:, 0])
    away = np.sqrt((side - 0.287) ** 2 + p[:, 1] ** 2 + p[:, 2] ** 2)
    places = np.zeros((len(piece.points), 2), dtype=np.float32)
    along = np.clip((side - 0.17) / 0.27, 0, 1)
    places[:, 0] = (away - 0.160) / np.interp(along, [0, 0.4, 1], [0.034, 0.046, 0.062])
    places[:, 1] = np.arctan2(side - 0.287, p[:, 2])
    return places


def shade_lashes(shot: Shot, seen: Surface, normals: FloatArray, part: str) -> FloatArray:
    """Upper lashes: dark hairs that thin out over the lid behind them, which shows between them."""
    places = seen.interpolate(_lash_places(), first=shot.first["head"])
    out, along = np.minimum(np.maximum(places[:, 0], 0), 1), places[:, 1]
    thick = 0.72 + 0.30 * (1 - shot.row["gender"]) + 0.3 * shot.look.eye_liner
    shown = 0.5 * min(max(0.016 / shot.spacing - 0.8, 0.0), 1.0)
    fade = smooth_step(out, 1.0, 0.22) * (1 - 0.2 * out)
    if shown:
        hairs = np.sin(along * 140 + 3 * np.sin(along * 17) + out * 3)
        fade *= 1 + shown * hairs * smooth_step(out, 0.1, 0.5)
    cover = np.minimum(np.maximum(fade, smooth_step(out, 0.55, 0.25)) * thick, 1)
    exposed = np.minimum(shot.exposed(seen), 1)
    lid = shot.look.skin * np.array([0.62, 0.50, 0.48], dtype=np.float32)
    ahead = shot.head_rotation[:, 2:].T.astype(np.float32)  # [1, 3]: the lid faces where the head does
    light = shot.light.diffuse(ahead, exposed, np.float32(0.3)) + shot.light.ambient(ahead, exposed)
    dark = facial_hair.brow_color(shot.row) * np.float32(0.25)
    return _over(lid[:, None] * light.T, dark[:, None], cover).T
