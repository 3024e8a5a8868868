"""Ink, charcoal and pastel: marks on paper whose tooth takes only part of them.

Ink hatches along the sections of the form with slanted planes, the lines that an engraver draws: where the scene's
depth is known they bend around cheek and nose by themselves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces.styles.canvas import Canvas, FloatArray, blur, encoded, noise, ramp, saturated
from gantrol.data.faces.styles.strokes import Brush, Layer, at, lay, reaches, scattered, spines

_INK = np.array([0.10, 0.085, 0.09], dtype=np.float32)
_INK_PAPER = np.array([0.965, 0.945, 0.895], dtype=np.float32)
# angle of the hatching planes (radians), darkness at which each set of lines begins and at which it is full
_HATCHES = ((-0.85, 0.16, 1.0), (0.42, 0.48, 1.15), (-0.15, 0.72, 1.5))
_CHARCOAL = np.array([0.115, 0.11, 0.115], dtype=np.float32)
_CHARCOAL_PAPER = np.array([0.90, 0.875, 0.83], dtype=np.float32)
_PASTEL_PAPER = np.array([0.50, 0.47, 0.44], dtype=np.float32)


def ink(canvas: Canvas) -> NDArray[np.uint8]:
    """Draws the canvas with a pen: contours, hatching that follows the form, strands of hair."""
    side, unit, px = canvas.side, canvas.unit, canvas.px
    rng = canvas.rng(60)
    dark = 1 - canvas.luma
    tone = blur(dark, 0.8 * unit)
    # a little local contrast keeps the form readable on dark and on light skin
    tone = np.clip(0.80 * tone + 0.9 * (tone - blur(tone, 22 * unit)), 0, 1)
    hair = canvas.shows("hair").astype(np.float32)
    back = 1 - canvas.figure
    tone = tone * (1 - 0.55 * back)
    amount = np.zeros((side, side), dtype=np.float32)
    period = max(4.0 * unit, 2.6 * px)
    for index, (angle, begin, full) in enumerate(_HATCHES):
        phase = _section(canvas, angle) / np.float32(period)
        phase += 0.22 * noise(side, 40 * unit, rng, 2)
        saw = np.abs(phase - np.floor(phase) - 0.5) * 2  # 0 on a line's axis, 1 between lines
        press = (
            np.clip((tone - begin) / (full - begin), 0, 1)
            * (1 - 0.45 * canvas.features)
            * (1 - 0.75 * hair)
            * (1 if index == 0 else 1 - 0.8 * back)
        )
        width = press * (0.80 + 0.35 * noise(side, 9 * unit, rng)) * 0.80
        soft = 0.7 / period
        amount = np.maximum(amount, ramp(width - saw, -soft, soft) * ramp(press, 0.02, 0.08))
    amount = np.maximum(amount, _strands(canvas, tone * hair, rng))
    amount = np.maximum(amount, _contours(canvas, rng))
    # eyes, lips and brows are too fine for hatching: a touch of diluted ink gives their tones
    amount += (np.clip(1.1 * dark - 0.05, 0, 0.9) - amount) * canvas.features * np.float32(0.6)
    amount = np.maximum(amount, _features(canvas))
    paper = _INK_PAPER * (1 + 0.012 * noise(side, 3 * px, rng))[..., None]
    return encoded(paper + (_INK - paper) * np.clip(amount, 0, 1)[..., None])


def _section(canvas: Canvas, angle: float) -> FloatArray:
    """[S, S] distance in samples from a slanted plane: constant along the lines in which such planes cut the form."""
    index = np.arange(canvas.side, dtype=np.float32)
    across = index[None] * np.float32(-np.sin(angle)) + index[:, None] * np.float32(np.cos(angle))
    if canvas.guide.depth is not None:
        seen = np.isfinite(canvas.guide.depth)
        relief = np.where(seen, -canvas.guide.depth, 0.0).astype(np.float32)
        middle = float(np.median(relief[seen])) if seen.any() else 0.0
        relief = np.where(seen, relief - middle, 0.0).astype(np.float32)
        relief = blur(relief, 2 * canvas.unit) * np.float32(26 * canvas.unit)  # 1 dm counts as 26/256 of the side
    else:
        relief = blur(canvas.luma, 6 * canvas.unit) * np.float32(26 * canvas.unit)  # what is lit stands out
    bent: FloatArray = across + relief
    return bent


def _strands(canvas: Canvas, tone: FloatArray, rng: np.random.Generator) -> FloatArray:
    """[S, S] ink of tapering pen strokes along the hair, denser where it is darker."""
    amount = np.zeros(canvas.side * canvas.side, dtype=np.float32)
    width = max(1.5 * canvas.unit, 1.1 * canvas.px)
    brush = Brush(width=width, length=max(26 * canvas.unit, 9 * canvas.px), taper=True)
    centers = scattered(canvas.side, 2.1 * width, rng)
    value = at(tone, centers)
    centers = centers[(value > 0.05) & (rng.random(len(centers)) < 0.10 + 0.75 * value**1.5)]
    if len(centers):
        knots = spines(canvas, centers, brush.length, rng.normal(0, 0.05, len(centers)).astype(np.float32))
        hair = canvas.shows("hair").astype(np.float32)[..., None]
        amount[lay(canvas, knots, brush, rng, reaches(knots, hair, 0.5)).sample] = 1
    return amount.reshape(canvas.side, canvas.side)


def _contours(canvas: Canvas, rng: np.random.Generator) -> FloatArray:
    """[S, S] ink of the outlines: a swelling line, heavier on the shadow side."""
    shade = blur(1 - canvas.luma, 5 * canvas.unit)
    swell = 0.7 + 0.55 * shade + 0.4 * noise(canvas.side, 26 * canvas.unit, rng, 2)
    return lines(canvas, max(1.5 * canvas.unit, 1.15 * canvas.px), swell)


def lines(canvas: Canvas, width: float, swell: FloatArray | float = 1.0) -> FloatArray:
    """[S, S] coverage 0–1 of the outlines drawn `width` × `swell` samples wide."""
    sigma = max(width * 0.5, 0.6)
    # across a straight line, one sample wide, the blurred profile is exp(−d²/2σ²) / (σ√2π)
    profile = blur(canvas.outlines, sigma) * np.float32(sigma * 1.25)
    level = np.exp(-0.5 * (np.clip(swell, 0.25, 3) * np.float32(width / 2 / sigma)) ** 2)
    return ramp(profile, level - 0.12, level + 0.12)


def _features(canvas: Canvas) -> FloatArray:
    """[S, S] solid ink of lashes, pupils, brows, nostrils and the line of the mouth (a difference of Gaussians)."""
    fine = max(0.7 * canvas.unit, 0.45 * canvas.px)
    near, far = blur(canvas.luma, fine), blur(canvas.luma, 5.0 * canvas.unit)
    focus = np.clip(canvas.features + 0.35 * canvas.shows("skin"), 0, 1)
    relative = (far - near) / (far + 0.12)  # as visible on dark skin as on light
    return ramp(relative * focus, 0.10, 0.26)


def charcoal(canvas: Canvas) -> NDArray[np.uint8]:
    """Draws the canvas with charcoal: smudged masses, broad strokes caught by the paper's tooth, lifted lights."""
    side, unit, px = canvas.side, canvas.unit, canvas.px
    rng = canvas.rng(70)
    dark = 1 - canvas.luma
    tone = blur(dark, 1.2 * unit)
    tone = np.clip(0.85 * tone + 0.8 * (tone - blur(tone, 24 * unit)), 0, 1)
    tone *= 1 - 0.4 * (1 - canvas.figure)
    tooth = _tooth(canvas, rng)
    amount = 0.58 * blur(tone, 1.8 * unit) * (1 + 0.14 * noise(side, 26 * unit, rng, 3))  # smudged with the finger
    amount *= 1.07 - 0.14 * tooth
    for width, length, begin, press in ((12.0, 70.0, 0.12, 0.55), (6.0, 44.0, 0.30, 0.65), (3.0, 26.0, 0.50, 0.75)):
        brush = Brush(width=max(width * unit, 2.0 * px), length=max(length * unit, 10 * px), ragged=0.35, round=False)
        centers = scattered(side, (brush.width * brush.length / 4) ** 0.5, rng)
        value = at(tone, centers)
        centers = centers[value > begin + 0.12 * rng.random(len(centers))]
        if not len(centers):
            continue
        knots = spines(canvas, centers, brush.length, rng.normal(-0.1, 0.12, len(centers)).astype(np.float32))
        layer = lay(canvas, knots, brush, rng, reaches(knots, blur(tone, unit)[..., None], 0.2))
        load = 0.5 + 0.45 * layer.bristle - 0.2 * np.abs(layer.along)  # the stick's broken edge leaves streaks
        marks = press * ramp(load - 0.5 * (tooth.ravel()[layer.sample] - 0.5), -0.05, 0.95)
        under = amount.ravel()[layer.sample]
        amount.ravel()[layer.sample] = under + (1 - under) * marks * np.clip(1.2 * tone.ravel()[layer.sample], 0, 1)
    line = lines(canvas, max(2.2 * unit, 1.3 * px), 0.8 + 0.5 * noise(side, 24 * unit, rng, 2))
    amount = np.maximum(amount, line * ramp(0.95 - tooth, 0.05, 0.5) * 0.9)
    fine = np.clip(1.25 * dark - 0.10, 0, 1)
    amount += (fine - amount) * canvas.features * 0.62
    amount = np.maximum(amount, _features(canvas) * 0.92)
    light = ramp(canvas.luma - blur(canvas.luma, 10 * unit), 0.06, 0.2) * canvas.figure  # a kneaded eraser's lights
    amount *= 1 - 0.6 * light
    paper = _CHARCOAL_PAPER * (1 - 0.05 * tooth)[..., None]
    return encoded(paper + (_CHARCOAL - paper) * np.clip(amount, 0, 1)[..., None])


def _tooth(canvas: Canvas, rng: np.random.Generator) -> FloatArray:
    """[S, S] height of laid paper's grain, 0–1: chalk meets the heights first."""
    grain = noise(canvas.side, max(1.7 * canvas.unit, 1.5 * canvas.px), rng, 2)
    return np.clip(0.5 + 0.5 * grain, 0, 1)


def pastel(canvas: Canvas) -> NDArray[np.uint8]:
    """Paints the canvas in soft pastels on grey-brown paper: the stick's broad side first, then hatched strokes."""
    side, unit, px = canvas.side, canvas.unit, canvas.px
    rng = canvas.rng(80)
    tooth = _tooth(canvas, rng)
    reference = saturated(canvas.clean, 1.22) * 0.94 + np.float32(0.045)
    what = np.concatenate([canvas.clean, 0.5 * canvas.figure[..., None]], axis=-1)
    picture = np.broadcast_to(_PASTEL_PAPER, (side, side, 3)) * (0.92 + 0.16 * tooth)[..., None]
    smudge = blur(reference, 5 * unit)
    picture = picture + (smudge - picture) * np.float32(0.7)
    for index, (width, length, press) in enumerate(((16.0, 60.0, 0.70), (7.0, 40.0, 0.66), (3.2, 26.0, 0.66))):
        brush = Brush(width=max(width * unit, 1.3 * px), length=max(length * unit, 6 * px), ragged=0.25, round=False)
        centers = scattered(side, (brush.width * brush.length / 4) ** 0.5, rng)
        if index == 2:
            lacking = blur(np.abs(picture - reference).sum(-1), unit)
            centers = centers[at(lacking, centers) > 0.10 + 0.2 * rng.random(len(centers))]
        turn = rng.normal(0.35, 0.12, len(centers)).astype(np.float32)  # chalk hatches across the form's direction
        knots = spines(canvas, centers, brush.length, turn)
        layer = lay(canvas, knots, brush, rng, reaches(knots, what, 0.16))
        color = at(reference, centers) + rng.normal(0, 0.02, (len(centers), 3)).astype(np.float32)
        color = color * rng.normal(1.02, 0.05, (len(centers), 1)).astype(np.float32)
        _rub(picture, layer, color, tooth, press)
    exact = saturated(canvas.rgb, 1.15)
    brush = Brush(width=max(1.9 * unit, px), length=max(8 * unit, 3 * px), ragged=0.2)
    centers = scattered(side, brush.width * 0.6, rng)
    centers = centers[at(canvas.features, centers) > 0.3]
    if len(centers):
        knots = spines(canvas, centers, brush.length)
        _rub(picture, lay(canvas, knots, brush, rng, reaches(knots, exact, 0.2)), at(exact, centers), tooth, 1.1)
    picture += (exact - picture) * (canvas.features * np.float32(0.5))[..., None]
    return encoded(picture)


def _rub(picture: FloatArray, layer: Layer, color: FloatArray, tooth: FloatArray, press: float) -> None:
    """Leaves chalk of each stroke's colour on the heights of the tooth, in place."""
    load = press + 0.32 * layer.bristle - 0.12 * layer.across**2
    cover = ramp(load - 0.95 * tooth.ravel()[layer.sample], -0.28, 0.45)[:, None]
    flat = picture.reshape(-1, 3)
    under = flat[layer.sample]
    flat[layer.sample] = under + (color[layer.stroke] - under) * cover
