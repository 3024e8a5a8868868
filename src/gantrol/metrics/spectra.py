"""Average power spectra: how much contrast the images of a dataset or a model have at each frequency and in each
direction.

What a network cannot draw and what it draws wrongly shows here at once: too little at the highest frequencies is blur,
bright dots on a regular grid are the marks of upsampling, a bright cross is detail that follows the pixel axes. The
recipe is that of the StyleGAN3 paper (Karras et al. 2021, appendix): bytes are standardised with one mean and one
standard deviation, windowed, padded with zeros, transformed, and the squared magnitudes averaged over channels and
images.

The scale is absolute. The window w has Σw² = 1 along each axis, so for white noise of unit variance
E|X|² = Σ w(y)² w(x)² = 1: 0 dB at every frequency. Spectra are comparable where mean and std are the same ones.

Each image is transformed by itself and sums are in float64, so nothing depends on the batch size.

Dimensions: N images · C channels · S side of an image in pixels · n = S·interpolation side of a spectrum.
Frequencies are in cycles per image: S/2 is the highest that pixels can hold along an axis, S/√2 along a diagonal.
"""

from __future__ import annotations

import dataclasses
import math
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from gantrol.atomic import atomic_file
from gantrol.errors import ConfigError, DataError

Direction = float | Literal["radial"]
"""Of a slice: an angle in degrees, or the average over all of them."""

MAX_INTERPOLATION = 16
_MID_GREY = 127.5
_FLOOR = 1e-30  # -300 dB, for spectra with exact zeros


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Spectrum:
    """An average power spectrum, with what it was made of."""

    power: np.ndarray
    """float64 [n, n]; bin [i, j] is the frequency (j, i)·S/n along (x, y), [0, 0] the zero frequency, as in an FFT."""
    image_size_px: int
    """S, the side of the images."""
    name: str = ""
    """Of the source."""
    samples: int = 0
    """Images that were averaged; 0 if unknown."""
    mean: float = math.nan
    """Mean byte that was subtracted; NaN if unknown, as in files of the official tool."""
    std: float = math.nan
    """Standard deviation, in bytes, that was divided by; NaN if unknown."""
    beta: float = math.nan
    """Of the Kaiser window; NaN if unknown."""

    @property
    def interpolation(self) -> float:
        """n / S: samples of the spectrum per cycle."""
        return len(self.power) / self.image_size_px

    def heat_map(self, smooth: float = 1.25) -> np.ndarray:
        """The spectrum in decibels with the zero frequency in the middle: float64 [n + 1, n + 1].

        The first row and column are repeated at the end, so that an even n reaches from −S/2 to S/2 both inclusive.

        Args:
            smooth: standard deviation of a Gaussian filter over the decibels, in cycles per image; 0 for none. It
                wraps around, as the spectrum does.
        """
        if not (math.isfinite(smooth) and smooth >= 0):
            raise ConfigError(f"smooth={smooth}: expected cycles per image, 0 or more")
        centred = np.fft.fftshift(_decibels(self.power))
        if smooth:
            centred = ndimage.gaussian_filter(centred, smooth * self.interpolation, mode="wrap")
        return np.pad(centred, ((0, 1), (0, 1)), mode="wrap")

    def slice(self, direction: Direction) -> tuple[np.ndarray, np.ndarray]:
        """The spectrum from the zero frequency outwards.

        Args:
            direction: degrees from the x axis towards the y axis, which points down; or "radial", the mean power at
                each distance from the zero frequency. 0 is the middle row, 45 the diagonal.

        Returns:
            (frequencies in cycles per image, decibels), both float64 [n // 2 + 1]; the last frequency is where the
            direction leaves the spectrum: S/2 for 0, 90 and radial, S/√2 for 45. Directions that fall between the
            bins are interpolated linearly.
        """
        n = len(self.power)
        steps = np.arange(n // 2 + 1)
        if direction == "radial":
            rings = np.rint(self._radius()).astype(np.int64).ravel()
            counts = np.bincount(rings)[: len(steps)]
            power = np.bincount(rings, self.power.ravel())[: len(steps)] / counts
            return steps / self.interpolation, _decibels(power)
        if not math.isfinite(direction):
            raise ConfigError(f"a slice at {direction} degrees: expected a finite angle")
        x, y = math.cos(math.radians(direction)), math.sin(math.radians(direction))
        longest = max(abs(x), abs(y))
        # Rounded, so that directions along bins read the bins themselves.
        places = np.round(np.stack([steps * (y / longest), steps * (x / longest)]), 9)
        power = ndimage.map_coordinates(self.power, places, order=1, mode="grid-wrap")
        return steps / self.interpolation / longest, _decibels(power)

    def octaves(self) -> list[tuple[float, float, float]]:
        """(from, to, decibels) of rings that double in radius: …, S/8 to S/4, S/4 to S/2 cycles per image."""
        radius = self._radius() / self.interpolation
        rings = []
        high = self.image_size_px / 2
        while high >= 2:
            inside = (radius > high / 2) & (radius <= high)
            rings.append((high / 2, high, float(_decibels(self.power[inside].mean()))))
            high /= 2
        return rings[::-1]

    def _radius(self) -> np.ndarray:
        """Distance of each bin from the zero frequency, in bins: float64 [n, n]."""
        places = np.fft.fftfreq(len(self.power), 1 / len(self.power))
        return np.hypot(places[:, None], places[None, :])

    def save(self, path: str | Path) -> Path:
        """Writes an npz with `spectrum` [n, n], `image_size`, `name`, `samples`, `mean`, `std`, `beta`; whole or not
        at all.

        Raises:
            DataError: the disk is full or the folder cannot be written.
        """
        path = Path(path)
        fields = ("name", "samples", "mean", "std", "beta")
        arrays: dict[str, Any] = {"spectrum": self.power, "image_size": self.image_size_px}
        arrays |= {field: getattr(self, field) for field in fields}
        with atomic_file(path, DataError) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)
        return path

    @staticmethod
    def load(path: str | Path) -> Spectrum:
        """Reads what `save` wrote, or a file of the official tool, which has `spectrum` and `image_size` alone.

        Raises:
            DataError: the file is missing or damaged, or holds no power spectrum.
        """
        path = Path(path)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = dict(stored)
        except FileNotFoundError as error:
            raise DataError(
                f"{path}: there is no such file; make one with `gantrol spectra SOURCE --npz DIR`"
            ) from error
        except (ValueError, TypeError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{path}: is no readable npz ({error}); make it again with `gantrol spectra`") from error
        missing = [key for key in ("spectrum", "image_size") if key not in arrays]
        if missing:
            raise DataError(f"{path}: holds no {missing[0]!r}, so it is no spectrum; make one with `gantrol spectra`")
        power, size = arrays["spectrum"], arrays["image_size"]
        is_size = size.ndim == 0 and size.dtype.kind in "iu" and 2 <= size <= min(power.shape, default=0)
        is_power = power.ndim == 2 and power.shape[0] == power.shape[-1] and power.dtype.kind == "f"
        if not (is_size and is_power and np.isfinite(power).all() and power.min() >= 0):
            raise DataError(
                f"{path}: is no power spectrum ('spectrum' square, finite, ≥ 0, no smaller than 'image_size')"
            )
        try:
            return Spectrum(
                power=power.astype(np.float64),
                image_size_px=int(size),
                name=str(arrays.get("name", path.stem)),
                samples=int(arrays.get("samples", 0)),
                **{key: float(arrays.get(key, math.nan)) for key in ("mean", "std", "beta")},
            )
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: its description is damaged ({error}); make it again") from error


def _decibels(power: np.ndarray | np.floating) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, _FLOOR))


# ----------------------------------------------------------------------------------------------------------------------
# From images to a spectrum


class _Moments:
    """Sums of bytes and of their squares, exact: the order in which images come has no influence."""

    def __init__(self) -> None:
        self.count = self.sum = self.squares = 0

    def add(self, images: Tensor) -> None:
        values = images.to(torch.int64)
        self.count += values.numel()
        self.sum += int(values.sum())
        self.squares += int(values.square().sum())

    def mean_std(self) -> tuple[float, float]:
        if self.count == 0:
            raise ConfigError("there are no images to take the mean of: give at least one")
        return self.sum / self.count, math.sqrt(self.count * self.squares - self.sum**2) / self.count


def mean_std(batches: Iterable[Tensor]) -> tuple[float, float]:
    """Mean and (population) standard deviation of all bytes of all images.

    Args:
        batches: uint8 tensors of any shape.

    Returns:
        (mean, std) in bytes; from exact sums, so neither order nor batch size matters.

    Raises:
        ConfigError: there is not a single value.
    """
    moments = _Moments()
    for images in batches:
        moments.add(images)
    return moments.mean_std()


def average_power_spectrum(
    batches: Iterable[Tensor],
    *,
    mean: float | None = None,
    std: float | None = None,
    interpolation: int = 4,
    beta: float = 8.0,
    device: str | torch.device = "cpu",
    name: str = "",
) -> Spectrum:
    """Mean over images and channels of |FFT(w·(x − mean)/std)|², in float64.

    With w = 1/(Σw²)^½ times a symmetric Kaiser window along each axis, and zeros to the right and below up to
    `interpolation` times the size. Where mean and std are not given, they are the images' own, found in the same pass:
    with W = FFT(w) and δ the distance of the mean from what was subtracted,
    mean|X − δW|² = mean|X|² − 2δ·Re(W*·mean X) + δ²|W|².

    Args:
        batches: uint8 [N, C, S, S], all of one C and S; floats too where mean and std are given.
        mean: of the bytes; give both or neither.
        std: of the bytes.
        interpolation: samples of the spectrum per cycle, 1 to 16.
        beta: of the Kaiser window; 0 is no window.
        device: where to compute; it must know float64.
        name: goes into the result.

    Returns:
        The spectrum; its values depend neither on the batch size nor, but for rounding, on the order of images.

    Raises:
        ConfigError: no images, images that are not uint8, not square or not alike, all bytes equal, or an argument
            that cannot be.
    """
    check_transform(interpolation, beta)
    if (mean is None) != (std is None):
        raise ConfigError("give both mean and std, or neither")
    centre = _MID_GREY if mean is None else mean
    moments = _Moments()
    shape: tuple[int, ...] = ()
    count = 0
    for images in batches:
        is_standardisable = images.dtype == torch.uint8 or (images.is_floating_point() and mean is not None)
        if not is_standardisable or images.ndim != 4 or images.shape[2] != images.shape[3] or not images.shape[1]:
            raise ConfigError(f"images of shape {tuple(images.shape)}, {images.dtype}: expected uint8 [N, C, S, S]")
        if count == 0:
            shape = tuple(images.shape[1:])
            size, n = shape[1], shape[1] * interpolation
            window = np.kaiser(size, beta)
            w = torch.from_numpy(window / np.sqrt(np.sum(window**2))).to(device)
            power = torch.zeros(n, n // 2 + 1, dtype=torch.float64, device=device)
            first = torch.zeros(n, n // 2 + 1, dtype=torch.complex128, device=device)  # Σ X, for a mean known later
        if tuple(images.shape[1:]) != shape:
            raise ConfigError(f"images of {tuple(images.shape[1:])} after images of {shape}: all must be alike")
        if mean is None:
            moments.add(images)
        for image in images.to(device):
            x = (image.to(torch.float64) - centre) * w[:, None] * w  # [C, S, S]
            spectrum = _padded_fft(x, n)  # [C, n, n // 2 + 1]
            power += torch.view_as_real(spectrum).square().sum((0, 3))
            if mean is None:
                first += spectrum.sum(0)
        count += len(images)
    if count == 0:
        raise ConfigError(f"{name or 'spectrum'}: there are no images; give at least one")
    power /= count * shape[0]
    if mean is None or std is None:
        mean, std = moments.mean_std()
        delta, of_window = mean - centre, _padded_fft(w[:, None] * w, n)
        power += -2 * delta * (of_window.conj() * first).real / (count * shape[0]) + (delta * of_window.abs()) ** 2
    if not (math.isfinite(std) and std > 0 and math.isfinite(mean)):
        raise ConfigError(f"{name or 'spectrum'}: mean {mean}, std {std}: no spectrum of images without any contrast")
    half = power.clamp(min=0).cpu().numpy() / std**2
    return Spectrum(
        power=_whole(half), image_size_px=size, name=name, samples=count, mean=float(mean), std=float(std), beta=beta
    )


def check_transform(interpolation: int, beta: float) -> None:
    """Raises `ConfigError` for an interpolation or a window that cannot be."""
    if not 1 <= interpolation <= MAX_INTERPOLATION:
        raise ConfigError(f"interpolation={interpolation}: expected a whole number from 1 to {MAX_INTERPOLATION}")
    if not 0 <= beta <= 100:
        raise ConfigError(f"beta={beta}: the Kaiser window takes a number from 0 to 100")


def _padded_fft(x: Tensor, n: int) -> Tensor:
    """rfft2 of x [..., S, S] padded to [n, n], without transforming the rows that are all zeros."""
    return torch.fft.fft(torch.fft.rfft(x, n=n, dim=-1), n=n, dim=-2)


def _whole(half: np.ndarray) -> np.ndarray:
    """[n, n] from the columns [n, n // 2 + 1] of a real input's spectrum: power(−f) = power(f)."""
    n, known = half.shape
    mirrored = half[-np.arange(n) % n, 1 : n - known + 1][:, ::-1]
    return np.concatenate([half, mirrored], axis=1)
