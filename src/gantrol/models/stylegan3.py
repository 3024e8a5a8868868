"""StyleGAN3: the alias-free generator (Karras et al. 2021, "Alias-Free Generative Adversarial Networks").

Dimensions: N batch · C I O channels · H W pixels · P = H·W · D features of w · L copies of w (input block and layers).

A feature map is a sampled encoding of a continuous signal on the unit square: at sampling rate s (samples per image
width) it represents frequencies below s/2 cycles per image. Every layer acts on the continuous signal, equivariantly
to translation (configuration T) or to translation and rotation (configuration R: 1×1 kernels, radial filters):

* convolution creates no new frequencies;
* the non-linearity does; it runs at twice the rate between two low-pass filters (`filtered_lrelu`);
* the input is a set of sines, which can be moved and turned exactly (`FourierInput`);
* margins around the canvas keep the border, a position cue, out of the image.

Layers have a *cutoff* f_c, the band they may use, and a *half width* f_h of the filters' transition band; both grow
geometrically from the input to the output (`layer_schedule`; paper, section 3.2 and appendix C).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

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
from gantrol.models.layers import (
    LRELU_GAIN,
    FullyConnected,
    check_dtype,
    check_ws,
    compute_dtype,
)
from gantrol.models.protocols import NoiseMode, check_noise_mode
from gantrol.models.style_generator import StyleGenerator
from gantrol.ops import bias_act, design_lowpass_filter, filtered_lrelu, modulated_conv2d
from gantrol.ops.parts import move_mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleGAN3Config:
    """Everything that defines a StyleGAN3 generator; the defaults are configuration T.

    Configuration R has `conv_kernel=1, use_radial_filters=True, channel_base=65536, channel_max=1024`.
    """

    kind: ClassVar[str] = "stylegan3"

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
    num_layers: int = 14
    """Synthesis layers N, not counting the last one, which makes the colours."""
    num_critical: int = 2
    """Layers at the end, including the colour layer, that use the whole band up to half the resolution."""
    first_cutoff: float = 2.0
    """f_c of the first layer, in cycles per image."""
    first_stopband: float = 2**2.1
    """f_t = f_c + f_h of the first layer, in cycles per image."""
    last_stopband_rel: float = 2**0.3
    """f_t of the last layer as a multiple of its cutoff."""
    margin_px: int = 10
    """Pixels around the canvas, per side, in every layer but the last two."""
    filter_size: int = 6
    """Taps of the low-pass filters per unit of up- or downsampling, even."""
    lrelu_upsampling: int = 2
    """Oversampling of the non-linearity."""
    conv_kernel: int = 3
    """Kernel size, odd: 3 in T, 1 in R."""
    use_radial_filters: bool = False
    """Downsampling with radially symmetric filters where not critically sampled: R."""
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
        check_at_least(self, 1, "channels", "z_dim", "w_dim", "mapping_layers", "num_critical")
        check_at_least(self, 1, "lrelu_upsampling", "channel_base", "channel_max")
        check_at_least(self, 0, "c_dim", "margin_px", "num_low_precision_res")
        check_layer_count(self, "mapping_layers", "num_layers")
        check_at_most(self, 64, "filter_size", "conv_kernel", "lrelu_upsampling")
        check(self, "num_layers", self.num_layers >= 2, "at least 2")
        is_odd = self.conv_kernel % 2 == 1 and self.conv_kernel > 0
        check(self, "conv_kernel", is_odd, "an odd number (3 for T, 1 for R)")
        is_even = self.filter_size % 2 == 0 and self.filter_size > 0
        check(self, "filter_size", is_even, "an even number, at least 2")
        in_range = self.num_critical < self.num_layers
        check(self, "num_critical", in_range, f"fewer than num_layers={self.num_layers}")
        highest = min(self.first_stopband, self.resolution_px / 2)
        in_range = 0.5 <= self.first_cutoff < highest
        check(self, "first_cutoff", in_range, f"from 0.5 to less than first_stopband and resolution_px/2: {highest:g}")
        check(self, "last_stopband_rel", self.last_stopband_rel > 1, "more than 1")
        check_unit_interval(self, "w_avg_beta", "magnitude_ema_beta")
        check_clamp(self)
        narrowest = self.channel_base / self.resolution_px
        check(self, "channel_base", round(narrowest) >= 1, f"at least resolution_px={self.resolution_px}")

    def build(self) -> StyleGAN3Generator:
        """A new generator with random weights, drawn from torch's global random state."""
        return StyleGAN3Generator(self)


# ----------------------------------------------------------------------------------------------------------------------
# The layer schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """One synthesis layer: sizes in pixels, rates in samples and frequencies in cycles per image width."""

    index: int
    is_torgb: bool
    is_critically_sampled: bool
    is_low_precision: bool
    """May compute in half precision."""
    in_channels: int
    out_channels: int
    in_size_px: int
    out_size_px: int
    in_sampling_rate: int
    out_sampling_rate: int
    tmp_sampling_rate: int
    """Rate of the non-linearity."""
    in_cutoff: float
    out_cutoff: float
    in_half_width: float
    out_half_width: float
    conv_kernel: int
    up: int
    down: int
    up_taps: int
    """Taps of the upsampling filter; 1 is none."""
    down_taps: int
    is_down_radial: bool
    padding: tuple[int, int, int, int]
    """Left, right, top, bottom at the temporary rate; negative crops."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Band:
    """What the output of a layer can represent; in samples and cycles per image width."""

    sampling_rate: int
    """s."""
    cutoff: float
    """f_c: the band that is used."""
    half_width: float
    """f_h: half the transition band of the filters."""


class ScheduledConfig(Protocol):
    """The fields of a config that decide, together with its bands, about its layers."""

    @property
    def resolution_px(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def margin_px(self) -> int: ...
    @property
    def filter_size(self) -> int: ...
    @property
    def lrelu_upsampling(self) -> int: ...
    @property
    def channel_base(self) -> int: ...
    @property
    def channel_max(self) -> int: ...
    @property
    def num_low_precision_res(self) -> int: ...


def chain_layers(
    config: ScheduledConfig,
    bands: Sequence[Band],
    *,
    num_critical: int,
    conv_kernel: int = 3,
    use_radial_filters: bool = False,
) -> list[LayerSpec]:
    """The layers whose outputs have `bands`, sized so that each fits the one before (paper, appendix C).

    Args:
        config: sizes and widths.
        bands: of each layer's output, the last one that of the colours; the first is also that of the network's input.
        num_critical: layers at the end, including the colour layer, that use the whole band.
        conv_kernel: of all layers but the colours.
        use_radial_filters: downsample with radial filters where not critically sampled.
    """
    n = len(bands) - 1
    sizes = [band.sampling_rate + 2 * config.margin_px for band in bands[:-2]] + [config.resolution_px] * 2
    widths = [round(min(config.channel_base / 2 / band.cutoff, config.channel_max)) for band in bands[:-1]]
    widths.append(config.channels)

    layers = []
    for i, after in enumerate(bands):
        last = max(i - 1, 0)
        before = bands[last]
        is_torgb = i == n
        is_critical = i >= n - num_critical
        kernel = 1 if is_torgb else conv_kernel
        tmp_rate = max(before.sampling_rate, after.sampling_rate) * (1 if is_torgb else config.lrelu_upsampling)
        up, down = tmp_rate // before.sampling_rate, tmp_rate // after.sampling_rate
        up_taps = config.filter_size * up if up > 1 and not is_torgb else 1
        down_taps = config.filter_size * down if down > 1 and not is_torgb else 1
        # The convolution adds kernel − 1 pixels; the padding makes the output come out at exactly the wanted size.
        total = (sizes[i] - 1) * down + 1 - (sizes[last] + kernel - 1) * up + up_taps + down_taps - 2
        low = (total + up) // 2
        layers.append(
            LayerSpec(
                index=i,
                is_torgb=is_torgb,
                is_critically_sampled=is_critical,
                is_low_precision=after.sampling_rate * 2**config.num_low_precision_res > config.resolution_px,
                in_channels=widths[last],
                out_channels=widths[i],
                in_size_px=sizes[last],
                out_size_px=sizes[i],
                in_sampling_rate=before.sampling_rate,
                out_sampling_rate=after.sampling_rate,
                tmp_sampling_rate=tmp_rate,
                in_cutoff=before.cutoff,
                out_cutoff=after.cutoff,
                in_half_width=before.half_width,
                out_half_width=after.half_width,
                conv_kernel=kernel,
                up=up,
                down=down,
                up_taps=up_taps,
                down_taps=down_taps,
                is_down_radial=use_radial_filters and not is_critical,
                padding=(low, total - low, low, total - low),
            )
        )
    return layers


def layer_schedule(config: StyleGAN3Config) -> list[LayerSpec]:
    """The N + 1 synthesis layers (paper, section 3.2 and appendix C; the last makes the colours).

    With e_i = min(i/(N − N_crit), 1), cutoffs f_c and stopbands f_t grow geometrically; the sampling rate is the power
    of two that holds 2·f_t (at most the resolution), and f_h = max(f_t, s/2) − f_c fills what the rate leaves free.
    """
    n, res = config.num_layers, config.resolution_px
    last_cutoff = res / 2
    last_stopband = last_cutoff * config.last_stopband_rel
    bands = []
    for i in range(n + 1):
        exponent = min(i / (n - config.num_critical), 1)
        cutoff = config.first_cutoff * (last_cutoff / config.first_cutoff) ** exponent
        stopband = config.first_stopband * (last_stopband / config.first_stopband) ** exponent
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, res)))
        bands.append(Band(sampling_rate=rate, cutoff=cutoff, half_width=max(stopband, rate / 2) - cutoff))
    return chain_layers(
        config,
        bands,
        num_critical=config.num_critical,
        conv_kernel=config.conv_kernel,
        use_radial_filters=config.use_radial_filters,
    )


# ----------------------------------------------------------------------------------------------------------------------
# The layers


class SynthesisLayer(nn.Module):
    """Modulated convolution and alias-free non-linearity, or the conversion to colours (paper, figure 4b).

    The running mean square of the input, `magnitude_ema`, normalises the activations (appendix C.1).

    Args:
        spec: the layer's row of the schedule.
        w_dim: width of w.
        conv_clamp: limit of the activations' magnitude, or None.
        magnitude_ema_beta: decay of `magnitude_ema`, per pass with `update_emas`.
    """

    magnitude_ema: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None

    def __init__(self, spec: LayerSpec, *, w_dim: int, conv_clamp: float | None, magnitude_ema_beta: float) -> None:
        super().__init__()
        self.spec = spec
        self.conv_clamp = conv_clamp
        self.magnitude_ema_beta = magnitude_ema_beta
        self.affine = FullyConnected(w_dim, spec.in_channels, bias_init=1.0)
        k = spec.conv_kernel
        self.weight = nn.Parameter(torch.randn(spec.out_channels, spec.in_channels, k, k))
        self.bias = nn.Parameter(torch.zeros(spec.out_channels))
        self.register_buffer("magnitude_ema", torch.ones([]))
        up_filter = design_lowpass_filter(
            spec.up_taps, cutoff=spec.in_cutoff, width=2 * spec.in_half_width, fs=spec.tmp_sampling_rate
        )
        down_filter = design_lowpass_filter(
            spec.down_taps,
            cutoff=spec.out_cutoff,
            width=2 * spec.out_half_width,
            fs=spec.tmp_sampling_rate,
            radial=spec.is_down_radial,
        )
        self.register_buffer("up_filter", up_filter, persistent=False)
        self.register_buffer("down_filter", down_filter, persistent=False)

    def input_gain(self, x: Tensor, update_emas: bool) -> Tensor:
        """The factor [] that brings the input to unit magnitude on average; `x` moves that average if asked to."""
        if update_emas:
            with torch.no_grad():
                mean_square = x.detach().to(self.magnitude_ema.dtype).square().mean()
                move_mean(self.magnitude_ema, mean_square, 1 - self.magnitude_ema_beta)
        return self.magnitude_ema.rsqrt()

    def forward(self, x: Tensor, w: Tensor, *, update_emas: bool = False, dtype: torch.dtype = torch.float32) -> Tensor:
        """Maps features [N, I, H_in, W_in] and w [N, D] to [N, O, H_out, W_out]."""
        spec = self.spec
        input_gain = self.input_gain(x, update_emas)
        dtype = compute_dtype(self.weight, dtype, spec.is_low_precision)
        styles = self.affine(w)  # [N, I]
        if spec.is_torgb:
            styles = styles / math.sqrt(spec.in_channels)
        x = modulated_conv2d(
            x.to(dtype),
            self.weight,
            styles,
            demodulate=not spec.is_torgb,
            padding=spec.conv_kernel - 1,
            input_gain=input_gain,
        )  # [N, O, H_in + k − 1, W_in + k − 1]
        bias = self.bias.to(dtype)
        if spec.is_torgb:  # neither resampling nor non-linearity: only bias and clamp are left
            return bias_act(x, bias, clamp=self.conv_clamp)
        return filtered_lrelu(
            x,
            fu=self.up_filter,
            fd=self.down_filter,
            b=bias,
            up=spec.up,
            down=spec.down,
            padding=list(spec.padding),
            gain=LRELU_GAIN,
            slope=0.2,
            clamp=self.conv_clamp,
        )


class SynthesisNetwork(nn.Module):
    """The network ws ↦ image: Fourier input, N layers, colour layer.

    Each layer takes its own w, in this order; if w moves the input, that takes the first one.

    Args:
        fourier_input: the input.
        layers: the layers, built after the input.
        w_dim: width of w.
        output_scale: the image is the colour layer's output times this.
    """

    def __init__(
        self, fourier_input: FourierInput, layers: Iterable[SynthesisLayer], *, w_dim: int, output_scale: float
    ) -> None:
        super().__init__()
        self.w_dim = w_dim
        self.output_scale = output_scale
        self.input = fourier_input
        self.layers = nn.ModuleList(layers)
        self.num_ws = len(self.layers) + (fourier_input.affine is not None)

    def forward(
        self,
        ws: Tensor,
        *,
        noise_mode: NoiseMode = "random",
        update_emas: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Renders ws [N, num_ws, w_dim].

        Args:
            ws: one w for the input, if w moves it, and one for each layer.
            noise_mode: accepted for the common interface; there is no noise here.
            update_emas: update the layers' `magnitude_ema` before it is used.
            dtype: float32, or a half type in which the layers of the highest resolutions compute.

        Returns:
            float32 [N, C, H, W], about [-1, 1], not clamped.

        Raises:
            ConfigError: wrong shape of ws, unknown noise_mode or dtype.
        """
        check_ws(ws, self.num_ws, self.w_dim)
        check_noise_mode(noise_mode)
        check_dtype(dtype)
        each = ws.to(self.input.weight.dtype).unbind(dim=1)
        x = self.input(each[0])  # [N, C_0, size_0, size_0]
        for layer, w in zip(self.layers, each[-len(self.layers) :], strict=True):
            x = layer(x, w, update_emas=update_emas, dtype=dtype)
        return (x * self.output_scale).to(self.input.weight.dtype)  # [N, C, H, W]


class StyleGAN3Generator(StyleGenerator):
    """StyleGAN3 generator, configurations T and R; a `gantrol.models.Generator`.

    State-dict names: `mapping.w_avg`, `mapping.embed.*`, `mapping.layers.{i}.*`, `synthesis.input.{weight, freqs,
    phases, affine.*}`, `synthesis.layers.{i}.{weight, bias, magnitude_ema, affine.*}`. Filters follow from the config.
    """

    synthesis: SynthesisNetwork

    def __init__(self, config: StyleGAN3Config) -> None:
        first, *_ = schedule = layer_schedule(config)
        fourier_input = FourierInput(
            w_dim=config.w_dim,
            channels=first.in_channels,
            size_px=first.in_size_px,
            sampling_rate=first.in_sampling_rate,
            bandwidth=first.in_cutoff,
        )
        layers = [
            SynthesisLayer(
                spec,
                w_dim=config.w_dim,
                conv_clamp=config.conv_clamp,
                magnitude_ema_beta=config.magnitude_ema_beta,
            )
            for spec in schedule
        ]
        synthesis = SynthesisNetwork(fourier_input, layers, w_dim=config.w_dim, output_scale=config.output_scale)
        super().__init__(config, synthesis, synthesis.num_ws)
        self.config = config
