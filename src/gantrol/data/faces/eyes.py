"""Eyes, lashes, teeth and tongue.

An eye is a sphere with a cornea: a smaller sphere let into its front, through which the iris is seen. Refraction at the
cornea is a shift of the iris against the viewer (parallax); what the cornea mirrors is the key light's window.
Directions are in the head's own axes unless said otherwise; lengths on the eye are in its radius.
"""

from __future__ import annotations

import functools

import numpy as np

from gantrol.data.faces import facial_hair
from gantrol.data.faces.head import FloatArray, IntArray, load_head
from gantrol.data.faces.light import dot
from gantrol.data.faces.palette import Palette
from gantrol.data.faces.pose import gaze_direction
from gantrol.data.faces.raster import Surface
from gantrol.data.faces.scene import canonical, head_piece, unit
from gantrol.data.faces.shot import Shot, mix, smooth_step

IRIS = 0.405
"""Radius of the iris (sine of its half angle): 11.7 mm across where the lids' opening is 29 mm wide."""

PUPIL_SHARE = 0.36
"""Radius of the pupil in that of the iris."""

_EYE_DM = 0.153
_CORNEA = 1.55  # how much stronger the cornea is curved than the eyeball
_CHAMBER = 0.20  # depth of the iris below the cornea's top
_PUPIL = np.full(3, 0.005, dtype=np.float32)
_FLESH = np.array([0.50, 0.20, 0.18], dtype=np.float32)
_ENAMEL = np.array([0.66, 0.60, 0.49], dtype=np.float32)
_GUM = np.array([0.42, 0.15, 0.14], dtype=np.float32)
_TONGUE = np.array([0.40, 0.13, 0.12], dtype=np.float32)
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


def _rim_height(local: FloatArray, rim: FloatArray) -> FloatArray:
    """The height of a lid's rim [k, 3] above eye samples at `local` [P, 3], both around the eye's centre: [P]."""
    order = np.argsort(rim[:, 0], kind="stable")
    height: FloatArray = np.interp(local[:, 0], rim[order, 0], rim[order, 1]).astype(np.float32)
    return height


def _iris(place: FloatArray, glow: FloatArray, look: Palette, fine: float) -> FloatArray:
    """The reflectance [n, 3] of iris and pupil at `place` [n, 3] on the iris' plane, in iris radii.

    `glow` [3] is where the light comes from: what falls through the cornea gathers on the far side. `fine` 0–1 is how
    much of the fibres the picture resolves.
    """
    radius = np.sqrt((place * place).sum(axis=1))
    turn, p = np.arctan2(place[:, 1], place[:, 0]), look.phases
    warp = np.float32(1.5) * np.sin(turn * 3 + p[0]) + radius
    fibres = np.sin(turn * 23 + warp * 2 + p[1]) * 0.45 + np.sin(turn * 41 - warp * 3 + p[2]) * 0.35
    fibres = fibres + np.sin(turn * 11 + p[3]) * 0.4
    ridge = 0.50 + 0.05 * np.sin(turn * 7 + p[4])
    core = smooth_step(radius - ridge, 0.12, -0.10)
    color = mix(look.iris, look.iris_core, core * 0.65)
    light = 1 + fine * 0.30 * fibres * smooth_step(radius, 0.3, 0.55) + 0.30 * np.exp(-(((radius - ridge) / 0.10) ** 2))
    light *= np.clip(1.05 - 0.75 * dot(place, glow), 0.45, 1.9)
    light *= 1 - 0.25 * smooth_step(radius, 0.55, 0.95)
    color *= light[:, None]
    soft = 0.05 + 0.10 * (1 - fine)
    color = mix(color, look.iris * np.float32(0.25), 0.8 * smooth_step(radius, 0.80, 1.0))  # the limbal ring
    return mix(color, _PUPIL, smooth_step(radius, PUPIL_SHARE + soft, PUPIL_SHARE - soft))


def paint_eye(local: FloatArray, gaze: FloatArray, viewer: FloatArray, glow: FloatArray, look: Palette,
              spacing: float) -> FloatArray:  # fmt: skip
    """The reflectance [P, 3] of an eyeball: sclera, and the iris as the cornea shows it.

    `local` [P, 3] are unit directions from the eye's centre; `gaze`, `viewer` and `glow` unit vectors [3] to where the
    eye looks, to the camera and to the light; `spacing` is the samples' distance in dm.
    """
    along = dot(local, gaze)
    flat = local - along[:, None] * gaze
    off = np.sqrt((flat * flat).sum(axis=1))
    color = np.broadcast_to(look.sclera, local.shape).copy()
    aside = np.abs(local[:, 0] - np.float32(0.6) * gaze[0])
    pink = smooth_step(aside, 0.30, 0.85) * 0.35 + smooth_step(np.abs(local[:, 1]), 0.15, 0.6) * 0.15
    color *= 1 - pink[:, None] * np.array([0.18, 0.62, 0.60], dtype=np.float32)
    near = np.flatnonzero((off < 1.15 * IRIS) & (along > 0))
    if len(near):
        cosine = max(float((viewer * gaze).sum()), 0.25)
        aslant = (viewer - (viewer * gaze).sum() * gaze) * np.float32(0.75 / cosine)  # 0.75 = 1 / the index of water
        depth = _CHAMBER * np.clip(1 - (off[near] / IRIS) ** 2, 0, 1)
        place = (flat[near] - depth[:, None] * aslant) / np.float32(IRIS)
        fine = float(np.clip(_EYE_DM * 0.06 / spacing - 0.35, 0, 1))
        flat_glow = glow - (glow * gaze).sum() * gaze
        edge = 0.06 + 0.4 * spacing / _EYE_DM
        share = smooth_step(off[near] / IRIS, 1 + edge, 1 - edge)
        color[near] = mix(color[near], _iris(place, flat_glow, look, fine), share)
    return color


def _window(mirrored: FloatArray, toward: FloatArray, size: float, blur: float) -> FloatArray:
    """How much of a square window at unit direction `toward` [3] (camera axes) each mirrored ray [P, 3] meets: [P]."""
    x, y, z = (float(part) for part in toward)
    level = max(float(np.hypot(x, z)), 1e-3)
    right = np.array([z / level, 0, -x / level], dtype=np.float32)
    up = np.array([-x * y / level, level, -z * y / level], dtype=np.float32)
    off = np.stack([dot(mirrored, right), dot(mirrored, up)])
    seen: FloatArray = smooth_step(np.abs(off), size + blur, size - blur).prod(axis=0)
    return seen * (dot(mirrored, toward) > 0)


def shade_eyes(shot: Shot, seen: Surface, normals: FloatArray, part: str) -> FloatArray:
    """Both eyeballs between their lids, wet, with the key light's window in the cornea."""
    place = seen.interpolate(shot.aligned)
    joints = load_head().joints
    centers = shot.aligned[[joints["r-eye"], joints["l-eye"]]]
    is_left = place[:, 0] > centers[:, 0].mean()  # the person's left eye, at the image's right
    offset = place - centers[is_left.astype(np.intp)]
    local = unit(offset)
    rotation = shot.head_rotation.astype(np.float32)
    gaze, viewer = gaze_direction(shot.row), rotation[2]
    key = np.einsum("ij,i->j", rotation, shot.light.key)
    color = paint_eye(local, gaze, viewer, key, shot.look, shot.spacing)

    below_upper, above_lower = np.empty_like(local[:, 0]), np.empty_like(local[:, 0])
    for name, center, mine in zip(("eye_right", "eye_left"), centers, (~is_left, is_left), strict=True):
        chosen = np.flatnonzero(mine)
        upper, lower = (shot.aligned[rim] - center for rim in _lid_rims()[name])
        below_upper[chosen] = _rim_height(offset[chosen], upper) - offset[chosen, 1]
        above_lower[chosen] = offset[chosen, 1] - _rim_height(offset[chosen], lower)
    inner = local[:, 0] * np.where(is_left, np.float32(-1), np.float32(1))
    flesh = smooth_step(inner, 0.52, 0.72) * smooth_step(below_upper + above_lower, 0.055, 0.025)
    color = mix(color, _FLESH * shot.look.sclera / 0.55, flesh * 0.85)
    tear = smooth_step(above_lower, 0.014 + 0.5 * shot.spacing, 0.0)
    color = mix(color, _FLESH * 1.15, tear * 0.5)
    shadow = 1 - 0.68 * smooth_step(below_upper, 0.045, -0.004)
    shadow *= 1 - 0.22 * smooth_step(above_lower, 0.02, 0.0)
    shadow *= 1 - 0.30 * smooth_step(np.abs(local[:, 0]), 0.55, 0.95)

    along = dot(local, gaze)
    bulge = smooth_step(along, np.sqrt(1 - (1.12 * IRIS) ** 2), np.sqrt(1 - (0.8 * IRIS) ** 2))
    curved = gaze * along[:, None] + (local - gaze * along[:, None]) * (1 + (_CORNEA - 1) * bulge)[:, None]
    ball, cornea = (np.stack([dot(way, row) for row in rotation], axis=1) for way in (local, unit(curved)))

    exposed = np.minimum(shot.exposed(seen) * 1.3 + 0.08, 1)
    soft = shot.light.diffuse(ball, exposed, np.float32(0.5)) * 0.75 + shot.light.ambient(ball, exposed)
    facing = cornea[:, 2]
    mirrored = 2 * facing[:, None] * cornea
    mirrored[:, 2] -= 1
    turn = 2 * shot.spacing * _CORNEA / _EYE_DM  # radians that the mirrored ray turns from sample to sample
    window = min(0.07 + 0.55 * shot.light.width, 0.34)  # of the key light, as large as it looks
    size = window + 0.25 * turn
    blur = 0.25 * window + 0.45 * turn
    wet = 0.30 + 0.70 * bulge
    glint = (
        2.0
        * max((window / size) ** 2, 0.3)
        * _window(mirrored, shot.light.key, size, blur)
        * (0.3 + 0.7 * exposed[:, 0])
    )
    front = _FRONT_WINDOW if shot.light.key[0] >= 0 else _FRONT_WINDOW * np.array([-1, 1, 1], dtype=np.float32)
    fill = 0.40 * _window(mirrored, front, 0.20 + 0.2 * turn, 0.10 + 0.4 * turn)
    fresnel = 0.03 + 0.5 * (1 - np.clip(facing, 0, 1)) ** 4
    sky = fresnel * (0.5 + 0.5 * np.clip(mirrored[:, 1], -1, 1)) * exposed[:, 1]
    gleam = 0.5 * tear * exposed[:, 0] * np.clip(dot(ball, shot.light.key), 0, 1) * (1 - flesh * 0.5)
    lit = color * soft * shadow[:, None]
    lit += ((glint * wet + 0.35 * gleam) * (0.4 + 0.6 * shadow))[:, None] * shot.light.key_color
    lit += ((fill * wet + sky) * shadow)[:, None] * shot.light.sky_color
    hidden = smooth_step(below_upper, -0.008, -0.024)  # a bulge that pokes through the lid is painted as lid
    if hidden.any():
        lid = shot.look.skin * np.array([0.92, 0.84, 0.86], dtype=np.float32) * soft
        lit += (lid - lit) * hidden[:, None]
    return lit


# y of the gums' edges and of the biting edges, and along the arch the gaps between teeth, from the middle (dm)
_UPPER_GUM, _LOWER_GUM, _BITE = -0.535, -0.755, -0.657
_UPPER_GAPS = np.array([0.0, 0.084, 0.151, 0.225, 0.295, 0.365, 0.46, 0.60])
_LOWER_GAPS = np.array([0.0, 0.054, 0.112, 0.180, 0.250, 0.322, 0.43, 0.60])
_ARCH = np.array(
    [[0.0, 0.299, 0.656, 0.987, 1.335, 1.68, 2.2], [0.0, 0.073, 0.160, 0.238, 0.315, 0.398, 0.53]]
)  # angle around the arch -> place
_ARCH_TURN = np.array([[0.0, 0.073, 0.16, 0.238, 0.40], [0.0, 0.15, 0.60, 0.95, 1.25]])  # place -> where it faces


def _paint_teeth(points: FloatArray, spacing: float) -> tuple[FloatArray, FloatArray]:
    """The reflectance [P, 3] of teeth and gums, and their unit normals [P, 3] in the head's axes."""
    side = np.abs(points[:, 0])
    place = np.interp(np.arctan2(side, points[:, 2] + 0.10), *_ARCH)
    upper = points[:, 1] > _BITE
    color, outward = np.empty_like(points), np.empty_like(points)
    turn = np.interp(place, *_ARCH_TURN)
    for chosen, gaps, gum, sign in ((upper, _UPPER_GAPS, _UPPER_GUM, 1), (~upper, _LOWER_GAPS, _LOWER_GUM, -1)):
        where = np.flatnonzero(chosen)
        tooth = np.clip(np.searchsorted(gaps, place[where], side="right") - 1, 0, len(gaps) - 2)
        left, right = gaps[tooth], gaps[tooth + 1]
        across = (place[where] - left) / (right - left) * 2 - 1
        height = (points[where, 1] - _BITE) * sign  # above the biting edge
        crown = abs(gum - _BITE)
        to_gap = (1 - np.abs(across)) * (right - left) / 2
        wide = 0.006 + 0.5 * spacing
        gap = 0.75 * np.minimum(0.006 / wide, 1) * smooth_step(to_gap, wide, 0.0)
        corner = 0.022 * np.abs(across) ** 4 + 0.004 * (tooth % 2)  # rounded edges leave dark notches
        notch = smooth_step(corner - height, -0.3 * spacing - 0.004, 0.3 * spacing + 0.004)
        gap = np.maximum(gap, 0.85 * notch)
        arch = 0.022 * across**2
        gums = smooth_step(height, crown - arch - 0.006 - 0.4 * spacing, crown - arch + 0.006 + 0.4 * spacing)
        tone = 1 - 0.04 * (tooth == 2) - 0.05 * smooth_step(height, 0.3 * crown, crown)
        enamel = _ENAMEL * tone[:, None]
        enamel = enamel * (1 - gap[:, None] * np.array([0.72, 0.82, 0.86], dtype=np.float32))
        color[where] = mix(enamel.astype(np.float32), _GUM, gums)
        lean = turn[where] + 0.45 * across * np.abs(across)  # each tooth is round
        outward[where, 0] = np.sin(lean) * np.sign(points[where, 0])
        outward[where, 1] = sign * (0.9 * height / crown - 0.45)
        outward[where, 2] = np.cos(lean)
    return color, unit(outward)


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
    points = shot.values(seen, "head")[:, :3]
    exposed = np.ones_like(normals)
    if part == "teeth":
        color, outward = _paint_teeth(points, shot.spacing)
        normals = np.stack([dot(outward, row) for row in shot.head_rotation.astype(np.float32)], axis=1)
        dim = 0.12 + 0.74 * smooth_step(points[:, 2], -0.16, 0.13)
        gloss = 0.10
    else:
        groove = np.exp(-((points[:, 0] / 0.025) ** 2))
        bumps = np.sin(points[:, 0] * 210) * np.sin(points[:, 2] * 190) * np.clip(0.02 / shot.spacing - 1, 0, 1)
        color = _TONGUE * (1 - 0.35 * groove + 0.03 * bumps)[:, None]
        dim = 0.06 + 0.50 * smooth_step(points[:, 2], -0.22, 0.16)
        gloss = 0.07
    corner = shot.aligned[_mouth_corners(), 0]
    aside = seen.interpolate(shot.aligned)[:, 0] / max(float(corner[0] - corner[1]) / 2, 1e-3)
    dim *= 1 - 0.92 * smooth_step(np.abs(aside), 0.60, 0.98)  # little light comes in past the mouth's corners
    upper, lower = shot.aligned[_lip_edges(), 1]
    dim *= 0.2 + 0.8 * float(np.clip((upper - lower - 0.02) / 0.10, 0, 1))  # nor through lips that hardly part
    soft = shot.light.diffuse(normals, exposed, np.float32(0.5)) * 0.7 + shot.light.ambient(normals, exposed)
    lit: FloatArray = color * soft * np.stack([dim, dim * (0.6 + 0.4 * dim), dim * (0.55 + 0.45 * dim)], axis=1)
    lit += (shot.light.highlight(normals, 40.0) * gloss * dim)[:, None] * shot.light.key_color
    return lit


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
    out, along = np.clip(places[:, 0], 0, 1), places[:, 1]
    thick = 0.72 + 0.30 * (1 - shot.row["gender"]) + 0.3 * shot.look.eye_liner
    shown = float(np.clip(0.016 / shot.spacing - 0.8, 0, 1))
    hairs = np.sin(along * 140 + 3 * np.sin(along * 17) + out * 3)
    fade = smooth_step(out, 1.0, 0.22) * (1 - 0.2 * out)
    cover = np.maximum(fade * (1 + 0.5 * shown * hairs * smooth_step(out, 0.1, 0.5)), smooth_step(out, 0.55, 0.25))
    cover = np.clip(cover * thick, 0, 1)
    exposed = np.minimum(shot.exposed(seen), 1)
    lid = shot.look.skin * np.array([0.62, 0.50, 0.48], dtype=np.float32)
    facing = np.broadcast_to(shot.head_rotation[:, 2].astype(np.float32), normals.shape)
    behind = lid * (shot.light.diffuse(facing, exposed, np.float32(0.3)) + shot.light.ambient(facing, exposed))
    dark = facial_hair.brow_color(shot.row) * np.float32(0.25)
    return mix(behind.astype(np.float32), dark, cover)
