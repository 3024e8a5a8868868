"""What every painting technique starts from: the picture, what is known of the scene, and the directions of forms.

Lengths are in samples of the working frame; `unit` is 1/256 of the image's side, `px` a pixel of the finished picture.

S side of the frame, C side of the coarse direction field.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

PARTS = ("background", "skin", "hair", "eyes", "mouth", "lips", "brows", "cloth", "glasses", "hat")
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_FIELD_SIDE = 96  # cells of the direction field: strokes follow the form, not its wrinkles


@dataclass(frozen=True, kw_only=True)
class Guide:
    """Buffers of a render that tell a painter what the picture shows; each may be None."""

    depth: FloatArray | None = None
    """[S, S] dm from the camera, inf = background."""
    normal: FloatArray | None = None
    """[S, S, 3] unit normals: x to the image's right, y up, z towards the viewer."""
    part: NDArray[np.uint8] | None = None
    """[S, S] index into `PARTS`."""
    flow: FloatArray | None = None
    """[S, S, 2] unit direction of the hair's strands in the image (x right, y down); zero where there is no hair."""


def resized(values: FloatArray, side: int, how: Image.Resampling = Image.Resampling.BICUBIC) -> FloatArray:
    """Resizes a float picture [H, W] to [side, side]."""
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(picture.resize((side, side), how), dtype=np.float32)


def blur(values: FloatArray, sigma: float) -> FloatArray:
    """Gaussian blur of [H, W] or [H, W, K] over the first two axes, cut off at two standard deviations."""
    if sigma < 0.2:
        return values
    out = ndimage.gaussian_filter1d(values, sigma, axis=0, truncate=2.0, mode="nearest", output=np.float32)
    blurred: FloatArray = ndimage.gaussian_filter1d(out, sigma, axis=1, truncate=2.0, mode="nearest")
    return blurred


def ramp(values: FloatArray, low: float | FloatArray, high: float | FloatArray) -> FloatArray:
    """Smooth step: 0 below `low`, 1 above `high`."""
    t = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
    step: FloatArray = t * t * (3 - 2 * t)
    return step


def noise(side: int, period: float, rng: np.random.Generator, octaves: int = 1) -> FloatArray:
    """Smooth noise [side, side] of about unit range (−1 to 1), with features `period` samples wide, then finer ones."""
    total = np.zeros((side, side), dtype=np.float32)
    gain = 1.0
    for octave in range(octaves):
        cells = max(int(np.ceil(side * 2**octave / max(period, 1.0))), 1)
        values = (rng.random((min(cells + 1, side),) * 2) * 2 - 1).astype(np.float32)
        total += np.float32(gain) * (resized(values, side) if len(values) < side else values)
        gain *= 0.5
    return total


@dataclass(frozen=True)
class Canvas:
    """One picture about to be painted."""

    image: NDArray[np.uint8]
    """[S, S, 3] sRGB."""
    guide: Guide
    size_px: int
    """Side of the finished picture."""
    seed: int

    @property
    def side(self) -> int:
        return len(self.image)

    @property
    def unit(self) -> float:
        """Samples that are 1/256 of the image's side."""
        return self.side / 256

    @property
    def px(self) -> float:
        """Samples in one pixel of the finished picture."""
        return self.side / self.size_px

    @cached_property
    def rgb(self) -> FloatArray:
        """[S, S, 3] display colours in 0–1."""
        return self.image * np.float32(1 / 255)

    @cached_property
    def luma(self) -> FloatArray:
        """[S, S] brightness in 0–1."""
        return brightness(self.rgb)

    def rng(self, purpose: int) -> np.random.Generator:
        """Random numbers of one purpose: they depend on the painting's seed alone, not on the picture."""
        return np.random.default_rng([self.seed, purpose])

    def shows(self, *parts: str) -> BoolArray:
        """[S, S] where one of these parts is seen; nowhere if the guide does not say."""
        if self.guide.part is None:
            return np.zeros((self.side, self.side), dtype=bool)
        table = np.zeros(256, dtype=bool)
        table[[PARTS.index(part) for part in parts]] = True
        return table[self.guide.part]

    @cached_property
    def figure(self) -> FloatArray:
        """[S, S] 1 on the person, 0 on the backdrop; without buffers everything counts as the person."""
        if self.guide.part is not None:
            return (self.guide.part > 0).astype(np.float32)
        if self.guide.depth is not None:
            return np.isfinite(self.guide.depth).astype(np.float32)
        return np.ones((self.side, self.side), dtype=np.float32)

    @cached_property
    def features(self) -> FloatArray:
        """[S, S] 0–1: where a painter takes the smallest brush (eyes, mouth, lips, brows)."""
        if self.guide.part is not None:
            seen = self.shows("eyes", "mouth", "lips", "brows").astype(np.float32)
            return np.minimum(blur(seen, 2.2 * self.unit) * 2.0, 1)
        middle = np.abs(np.arange(self.side, dtype=np.float32) / self.side - 0.5)
        face = ramp(-np.maximum(middle[:, None], middle[None]), -0.34, -0.2)
        fine = np.abs(self.luma - blur(self.luma, 4 * self.unit))
        return ramp(blur(fine, 2 * self.unit), 0.02, 0.06) * face

    @cached_property
    def clean(self) -> FloatArray:
        """[S, S, 3] the picture simplified to areas with crisp borders."""
        return simplified(self.rgb, 2.4 * self.unit)

    @cached_property
    def outlines(self) -> FloatArray:
        """[S, S] 0 or 1: samples where one part ends, where depth jumps, or else where brightness has a strong edge."""
        side, part, depth = self.side, self.guide.part, self.guide.depth
        edge = np.zeros((side, side), dtype=bool)
        if part is not None:
            # lips, brows and eyes are borders of the drawing's own tones, not of forms: only what meets at a contour
            group = np.array([0, 1, 2, 3, 4, 1, 1, 5, 6, 7] + [0] * 246, dtype=np.uint8)[part]
            edge[:, 1:] |= group[:, 1:] != group[:, :-1]
            edge[1:] |= group[1:] != group[:-1]
        if depth is not None:
            near = np.where(np.isfinite(depth), depth, 40.0).astype(np.float32)
            jump = 0.12 + 20 / side  # steep surfaces stay below
            edge[:, 1:] |= np.abs(near[:, 1:] - near[:, :-1]) > jump
            edge[1:] |= np.abs(near[1:] - near[:-1]) > jump
        if part is None and depth is None:
            tone = brightness(self.clean)
            fine, coarse = blur(tone, 0.8 * self.unit), blur(tone, 1.8 * self.unit)
            edge = (coarse - fine) > 0.03
        return edge.astype(np.float32)

    @cached_property
    def directions(self) -> FloatArray:
        """[C, C, 2] unit directions (x right, y down) along which strokes run: hair's flow, then form, then edges."""
        cells = min(_FIELD_SIDE, self.side)
        box = Image.Resampling.BOX
        small = blur(resized(self.luma, cells, box), 0.8)
        dy, dx = (np.asarray(slope, dtype=np.float32) for slope in np.gradient(small))
        # doubled angles: opposite directions are the same, and averages make sense
        tensor = np.stack([blur(dx * dx - dy * dy, 1.5), blur(2 * dx * dy, 1.5)])
        energy = blur(dx * dx + dy * dy, 1.5) + np.float32(2e-5)
        double = -tensor / energy
        if self.guide.normal is not None:
            nx, ny = (resized(self.guide.normal[..., k], cells, box) for k in (0, 1))
            double += -3.0 * np.stack([nx * nx - ny * ny, -2 * nx * ny])
        if self.guide.flow is not None:
            fx, fy = self.guide.flow[..., 0], self.guide.flow[..., 1]
            double += 6.0 * np.stack([resized(fx * fx - fy * fy, cells, box), resized(2 * fx * fy, cells, box)])
        # where nothing is known: long diagonal sweeps, as a right-handed painter scumbles a backdrop
        sweep = -0.9 + 0.6 * noise(cells, cells / 2.5, self.rng(0))
        double += 0.12 * np.stack([np.cos(2 * sweep), np.sin(2 * sweep)])
        double = np.stack([blur(layer, 1.0) for layer in double])
        angle = 0.5 * np.arctan2(double[1], double[0])
        return np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)


def brightness(rgb: FloatArray) -> FloatArray:
    """[..., 3] -> [...] Rec. 601 luma (a fixed-order sum: no threaded product)."""
    luma: FloatArray = rgb[..., 0] * LUMA[0] + rgb[..., 1] * LUMA[1] + rgb[..., 2] * LUMA[2]
    return luma


def saturated(rgb: FloatArray, factor: float) -> FloatArray:
    """Colours moved away from grey of equal brightness (not clipped)."""
    gray = brightness(rgb)[..., None]
    return gray + (rgb - gray) * np.float32(factor)


def simplified(rgb: FloatArray, radius: float) -> FloatArray:
    """Edge-preserving smoothing [S, S, 3]: each sample takes the mean of the calmest of eight discs that touch it.

    A generalised Kuwahara filter (Papari, Petkov and Campisi 2007, "Artistic edge and corner enhancing smoothing",
    IEEE TIP 16) with one Gaussian in eight shifted places instead of eight sectors.
    """
    luma = brightness(rgb)
    mean = blur(rgb, radius * 0.6)
    spread = np.maximum(blur(luma * luma, radius * 0.6) - blur(luma, radius * 0.6) ** 2, 0)
    calm = 1 / (np.float32(2e-4) + spread) ** 3
    weighted = np.concatenate([mean * calm[..., None], calm[..., None]], axis=-1)
    reach = int(np.ceil(radius))
    padded = np.pad(weighted, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    total = weighted.copy()
    side = len(rgb)
    for k in range(8):
        x, y = round(np.cos(k * np.pi / 4) * radius), round(np.sin(k * np.pi / 4) * radius)
        total += padded[reach + y : reach + y + side, reach + x : reach + x + side]
    return total[..., :3] / total[..., 3:]


def encoded(rgb: FloatArray) -> NDArray[np.uint8]:
    """Display colours in 0–1 (clipped) to bytes."""
    return (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)
