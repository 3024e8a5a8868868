"""The generators between StyleGAN2 and StyleGAN3: steps D to H of the ladder (Karras et al. 2021, section 3, table 3).

Dimensions: N batch · C I O channels · H W pixels · D features of w.

The paper turns StyleGAN2 (A) into StyleGAN3 (T, R) one change at a time and measures each. A, B and C are
`StyleGAN2Config` with and without `use_fourier_input` and `use_noise`; T and R are `StyleGAN3Config`; here is what lies
between. All steps have two layers per resolution from 4×4 pixels up, one for the colours, and no skip connections; the
mean square of its input normalises each layer. They differ in four fields:

    step                             margin_px   upsampling   lrelu_upsampling   use_lower_cutoffs   use_input_motion
    D simplified generator               0       bilinear            1
    E boundaries and upsampling         10       sinc                1
    F filtered non-linearities          10       sinc                2
    G non-critical sampling             10       sinc                2                 yes
    H transformed Fourier features      10       sinc                2                 yes                yes

From F on a layer is StyleGAN3's, and only the schedule differs: rates double every two layers, and the filters' cutoffs
follow from the rate alone. T replaces that schedule by one whose cutoffs grow smoothly.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from gantrol.models.config_checks import (
    check,
    check_at_least,
    check_at_most,
    check_clamp,
    check_layer_count,
    check_power_of_two,
    check_unit_interval,
)
from gantrol.models.fourier_input import FourierInput
from gantrol.models.layers import LRELU_GAIN, compute_dtype, resample_taps
from gantrol.models.style_generator import StyleGenerator
from gantrol.models.stylegan3 import Band, LayerSpec, SynthesisLayer, SynthesisNetwork, chain_layers
from gantrol.ops import bias_act, modulated_conv2d_resample

UPSAMPLINGS = ("bilinear", "sinc")
INPUT_CUTOFF = 2.0
"""The input's sines lie below so many cycles per image: what 4×4 pixels can hold (paper, section 3, config B)."""
INPUT_RATE = 4
"""Sampling rate of the input and of the first two layers."""
_NUM_CRITICAL = 2  # the layers at the full resolution, and the colours
_HALF_WIDTH = math.sqrt(2) - 1  # f_h as a share of s/2


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderConfig:
    """Everything that defines a generator of the ladder from D to H; the defaults are step H."""

    kind: ClassVar[str] = "ladder"

    resolution_px: int
    """Width and height of the image, a power of two."""
    channels: int = 3
    """Image channels: 3 colour, 1 grey."""
    z_dim: int = 512
    """Width of the latent z."""
    w_dim: int = 512
    """Width of the intermediate latent w."""
    c_dim: int = 0
    """Width of the label; 0 for an unconditional generator."""
    mapping_layers: int = 2
    """Layers of the mapping network."""
    w_avg_beta: float = 0.998
    """Decay of the running mean of w, per pass that updates it."""
    margin_px: int = 10
    """Pixels around the canvas, per side, in every layer but the last two; 0: zeros surround the canvas itself."""
    upsampling: str = "sinc"
    """Filter that doubles the resolution: bilinear ([1, 3, 3, 1], as in StyleGAN2) or sinc (Kaiser window)."""
    filter_size: int = 6
    """Taps of the sinc filters per unit of up- or downsampling, even."""
    lrelu_upsampling: int = 2
    """Oversampling of the non-linearity; 1: it is not filtered, and resolution doubles before the convolution."""
    use_lower_cutoffs: bool = True
    """End the filters' stop bands at s/2 instead of centring them on it, except at the full resolution."""
    use_input_motion: bool = True
    """Let w turn and move the input."""
    channel_base: int = 32768
    """A layer with cutoff f_c has channel_base/(2·f_c) channels, up to `channel_max`."""
    channel_max: int = 512
    """The most channels of a layer."""
    output_scale: float = 0.25
    """The image is the colour layer's output times this."""
    conv_clamp: float | None = 256.0
    """Limit of the activations' magnitude, for half precision; null for none."""
    num_low_precision_res: int = 4
    """How many of the highest resolutions may compute in half precision."""
    magnitude_ema_beta: float = 0.999
    """Decay of the running mean squares of activations, per pass that updates them: 0.5^(batch/20000) in the paper."""

    def __post_init__(self) -> None:
        check_power_of_two(self, "resolution_px", 8)
        check_at_least(self, 1, "channels", "z_dim", "w_dim", "mapping_layers", "lrelu_upsampling", "channel_max")
        check_at_least(self, 0, "c_dim", "margin_px", "num_low_precision_res")
        check_layer_count(self, "mapping_layers")
        check_at_most(self, 64, "filter_size", "lrelu_upsampling")
        check_at_least(self, self.resolution_px, "channel_base")
        check(self, "upsampling", self.upsampling in UPSAMPLINGS, "one of " + ", ".join(UPSAMPLINGS))
        is_even = self.filter_size % 2 == 0 and self.filter_size > 0
        check(self, "filter_size", is_even, "an even number, at least 2")
        fits = self.upsampling == "sinc" or (self.lrelu_upsampling == 1 and not self.use_lower_cutoffs)
        check(self, "upsampling", fits, "sinc where lrelu_upsampling > 1 or use_lower_cutoffs")
        check_unit_interval(self, "w_avg_beta", "magnitude_ema_beta")
        check_clamp(self)

    def build(self) -> LadderGenerator:
        """A new generator with random weights, drawn from torch's global random state."""
        return LadderGenerator(self)


def ladder_schedule(config: LadderConfig) -> list[LayerSpec]:
    """The 2·log₂(resolution/2) layers and the colours: two layers at each power of two from 4 on (paper, section 3).

    Filters are critically sampled, f_c = s/2, with a half width of f_h = (√2 − 1)·s/2, until step G lowers the cutoffs
    to f_c = s/2 − f_h; the layers at the full resolution, which must make crisp images, keep theirs. Widths follow from
    f_c, hence they grow in step G.
    """
    rates = [rate for rate in _powers_of_two(INPUT_RATE, config.resolution_px) for _ in range(2)]
    bands = []
    for rate in [*rates, config.resolution_px]:
        half_width = _HALF_WIDTH * rate / 2
        is_lower = config.use_lower_cutoffs and rate < config.resolution_px
        bands.append(Band(sampling_rate=rate, cutoff=rate / 2 - (half_width if is_lower else 0), half_width=half_width))
    num_critical = _NUM_CRITICAL if config.use_lower_cutoffs else len(rates)
    schedule = chain_layers(config, bands, num_critical=num_critical)
    if config.lrelu_upsampling > 1:
        return schedule
    return [spec if spec.is_torgb else _upsampling_first(spec) for spec in schedule]


def _powers_of_two(first: int, last: int) -> list[int]:
    return [2**i for i in range(first.bit_length() - 1, last.bit_length())]


def _upsampling_first(spec: LayerSpec) -> LayerSpec:
    """The layer as `UnfilteredLayer` runs it: the convolution keeps the size that it is given."""
    crop = (spec.in_size_px * spec.up - spec.out_size_px) // 2
    return dataclasses.replace(spec, padding=(-crop, -crop, -crop, -crop))


class UnfilteredLayer(SynthesisLayer):
    """A layer of steps D and E: StyleGAN2's, with an input of unit magnitude.

    Doubles the resolution where the schedule says so, convolves at the new rate and applies the non-linearity there,
    with no filter around it; then crops to the margin (step E) or, with zeros for what lies beyond the border, keeps
    the canvas (step D).

    Args:
        spec: the layer's row of the schedule.
        is_bilinear: upsample with [1, 3, 3, 1] instead of the schedule's filter.
        w_dim, conv_clamp, magnitude_ema_beta: as in `SynthesisLayer`.
    """

    def __init__(
        self, spec: LayerSpec, *, is_bilinear: bool, w_dim: int, conv_clamp: float | None, magnitude_ema_beta: float
    ) -> None:
        super().__init__(spec, w_dim=w_dim, conv_clamp=conv_clamp, magnitude_ema_beta=magnitude_ema_beta)
        if is_bilinear and spec.up > 1:
            self.up_filter = resample_taps()

    def forward(self, x: Tensor, w: Tensor, *, update_emas: bool = False, dtype: torch.dtype = torch.float32) -> Tensor:
        """Maps features [N, I, H_in, W_in] and w [N, D] to [N, O, H_out, W_out]."""
        spec = self.spec
        input_gain = self.input_gain(x, update_emas)
        dtype = compute_dtype(self.weight, dtype, spec.is_low_precision)
        x = modulated_conv2d_resample(
            x.to(dtype) * input_gain.to(dtype),
            self.weight,
            self.affine(w),
            up=spec.up,
            padding=spec.conv_kernel // 2,
            f=self.up_filter,
            flip_weight=spec.up == 1,  # the transposed convolution of up = 2 sees the kernel as it is stored
        )  # [N, O, H_in·up, W_in·up]
        left, right, top, bottom = spec.padding  # zero or negative
        x = x[:, :, -top : x.shape[2] + bottom, -left : x.shape[3] + right]
        return bias_act(x, self.bias.to(dtype), act="lrelu", gain=LRELU_GAIN, clamp=self.conv_clamp)


class LadderGenerator(StyleGenerator):
    """A generator of the ladder from D to H; a `gantrol.models.Generator`.

    State-dict names are those of StyleGAN3; `synthesis.input.affine.*` is there only with `use_input_motion`.
    """

    synthesis: SynthesisNetwork

    def __init__(self, config: LadderConfig) -> None:
        first, *_ = schedule = ladder_schedule(config)
        fourier_input = FourierInput(
            w_dim=config.w_dim if config.use_input_motion else None,
            channels=first.in_channels,
            size_px=first.in_size_px,
            sampling_rate=INPUT_RATE,
            bandwidth=INPUT_CUTOFF,
        )
        layers = [_layer(spec, config) for spec in schedule]
        synthesis = SynthesisNetwork(fourier_input, layers, w_dim=config.w_dim, output_scale=config.output_scale)
        super().__init__(config, synthesis, synthesis.num_ws)
        self.config = config


def _layer(spec: LayerSpec, config: LadderConfig) -> SynthesisLayer:
    if spec.is_torgb or config.lrelu_upsampling > 1:
        return SynthesisLayer(
            spec,
            w_dim=config.w_dim,
            conv_clamp=config.conv_clamp,
            magnitude_ema_beta=config.magnitude_ema_beta,
        )
    return UnfilteredLayer(
        spec,
        is_bilinear=config.upsampling == "bilinear",
        w_dim=config.w_dim,
        conv_clamp=config.conv_clamp,
        magnitude_ema_beta=config.magnitude_ema_beta,
    )
