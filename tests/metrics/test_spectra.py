"""Average power spectra against what is known of impulses, waves and noise, and a slow, independent transform."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gantrol.data.dataset import ImageDataset
from gantrol.data.writer import DatasetWriter
from gantrol.errors import ConfigError, DataError
from gantrol.metrics.spectra import Spectrum, average_power_spectrum, mean_std
from gantrol.metrics.spectra_pictures import (
    LEVELS_DB,
    _level_colours,
    _number,
    filled_contours,
    parse_directions,
    spectra_picture,
)
from gantrol.metrics.spectra_sources import power_spectra
from gantrol.model import Model
from gantrol.models import StyleGAN2Config, StyleGAN3Config


def noise(count: int, size: int = 16, channels: int = 3, seed: int = 0) -> Tensor:
    shape = (count, channels, size, size)
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def write_dataset(path: Path, images: Tensor, name: str = "") -> Path:
    with DatasetWriter(path / name if name else path) as writer:
        for image in images:
            writer.add(image.permute(1, 2, 0).numpy())
    return path / name if name else path


def tiny_model(size: int = 16, c_dim: int = 0, kind: str = "stylegan3", seed: int = 0) -> Model:
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"channel_base": 64, "channel_max": 4, "z_dim": 4, "w_dim": 4, "c_dim": c_dim}
    generator: Any
    if kind == "stylegan2":
        generator = StyleGAN2Config(resolution_px=size, **sizes).build()
        with torch.no_grad():
            for name, parameter in generator.named_parameters():
                if name.endswith("noise_strength"):
                    parameter.fill_(1.0)
    else:
        # An untrained network's images would be nearly grey.
        generator = StyleGAN3Config(resolution_px=size, num_layers=3, output_scale=4.0, **sizes).build()
    return Model(generator.eval())


def by_hand(images: np.ndarray, mean: float, std: float, interpolation: int, beta: float) -> np.ndarray:
    """The definition, bin by bin: Σ over pixels of w·(x − mean)/std·exp(−2πi(fx + fy)), squared, averaged."""
    size = images.shape[2]
    n = size * interpolation
    places = np.arange(size)
    window = np.i0(beta * np.sqrt(1 - (2 * places / (size - 1) - 1) ** 2))
    window /= np.sqrt((window**2).sum())
    waves = np.exp(-2j * np.pi * np.outer(np.arange(n), places) / n)  # [n, S]
    total = np.zeros((n, n))
    for image, channel in itertools.product(range(len(images)), range(images.shape[1])):
        x = (images[image, channel].astype(np.float64) - mean) / std * window[:, None] * window
        total += np.abs(np.einsum("ay,yx,bx->ab", waves, x, waves)) ** 2
    return total / (len(images) * images.shape[1])


# ----------------------------------------------------------------------------------------------------------------------
# Mean and standard deviation


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=60), st.integers(1, 7))
def test_mean_and_std_are_exact_in_any_batches(values: list[int], batch: int) -> None:
    found = mean_std(torch.tensor(values, dtype=torch.uint8).split(batch))
    assert found == mean_std([torch.tensor(sorted(values), dtype=torch.uint8)])
    assert found == pytest.approx((np.mean(values), np.std(values)), rel=1e-12, abs=1e-9)


def test_mean_of_nothing() -> None:
    with pytest.raises(ConfigError, match="no images"):
        mean_std([])


# ----------------------------------------------------------------------------------------------------------------------
# The spectrum


@pytest.mark.parametrize(("size", "interpolation"), [(8, 4), (7, 3), (6, 1), (9, 2)])
def test_agrees_with_an_independent_transform(size: int, interpolation: int) -> None:
    images = noise(3, size)
    for mean, std in ((100.0, 60.0), mean_std([images])):
        found = average_power_spectrum([images], mean=mean, std=std, interpolation=interpolation, beta=5.0)
        expected = by_hand(images.numpy(), mean, std, interpolation, 5.0)
        np.testing.assert_allclose(found.power, expected, rtol=1e-9, atol=1e-12)
        assert (found.image_size_px, found.samples, found.interpolation) == (size, 3, interpolation)
    own = average_power_spectrum([images], interpolation=interpolation, beta=5.0)  # mean and std found on the way
    assert (own.mean, own.std) == mean_std([images])
    np.testing.assert_allclose(own.power, expected, rtol=1e-8, atol=1e-10)


def test_white_images_are_at_0_db_exactly() -> None:
    """All impulses, one after another, are an ensemble whose values are uncorrelated and of equal variance."""
    size, base, height = 8, 100, 64
    images = torch.full((size**2, 1, size, size), base, dtype=torch.uint8)
    images.view(size**2, -1).diagonal().fill_(base + height)
    spectrum = average_power_spectrum([images], mean=base, std=height / size)  # mean square: height²/size²
    np.testing.assert_allclose(spectrum.power, 1, rtol=1e-12)
    assert np.abs(spectrum.heat_map()).max() < 1e-9
    for direction in parse_directions("0,45,17,radial"):
        assert np.abs(spectrum.slice(direction)[1]).max() < 1e-9
    assert all(abs(level) < 1e-9 for _, _, level in spectrum.octaves())


def test_random_white_noise_is_flat() -> None:
    spectrum = average_power_spectrum([noise(200)])
    assert spectrum.power.mean() == pytest.approx(1, abs=0.02)
    levels = np.array([level for _, _, level in spectrum.octaves()])
    assert np.abs(levels).max() < 0.3
    assert np.abs(spectrum.slice("radial")[1][4:]).max() < 0.5


@pytest.mark.parametrize(("fx", "fy"), [(5, 0), (0, 3), (4, -6), (2.5, 1.25)])
def test_a_wave_peaks_at_its_bin(fx: float, fy: float) -> None:
    size = 32
    y, x = np.mgrid[:size, :size] / size
    images = np.stack([127 + 100 * np.cos(2 * np.pi * (fx * x + fy * y) + phase) for phase in (0, 1, 2, 3)])
    spectrum = average_power_spectrum([torch.from_numpy(images.round().astype(np.uint8))[:, None]])
    found = np.unravel_index(spectrum.power.argmax(), spectrum.power.shape)
    n = len(spectrum.power)
    bins = (round(fy * 4) % n, round(fx * 4) % n)
    assert found in (bins, tuple(-np.array(bins) % n))
    peak = np.sqrt(spectrum.power.max())
    # A window's gain at its centre is (Σw)²: half of the amplitude goes to each of the two frequencies.
    window = np.kaiser(size, 8)
    gain = window.sum() ** 2 / (window**2).sum()
    assert peak == pytest.approx(100 / spectrum.std / 2 * gain, rel=0.02)


def test_parseval() -> None:
    """The mean over all bins is the energy of the windowed image, whatever the padding."""
    images = noise(4, 12)
    window = np.kaiser(12, 8.0)
    w = window / np.sqrt((window**2).sum())
    energy = (((images.numpy() - 110.0) / 50 * w[:, None] * w) ** 2).sum((2, 3)).mean()
    for interpolation in (1, 2, 5):
        spectrum = average_power_spectrum([images], mean=110, std=50, interpolation=interpolation)
        assert spectrum.power.mean() == pytest.approx(energy, rel=1e-12)


def test_batch_size_does_not_matter() -> None:
    images = noise(7)
    for options in ({}, {"mean": 120.0, "std": 70.0}):
        whole = average_power_spectrum([images], **options)  # type: ignore[arg-type]
        for batch in (1, 3):
            parts = average_power_spectrum(iter(images.split(batch)), **options)  # type: ignore[arg-type]
            assert np.array_equal(parts.power, whole.power)


def test_grey_images_count_as_one_channel() -> None:
    grey = noise(3, channels=1)
    rgb = grey.expand(-1, 3, -1, -1)
    np.testing.assert_allclose(
        average_power_spectrum([grey]).power, average_power_spectrum([rgb]).power, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ([], {}, "no images"),
        ([noise(1).float()], {}, "expected uint8"),
        ([noise(1)[:, :, :4]], {}, "expected uint8"),
        ([noise(1), noise(1, 8)], {}, "all must be alike"),
        ([noise(1) * 0], {}, "without any contrast"),
        ([noise(1)], {"mean": 1.0}, "both mean and std"),
        ([noise(1)], {"mean": 1.0, "std": 0.0}, "std 0.0"),
        ([noise(1)], {"interpolation": 0}, "from 1 to 16"),
        ([noise(1)], {"beta": -1.0}, "beta"),
        ([noise(1)], {"beta": float("nan")}, "beta"),
    ],
)
def test_what_cannot_be(images: list[Tensor], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        average_power_spectrum(images, **options)


# ----------------------------------------------------------------------------------------------------------------------
# Slices and heat maps


def test_slices_read_the_bins() -> None:
    spectrum = average_power_spectrum([noise(2, 8)])
    n = len(spectrum.power)
    half = np.arange(n // 2 + 1)
    expected = 10 * np.log10(spectrum.power)
    for angle, bins, end in (
        (0.0, expected[0, half], 4),
        (90.0, expected[half, 0], 4),
        (45.0, expected[half, half], 4 * np.sqrt(2)),
        (135.0, expected[half, -half], 4 * np.sqrt(2)),
    ):
        frequencies, levels = spectrum.slice(angle)
        np.testing.assert_allclose(levels, bins, atol=1e-9)
        np.testing.assert_allclose(frequencies, np.linspace(0, end, n // 2 + 1))
    with pytest.raises(ConfigError, match="finite"):
        spectrum.slice(float("inf"))


def test_the_radial_average_is_over_rings() -> None:
    spectrum = average_power_spectrum([noise(2, 6)], interpolation=2)
    frequencies, levels = spectrum.slice("radial")
    n = len(spectrum.power)
    for ring, (frequency, level) in enumerate(zip(frequencies, levels, strict=True)):
        inside = [
            spectrum.power[i, j]
            for i in range(-(n // 2), (n + 1) // 2)
            for j in range(-(n // 2), (n + 1) // 2)
            if round(np.hypot(i, j)) == ring
        ]
        assert level == pytest.approx(10 * np.log10(np.mean(inside)))
        assert frequency == ring / 2


def test_heat_map_is_centred_and_closed() -> None:
    spectrum = average_power_spectrum([noise(2, 8)])
    raw, smooth = spectrum.heat_map(0), spectrum.heat_map()
    n = len(spectrum.power)
    assert raw.shape == (n + 1, n + 1)
    assert raw[n // 2, n // 2] == pytest.approx(10 * np.log10(spectrum.power[0, 0]))
    for levels in (raw, smooth):
        np.testing.assert_allclose(levels, levels[::-1, ::-1], atol=1e-8)  # power(−f) = power(f)
    assert smooth.std() < raw.std()
    assert smooth.mean() == pytest.approx(raw.mean(), abs=0.2)
    with pytest.raises(ConfigError, match="smooth"):
        spectrum.heat_map(-1)


def test_octaves_end_at_the_highest_frequency() -> None:
    spectrum = average_power_spectrum([noise(2, 16)])
    assert [(low, high) for low, high, _ in spectrum.octaves()] == [(1, 2), (2, 4), (4, 8)]


def test_empty_bins_are_no_infinities() -> None:
    power = np.zeros((16, 16))
    power[0, 0] = 1
    spectrum = Spectrum(power=power, image_size_px=8, name="one")
    assert spectrum.slice(0.0)[1].min() == -300
    assert spectra_picture([spectrum]).width == 1280


# ----------------------------------------------------------------------------------------------------------------------
# Files


def test_npz_round_trip(tmp_path: Path) -> None:
    made = average_power_spectrum([noise(5)], name="Größe", beta=6.0)
    read = Spectrum.load(made.save(tmp_path / "new" / "a.npz"))
    assert np.array_equal(read.power, made.power)
    for field in ("image_size_px", "name", "samples", "mean", "std", "beta"):
        assert getattr(read, field) == getattr(made, field), field
    again = made.save(tmp_path / "b.npz")
    assert again.read_bytes() == (tmp_path / "new" / "a.npz").read_bytes()


def test_files_with_a_spectrum_and_a_size_alone_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "official.npz", spectrum=np.ones((32, 32)), image_size=8)
    read = Spectrum.load(tmp_path / "official.npz")
    assert (read.name, read.image_size_px, read.interpolation, read.samples) == ("official", 8, 4, 0)
    assert np.isnan(read.mean)
    spectra_picture([read])


def test_files_that_are_no_spectra(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    good: dict[str, Any] = {"spectrum": np.ones((32, 32)), "image_size": np.asarray(8)}
    for change, message in (
        ({"spectrum": np.ones((32, 16))}, "no power spectrum"),
        ({"spectrum": -np.ones((32, 32))}, "no power spectrum"),
        ({"spectrum": np.full((32, 32), np.nan)}, "no power spectrum"),
        ({"spectrum": np.ones((0, 0))}, "no power spectrum"),
        ({"spectrum": np.ones(())}, "no power spectrum"),
        ({"spectrum": np.array([{}] * 4, dtype=object)}, "no readable npz"),
        ({"image_size": np.asarray(64)}, "no power spectrum"),
        ({"image_size": np.asarray([8, 8])}, "no power spectrum"),
        ({"samples": np.asarray("many")}, "description"),
    ):
        np.savez(path, **(good | change))
        with pytest.raises(DataError, match=message):
            Spectrum.load(path)
    np.savez(path, image_size=np.asarray(8))
    with pytest.raises(DataError, match="holds no 'spectrum'"):
        Spectrum.load(path)
    np.savez(path, **good)
    for length in (0, 10, 300, len(path.read_bytes()) - 5):
        (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:length])
        with pytest.raises(DataError, match="no readable npz"):
            Spectrum.load(tmp_path / "cut.npz")
    with pytest.raises(DataError, match="no such file"):
        Spectrum.load(tmp_path / "absent.npz")


# ----------------------------------------------------------------------------------------------------------------------
# Datasets and models


def test_all_sources_share_the_statistics_of_the_first_dataset(tmp_path: Path) -> None:
    first, second = noise(6), noise(4, seed=1) // 2
    one, two = write_dataset(tmp_path, first, "one.zip"), write_dataset(tmp_path, second, "two.zip")
    model = tiny_model()
    by_model, by_one, by_two = power_spectra([model, one, str(two)], device="cpu", samples=8)
    assert (by_one.mean, by_one.std) == mean_std([first])
    assert (by_two.mean, by_two.std) == (by_model.mean, by_model.std) == (by_one.mean, by_one.std)
    assert (by_one.samples, by_two.samples, by_model.samples) == (6, 4, 8)
    assert [by_model.name, by_one.name, by_two.name] == ["stylegan3 model", str(one), str(two)]
    expected = average_power_spectrum([second], mean=by_one.mean, std=by_one.std)
    np.testing.assert_allclose(by_two.power, expected.power, rtol=1e-12)
    # … or of another dataset, or of a spectrum made before.
    chosen = power_spectra([one], stats=two, device="cpu")[0]
    assert (chosen.mean, chosen.std) == mean_std([second])
    later = power_spectra([by_one.save(tmp_path / "one.npz"), two], device="cpu")
    assert np.array_equal(later[1].power, by_two.power)
    assert np.array_equal(later[0].power, by_one.power)


def test_models_alone_have_their_own_statistics() -> None:
    models = [tiny_model(seed=1), tiny_model(seed=2)]
    for model, spectrum in zip(models, power_spectra(models, device="cpu", samples=5, batch_size=5), strict=True):
        images = model.generate(range(5), output="np", batch_size=5)
        assert (spectrum.mean, spectrum.std) == mean_std([torch.from_numpy(images)])
        batch = torch.from_numpy(images).permute(0, 3, 1, 2)
        np.testing.assert_allclose(spectrum.power, average_power_spectrum([batch]).power, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["stylegan2", "stylegan3"])
def test_the_same_seed_gives_the_same_spectrum(kind: str, tmp_path: Path) -> None:
    """Latents, classes and noise belong to the image: seeds 3 to 8 are the last six of 0 to 8."""
    model = tiny_model(kind=kind, c_dim=3)
    data = write_dataset(tmp_path, noise(30), "data.zip")

    def made(**options: Any) -> list[np.ndarray]:
        return [spectrum.power for spectrum in power_spectra([data, model], device="cpu", **options)]

    torch.manual_seed(1)
    first = made(samples=6, seed=3, batch_size=4)
    torch.manual_seed(2)
    assert all(map(np.array_equal, first, made(samples=6, seed=3, batch_size=4)))
    for one, other in zip(first, made(samples=6, seed=3, batch_size=1), strict=True):
        np.testing.assert_allclose(one, other, rtol=0.02, atol=1e-4)  # a byte may round otherwise
    assert not any(map(np.array_equal, first, made(samples=6, seed=4)))
    shared: dict[str, Any] = {"stats": write_dataset(tmp_path, noise(3), "three.zip"), "device": "cpu"}
    parts = [power_spectra([model], seed=seed, samples=count, **shared)[0] for seed, count in ((0, 3), (3, 6), (0, 9))]
    mixed = (3 * parts[0].power + 6 * parts[1].power) / 9
    np.testing.assert_allclose(parts[2].power, mixed, rtol=0.02, atol=1e-3)


def test_progress_counts_every_image(tmp_path: Path) -> None:
    data = write_dataset(tmp_path, noise(7), "data.zip")
    seen: list[tuple[int, int]] = []
    power_spectra(
        [ImageDataset(data), tiny_model()],
        stats=data,
        samples=5,
        batch_size=2,
        device="cpu",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [done for done, _ in seen] == [2, 4, 5, 7, 9, 10, 12, 14, 15]
    assert {total for _, total in seen} == {15}


def test_one_line_says_what_does_not_fit(tmp_path: Path) -> None:
    small, large = (write_dataset(tmp_path, noise(2, size), f"{size}.zip") for size in (8, 16))
    with pytest.raises(ConfigError, match=r"16\.zip has 16 px, but .*8\.zip has 8 px") as caught:
        power_spectra([small, large], device="cpu")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="has 8 px"):
        power_spectra([tiny_model(), small], device="cpu")
    with pytest.raises(ConfigError, match="spectra of what"):
        power_spectra([])
    for options in ({"samples": 0}, {"batch_size": 0}, {"seed": -1}, {"seed": 2**32 - 5}, {"interpolation": 40}):
        with pytest.raises(ConfigError):
            power_spectra([small], device="cpu", **options)  # type: ignore[arg-type]
    grey = write_dataset(tmp_path, torch.full((2, 3, 8, 8), 7, dtype=torch.uint8), "grey.zip")
    with pytest.raises(ConfigError, match=r"grey\.zip.*without any contrast"):
        power_spectra([grey], device="cpu")


# ----------------------------------------------------------------------------------------------------------------------
# Pictures


def wave(size: int = 16) -> Spectrum:
    y, x = np.mgrid[:size, :size]
    image = (127 + 100 * np.cos(2 * np.pi * (3 * x + y) / size)).astype(np.uint8)
    return average_power_spectrum([torch.from_numpy(image)[None, None]], name="wave")


def test_the_heat_map_shows_the_wave() -> None:
    """The brightest places of the picture are at (3, 1) and (−3, −1): right and below, left and above the middle."""
    side = 160
    pixels = np.asarray(filled_contours(wave().heat_map(0.5), side)).astype(int).sum(2)
    rows, columns = np.nonzero(pixels == pixels.max())
    is_right = columns > side / 2
    for half, sign in ((is_right, 1), (~is_right, -1)):
        assert columns[half].mean() == pytest.approx(side / 2 + sign * 3 / 16 * side, abs=2)
        assert rows[half].mean() == pytest.approx(side / 2 + sign * 1 / 16 * side, abs=2)


def test_colours_grow_brighter() -> None:
    colours = _level_colours()
    assert len(colours) == len(LEVELS_DB) + 1  # and one for what is below all levels, one for what is above
    assert np.all(np.diff([sum(colour) for colour in colours[1:-1]]) > 0)


def test_pictures_of_any_number_of_spectra() -> None:
    one = wave()
    heights = []
    for count in (1, 2, 5, 9):
        picture = spectra_picture([one] * count, directions=parse_directions("0,30,45,radial")[: min(count, 4)])
        assert picture.mode == "RGB"
        assert picture.width == 1280
        heights.append(picture.height)
        bottom = np.asarray(picture)[-4:]
        assert bottom.min() == 255  # nothing is cut off
    assert heights == sorted(heights)
    assert np.array_equal(np.asarray(spectra_picture([one])), np.asarray(spectra_picture([one])))
    for spectra, count in (([one] * 17, 1), ([one], 0), ([], 1), ([one, wave(8)], 1)):
        with pytest.raises(ConfigError):
            spectra_picture(spectra, directions=[0.0] * count)


def test_the_font_has_all_that_is_written() -> None:
    font = ImageFont.load_default(size=18)

    def drawn(text: str) -> np.ndarray:
        picture = Image.new("L", (40, 40))
        ImageDraw.Draw(picture).text((5, 5), text, fill=255, font=font)
        return np.asarray(picture)

    for character in "-.,°·…" + _number(-40.5):
        assert not np.array_equal(drawn(character), drawn("\uffff")), character


def test_directions() -> None:
    assert parse_directions("0, 45,radial,-30.5") == [0.0, 45.0, "radial", -30.5]
    for text in ("", "0,", "left", "nan", "inf", "0,1,2,3,4,5,6"):
        with pytest.raises(ConfigError, match="slices"):
            parse_directions(text)
