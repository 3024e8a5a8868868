"""Cartoon and pixel art: few flat tones with hard borders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from gantrol.data.faces.styles.canvas import (
    Canvas,
    FloatArray,
    blur,
    brightness,
    encoded,
    ramp,
    resized,
    saturated,
    simplified,
)
from gantrol.data.faces.styles.drawing import lines

_TONES = 3  # flat tones of each part of a cartoon: shadow, body, light
_STEPS = 6  # brightnesses of a cartoon of which no parts are known
_PALETTE_COLORS = 20
# The Bayer matrix of order 4: thresholds in the order in which a growing tone fills the cells of a square
_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], dtype=np.float32) / 16 - 0.46875


def cartoon(canvas: Canvas) -> NDArray[np.uint8]:
    """Draws the canvas as a cel: three flat tones of each part, black outlines, eyes and mouth kept."""
    unit, px = canvas.unit, canvas.px
    smooth = simplified(canvas.clean, 3.2 * unit)
    part = canvas.guide.part
    flat = smooth.copy()
    tone = blur(brightness(smooth), 1.2 * unit)
    if part is None:  # without parts, each colour keeps its hue and takes the nearest of a few brightnesses
        step = (np.floor(tone * _STEPS) + 0.5) / np.float32(_STEPS)
        flat *= (step / np.maximum(tone, 0.02))[..., None]
    else:
        for code in np.unique(part):
            inside = part == code
            if np.count_nonzero(inside) >= 24:
                flat[inside] = _posterised(smooth[inside], tone[inside], _TONES if code else 1)
    # eyes, mouth and brows are drawn, not shaded
    drawn = simplified(saturated(canvas.rgb, 1.2), 0.9 * unit)
    inner = canvas.features if part is None else canvas.shows("eyes", "mouth", "glasses").astype(np.float32)
    flat += (drawn - flat) * np.clip(blur(inner, 0.5 * unit), 0, 1)[..., None]
    flat = saturated(flat, 1.30) * 1.05 + np.float32(0.01)
    dark = lines(canvas, max(2.7 * unit, 1.3 * px), 0.85 + 0.4 * blur(1 - canvas.luma, 6 * unit))
    far = blur(canvas.luma, 4.0 * unit)
    fine = (far - blur(canvas.luma, max(0.7 * unit, 0.4 * px))) / (far + 0.12)
    focus = np.clip(canvas.features + 0.25 * canvas.shows("skin"), 0, 1)
    dark = np.maximum(dark, 0.85 * ramp(fine * focus, 0.16, 0.34))
    ink = np.array([0.09, 0.07, 0.09], dtype=np.float32)
    return encoded(flat + (ink - flat) * dark[..., None])


def _posterised(colors: FloatArray, tone: FloatArray, tones: int) -> FloatArray:
    """[P, 3] each sample replaced by the mean colour of its tone; the tones split the range of brightness."""
    low, high = np.percentile(tone, (6, 94))
    cuts = low + (high - low) * np.array([0.36, 0.74])[: tones - 1]
    if high - low < 0.06:
        cuts = cuts[:0]
    level = np.searchsorted(cuts, tone)
    flat = colors.copy()
    for k in range(len(cuts) + 1):
        chosen = level == k
        if chosen.any():
            flat[chosen] = np.median(colors[chosen][:: max(int(chosen.sum()) // 4096, 1)], axis=0)
    return flat


def pixel(canvas: Canvas) -> NDArray[np.uint8]:
    """Draws the canvas as pixel art: large square cells, a palette of few colours, ordered dithering."""
    cells = cells_of(canvas.size_px)
    box = Image.Resampling.BOX
    crisp = (0.6 + 0.6 * canvas.features)[..., None]  # a pupil must survive in a cell or two
    sharp = canvas.rgb + crisp * (canvas.rgb - blur(canvas.rgb, canvas.side / cells * 0.7))
    small = np.stack([resized(sharp[..., k], cells, box) for k in range(3)], axis=-1)
    small = np.clip(saturated(small, 1.25), 0, 1)
    figure = resized(canvas.figure, cells, box) > 0.5
    border = figure & ~ndimage.binary_erosion(figure, border_value=1)  # one cell of outline, inside the person
    small[border] *= np.float32(0.42)
    focus = np.clip(resized(canvas.features, cells, box), 0, 1)
    # eyes and teeth are few cells: they count five times, or their white would be borrowed from the clothes
    palette = _palette(np.concatenate([small.reshape(-1, 3), np.repeat(small[focus > 0.4], 4, axis=0)]))
    repeats = -(-cells // 4)
    threshold = np.tile(_BAYER, (repeats, repeats))[:cells, :cells]
    spread = 0.055 * (1 - 0.85 * focus)
    wanted = small + (threshold * spread)[..., None]
    distance = ((wanted[:, :, None] - palette) ** 2 * np.array([0.8, 1.2, 0.6], dtype=np.float32)).sum(-1)
    art = palette[distance.argmin(-1)]
    index = np.arange(canvas.size_px) * cells // canvas.size_px
    return encoded(art)[index][:, index]


def cells_of(size_px: int) -> int:
    """Cells along the side of pixel art: 32 to 64, each a whole number of pixels where the size allows it."""
    least = max(-(-size_px // 64), 2 if size_px >= 64 else 1)
    for factor in range(least, least + 3):
        if size_px % factor == 0:
            return size_px // factor
    return size_px // least


def _palette(colors: FloatArray) -> FloatArray:
    """[K, 3] colours that stand for colours [P, 3] (median cut, then four rounds of k-means)."""
    picture = Image.fromarray(encoded(colors)[None])
    cut = picture.quantize(_PALETTE_COLORS, method=Image.Quantize.MEDIANCUT).getpalette() or []
    palette: FloatArray = (np.array(cut[: 3 * _PALETTE_COLORS]).reshape(-1, 3) / 255).astype(np.float32)
    for _ in range(4):
        nearest = ((colors[:, None] - palette) ** 2).sum(-1).argmin(-1)
        count = np.bincount(nearest, minlength=len(palette))
        for k in range(3):
            mean = np.bincount(nearest, weights=colors[:, k], minlength=len(palette)) / np.maximum(count, 1)
            palette[:, k] = np.where(count > 0, mean, palette[:, k])
    return palette
