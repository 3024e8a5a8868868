"""Looking inside: maps that are what the layers make, components that add up, attention that is a row of the matrix."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from gantrol.errors import ConfigError
from gantrol.inside import (
    FeatureMap,
    as_rgb,
    attention_blocks,
    attention_map,
    attention_sheet,
    feature_maps,
    has_filters,
    layer_bands,
    layer_modules,
    principal_components,
    translation_slice,
    with_ordinary_filters,
)
from gantrol.inside.layer_bands import COLUMNS, UNITS, band_rows
from gantrol.model import Model
from gantrol.models import AutoGANConfig, StyleGAN2Config, StyleGAN3Config, WGANGPConfig
from gantrol.models.transgan import TransGANConfig, TransGANStage
from gantrol.pictures import to_arrays


def built(config: Any) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Model(config.build().eval().requires_grad_(False))


@pytest.fixture(scope="module")
def alias_free() -> Model:
    return built(
        StyleGAN3Config(resolution_px=16, num_layers=4, channel_base=256, channel_max=8, z_dim=8, w_dim=8, margin_px=4)
    )


@pytest.fixture(scope="module")
def transformer() -> Model:
    stages = (
        TransGANStage(side=4, channels=16, depth=1, upsampling="none"),
        TransGANStage(side=8, channels=16, depth=1, window=4, upsampling="bicubic"),
    )
    return built(TransGANConfig(resolution_px=8, z_dim=8, stages=stages, heads=2, relative_position=True))


@pytest.fixture(scope="module")
def ordinary() -> Model:
    return built(StyleGAN2Config(resolution_px=16, z_dim=8, w_dim=8, channel_base=128, channel_max=16))


# ----------------------------------------------------------------------------------------------------------------------
# Feature maps


def test_the_last_map_of_a_stylegan3_is_the_image_before_its_scale(alias_free: Model) -> None:
    ws = alias_free.map([1])
    maps = feature_maps(alias_free, ws)
    assert list(maps) == ["input", *(f"layers.{i}" for i in range(5))]
    last = maps["layers.4"]
    image = alias_free.generator.synthesis(ws)[0]
    torch.testing.assert_close(last.values * alias_free.config.output_scale, image)
    for spec, name in zip((layer.spec for layer in alias_free.generator.synthesis.layers), list(maps)[1:], strict=True):
        made = maps[name]
        assert made.values.shape == (spec.out_channels, spec.out_size_px, spec.out_size_px)
        assert made.canvas.shape[1:] == (spec.out_sampling_rate,) * 2
        assert made.cutoff == spec.out_cutoff
    assert not alias_free.generator.synthesis.layers[0]._forward_hooks


def test_every_architecture_has_maps(alias_free: Model, transformer: Model, ordinary: Model) -> None:
    others = (built(AutoGANConfig(resolution_px=32, width=8)), built(WGANGPConfig(resolution_px=32, width=8)))
    for model in (alias_free, transformer, ordinary, *others):
        maps = feature_maps(model, model.map([0]))
        assert set(maps) == set(layer_modules(model.generator))
        assert len(maps) > 1
        for made in maps.values():
            assert made.values.shape[1] == made.values.shape[2]
            assert as_rgb(made.canvas).shape == (*made.canvas.shape[1:], 3)


def test_tokens_become_a_grid_row_by_row(transformer: Model) -> None:
    ws = transformer.map([0])
    found: list[torch.Tensor] = []
    stage = transformer.generator.synthesis.stages[1]
    with stage.blocks[0].register_forward_hook(lambda _m, _a, output: found.append(output)):
        made = feature_maps(transformer, ws, ["stages.1.blocks.0"])["stages.1.blocks.0"]
    assert torch.equal(made.values[:, 2, 5], found[0][0, 2 * 8 + 5])


def test_components_are_strongest_first_and_uncorrelated() -> None:
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(6, 12, 12, generator=rng) * torch.tensor([5.0, 3, 2, 1, 0.5, 0.1])[:, None, None]
    found = principal_components(values, 6)
    assert list(found.shares) == sorted(found.shares, reverse=True)
    assert sum(found.shares) == pytest.approx(1)
    points = found.pictures.flatten(1)
    covariance = points @ points.T / points.shape[1]
    torch.testing.assert_close(covariance, torch.diag(covariance.diag()), atol=1e-4, rtol=0)
    assert torch.equal(principal_components(values).pictures, found.pictures[:3])


def test_channels_are_shown_around_grey_and_refused_in_one_line() -> None:
    values = torch.linspace(-1, 1, 16).view(1, 4, 4).repeat(4, 1, 1) + 7
    grey = as_rgb(values, [2])
    assert (grey[..., 0] == grey[..., 1]).all()
    assert grey[0, 0, 0] == 0
    assert grey[-1, -1, 0] == 255
    for channels in ([4], [0, 1], [-1], []):
        with pytest.raises(ConfigError, match="expected one or three of 0 to 3"):
            as_rgb(values, channels)
    assert as_rgb(torch.zeros(5, 4, 4)).std() == 0  # nothing to see is grey, not NaN


def test_the_spectrum_of_a_map_peaks_at_its_wave() -> None:
    x = torch.arange(16) / 16
    wave = torch.sin(2 * torch.pi * 5 * x).expand(16, 16)
    made = FeatureMap(layer="x", values=torch.stack([wave + 9, 2 * wave]))
    frequencies, levels = made.spectrum().slice(0.0)
    assert frequencies[levels.argmax()] == pytest.approx(5, abs=0.5)  # the mean of a channel counts for nothing
    with pytest.raises(ConfigError, match="too small for a spectrum"):
        FeatureMap(layer="x", values=torch.zeros(1, 4, 4)).spectrum()
    with pytest.raises(ConfigError, match="without any contrast"):
        FeatureMap(layer="x", values=torch.ones(1, 16, 16)).spectrum()


def test_other_layers_and_several_images_are_refused(alias_free: Model) -> None:
    with pytest.raises(ConfigError, match=r"there is no layer 'layers.9'; did you mean"):
        feature_maps(alias_free, alias_free.map([0]), ["layers.9"])
    with pytest.raises(ConfigError, match="those of one"):
        feature_maps(alias_free, alias_free.map([0, 1]))


# ----------------------------------------------------------------------------------------------------------------------
# Attention


@pytest.mark.parametrize("block", ["stages.0.blocks.0", "stages.1.blocks.0"])
def test_a_map_is_a_row_of_the_whole_matrix(transformer: Model, block: str) -> None:
    ws = transformer.map([3])
    side = attention_blocks(transformer.generator)[block]
    whole = transformer.generator.synthesis.attention_maps(ws, blocks=[block])[block][0]
    row, column = side - 2, 1
    found = attention_map(transformer, ws, block, (row, column))
    assert found.heads.shape == (2, side, side)
    if side == 8:  # windows of 4×4: the query stands in the lower left one
        expected = whole[2][:, (row % 4) * 4 + column].unflatten(1, (4, 4))
        assert found.window == (0, 4, 4, 8)
        torch.testing.assert_close(found.heads[:, 4:, :4], expected)
        assert found.heads[:, :4].abs().sum() == 0
    else:
        torch.testing.assert_close(found.heads, whole[:, row * side + column].unflatten(1, (side, side)))
    torch.testing.assert_close(found.heads.sum(dim=(1, 2)), torch.ones(2))
    assert all(1 <= spread <= side**2 for spread in found.spread)
    sheet = attention_sheet(found, to_arrays(transformer.synthesize(ws))[0], 40)
    assert sheet.size == (2 * 40 + 8, 40)


def test_attention_that_is_not_there_is_refused(alias_free: Model, transformer: Model) -> None:
    assert attention_blocks(alias_free.generator) == {}
    with pytest.raises(ConfigError, match="a stylegan3 model has no attention"):
        attention_map(alias_free, alias_free.map([0]), "x", (0, 0))
    with pytest.raises(ConfigError, match="there is no block"):
        attention_map(transformer, transformer.map([0]), "stages.7", (0, 0))
    with pytest.raises(ConfigError, match="query 4,0"):
        attention_map(transformer, transformer.map([0]), "stages.0.blocks.0", (4, 0))


# ----------------------------------------------------------------------------------------------------------------------
# Bands, filters, translations


def test_bands_are_those_of_the_schedule(alias_free: Model, ordinary: Model) -> None:
    bands = layer_bands(alias_free.generator)
    assert [band.cutoff for band in bands][-1] == 8
    assert all(a.cutoff <= b.cutoff for a, b in itertools.pairwise(bands))
    assert all(band.headroom >= 0 for band in bands if not band.is_critically_sampled)
    assert all(band.headroom < 0 for band in bands if band.is_critically_sampled)
    assert all(len(row) == len(COLUMNS) == len(UNITS) for row in band_rows(bands))
    assert layer_bands(ordinary.generator) == []


def test_ordinary_filters_keep_the_mean_and_leave_the_model_alone(alias_free: Model, ordinary: Model) -> None:
    before = alias_free.generate([0], output="np")
    twin = with_ordinary_filters(alias_free)
    for layer in twin.generator.synthesis.layers:
        for taps in (layer.up_filter, layer.down_filter):
            if taps is not None:
                assert float(taps.sum()) == pytest.approx(1)
                assert torch.equal(taps, taps.flip(0))  # nothing shifts
    assert not np.array_equal(twin.generate([0], output="np"), before)
    assert np.array_equal(alias_free.generate([0], output="np"), before)
    assert not has_filters(ordinary.generator)
    with pytest.raises(ConfigError, match="no low-pass filters to replace"):
        with_ordinary_filters(ordinary)


def test_an_alias_free_picture_moves_more_exactly_than_with_ordinary_filters(alias_free: Model) -> None:
    ws = alias_free.map([0])
    calls: list[tuple[int, int]] = []
    found = translation_slice(
        alias_free, ws, span_px=2.0, steps=9, batch_size=4, progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(4, 9), (8, 9), (9, 9)]
    assert found.rows.shape == (9, 16, 3)
    assert np.array_equal(found.picture[8], found.rows[0])
    twin = translation_slice(with_ordinary_filters(alias_free), ws, span_px=2.0, steps=9)
    assert found.mean_psnr > twin.mean_psnr + 10
    whole = found.psnr[4], twin.psnr[4]  # after exactly one pixel
    assert whole[0] > 40


def test_a_picture_that_cannot_be_moved_is_refused(alias_free: Model, ordinary: Model) -> None:
    with pytest.raises(ConfigError, match="cannot be translated"):
        translation_slice(ordinary, ordinary.map([0]))
    for wrong in ({"steps": 1}, {"span_px": 0.0}, {"span_px": 9.0}, {"row": 16}):
        with pytest.raises(ConfigError, match="expected"):
            translation_slice(alias_free, alias_free.map([0]), **wrong)  # type: ignore[arg-type]
