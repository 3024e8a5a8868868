"""StyleGAN2: the generator (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN").

Dimensions: N batch · C channels · H W pixels · D features of w · L copies of w.

Blocks double the resolution from a learned 4×4 constant, or from sines that can be moved (StyleGAN3 paper, section 3,
config B). A layer is: modulated 3×3 convolution with demodulation (section 2.2) → + noise → + bias → leaky ReLU·√2 →
clamp. How blocks become an image is the *architecture* (section 4.1 and figure 7): `skip` sums upsampled colour images
of all resolutions, `resnet` has residual connections, `orig` has neither.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from gantrol.models.config_checks import (
    check,
    check_at_least,
    check_clamp,
    check_layer_count,
    check_power_of_two,
    check_unit_interval,
)
from gantrol.models.fourier_input import FourierInput
from gantrol.models.layers import (
    LRELU_GAIN,
    Convolution,
    FullyConnected,
    check_dtype,
    check_ws,
    compute_dtype,
    resample_taps,
)
from gantrol.models.protocols import NoiseMode, check_noise_mode
from gantrol.models.style_generator import StyleGenerator
from gantrol.ops import bias_act, modulated_conv2d, modulated_conv2d_resample, upsample2d
from gantrol.ops.parts import drawn

ARCHITECTURES = ("skip", "resnet", "orig")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleGAN2Config:
    """Everything that defines a StyleGAN2 generator."""

    kind: ClassVar[str] = "stylegan2"

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
    mapping_layers: int = 8
    """Layers of the mapping network."""
    w_avg_beta: float = 0.998
    """Decay of the running mean of w, per pass that updates it."""
    architecture: str = "skip"
    """How the blocks make the image: skip, resnet or orig."""
    use_noise: bool = True
    """Whether layers add per-pixel noise."""
    use_fourier_input: bool = False
    """Start from sines below two cycles per image instead of a learned constant, so that the input can be moved."""
    channel_base: int = 32768
    """A block of r pixels has channel_base/r channels, up to `channel_max`."""
    channel_max: int = 512
    """The most channels of a block."""
    conv_clamp: float | None = 256.0
    """Limit of the activations' magnitude, for half precision; null for none."""
    num_low_precision_res: int = 4
    """How many of the highest resolutions may compute in half precision."""

    def __post_init__(self) -> None:
        check_power_of_two(self, "resolution_px", 4)
        check_at_least(self, 1, "channels", "z_dim", "w_dim", "mapping_layers", "channel_max")
        check_at_least(self, 0, "c_dim", "num_low_precision_res")
        check_layer_count(self, "mapping_layers")
        check_at_least(self, self.resolution_px, "channel_base")
        check(self, "architecture", self.architecture in ARCHITECTURES, "one of " + ", ".join(ARCHITECTURES))
        check_unit_interval(self, "w_avg_beta")
        check_clamp(self)

    def build(self) -> StyleGAN2Generator:
        """A new generator with random weights, drawn from torch's global random state."""
        return StyleGAN2Generator(self)


def block_resolutions(resolution_px: int) -> list[int]:
    """4, 8, …, `resolution_px`: the resolutions of the blocks."""
    return [2**i for i in range(2, resolution_px.bit_length())]


def lowest_short_resolution(resolution_px: int, num_low_precision_res: int) -> int:
    """The resolution from which on blocks may compute in half precision: the `num_low_precision_res` highest, ≥ 8."""
    return max(2 * resolution_px // 2**num_low_precision_res, 8)


class SynthesisLayer(nn.Module):
    """Modulated 3×3 convolution, noise, bias, leaky ReLU (section 2.2, figure 2c).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        resolution_px: size of the output.
        w_dim: width of w.
        up: 1, or 2 to double the resolution.
        use_noise: whether noise is added.
        conv_clamp: limit of the activations' magnitude before the extra gain of `forward`, or None.
    """

    noise_const: Tensor
    resample_filter: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        resolution_px: int,
        w_dim: int,
        up: int = 1,
        use_noise: bool = True,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.resolution_px = resolution_px
        self.up = up
        self.use_noise = use_noise
        self.conv_clamp = conv_clamp
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        if use_noise:
            self.register_buffer("noise_const", torch.randn(resolution_px, resolution_px))
            self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("resample_filter", resample_taps() if up > 1 else None, persistent=False)

    def forward(self, x: Tensor, w: Tensor, *, noise_mode: NoiseMode = "random", gain: float = 1.0) -> Tensor:
        """Maps features [N, I, H, W] and w [N, D] to [N, O, H·up, W·up] in the type of `x`, times `gain`."""
        noise = None
        if self.use_noise and noise_mode == "random":
            plane = (1, self.resolution_px, self.resolution_px)
            noise = drawn(x.shape[0], lambda n: torch.randn(n, *plane, device=x.device))
            noise = (noise * self.noise_strength).to(x.dtype)  # one plane for all channels
        elif self.use_noise and noise_mode == "const":
            noise = (self.noise_const * self.noise_strength).to(x.dtype)
        x = modulated_conv2d_resample(
            x,
            self.weight,
            self.affine(w),
            noise=noise,
            up=self.up,
            padding=1,
            f=self.resample_filter,
            flip_weight=self.up == 1,  # the transposed convolution of up = 2 sees the kernel as it is stored
        )
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return bias_act(x, self.bias.to(x.dtype), act="lrelu", gain=LRELU_GAIN * gain, clamp=clamp)


class ToRGB(nn.Module):
    """Modulated 1×1 convolution to colours, without demodulation."""

    def __init__(self, in_channels: int, out_channels: int, *, w_dim: int, conv_clamp: float | None = None) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.weight_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Maps features [N, I, H, W] and w [N, D] to colours [N, C, H, W] in the type of `x`."""
        x = modulated_conv2d(x, self.weight, self.affine(w) * self.weight_gain, demodulate=False)
        return bias_act(x, self.bias.to(x.dtype), clamp=self.conv_clamp)


class SynthesisBlock(nn.Module):
    """All layers of one resolution.

    Args:
        in_channels: channels of the previous block; 0 for the first one, which starts from a learned constant unless
            it is given its input.
        out_channels: channels of this block.
        resolution_px: size of the output.
        is_last: whether this is the last block.
        config: the generator's config.
    """

    resample_filter: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        resolution_px: int,
        is_last: bool,
        config: StyleGAN2Config,
    ) -> None:
        super().__init__()
        self.is_first = in_channels == 0
        lowest = lowest_short_resolution(config.resolution_px, config.num_low_precision_res)
        self.is_low_precision = resolution_px >= lowest
        self.is_resnet = config.architecture == "resnet"

        def layer(channels: int, up: int) -> SynthesisLayer:
            return SynthesisLayer(
                channels,
                out_channels,
                resolution_px=resolution_px,
                w_dim=config.w_dim,
                up=up,
                use_noise=config.use_noise,
                conv_clamp=config.conv_clamp,
            )

        if not self.is_first:
            self.conv0 = layer(in_channels, up=2)
        elif not config.use_fourier_input:
            self.const = nn.Parameter(torch.randn(out_channels, resolution_px, resolution_px))
        self.conv1 = layer(out_channels, up=1)
        self.torgb: ToRGB | None = None
        if is_last or config.architecture == "skip":
            self.torgb = ToRGB(out_channels, config.channels, w_dim=config.w_dim, conv_clamp=config.conv_clamp)
        self.skip: Convolution | None = None
        if self.is_resnet and not self.is_first:
            self.skip = Convolution(in_channels, out_channels, kernel_size=1, use_bias=False, up=2)
        sums_images = config.architecture == "skip" and not self.is_first
        self.register_buffer("resample_filter", resample_taps() if sums_images else None, persistent=False)

    @property
    def num_convs(self) -> int:
        """Convolutions, each of which takes its own w; the colours take the w of the next block's first one."""
        return 1 if self.is_first else 2

    def forward(
        self,
        x: Tensor | None,
        img: Tensor | None,
        ws: list[Tensor],
        *,
        noise_mode: NoiseMode,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor | None]:
        """Maps features and image of the previous block to those of this one.

        Args:
            x: features [N, C_in, H/2, W/2]; in the first block [N, C_out, H, W], or None for the learned constant.
            img: image so far [N, C, H/2, W/2], or None.
            ws: `num_convs` + 1 times w [N, D].
            noise_mode: kind of per-pixel noise.
            dtype: compute type asked for.

        Returns:
            Features [N, C_out, H, W] and image [N, C, H, W] (None as long as there is none).
        """
        if x is None:
            x = self.const.expand(ws[0].shape[0], -1, -1, -1)
        x = x.to(compute_dtype(self.conv1.weight, dtype, self.is_low_precision))
        if self.is_first:
            x = self.conv1(x, ws[0], noise_mode=noise_mode)
        else:
            if self.skip is not None:
                # √½ on both branches keeps the variance of their sum.
                y = self.skip(x, gain=math.sqrt(0.5))
                x = self.conv0(x, ws[0], noise_mode=noise_mode)
                x = y + self.conv1(x, ws[1], noise_mode=noise_mode, gain=math.sqrt(0.5))
            else:
                x = self.conv0(x, ws[0], noise_mode=noise_mode)
                x = self.conv1(x, ws[1], noise_mode=noise_mode)

        if img is not None:
            img = upsample2d(img, self.resample_filter)
        if self.torgb is not None:
            y = self.torgb(x, ws[-1]).to(self.torgb.weight.dtype)  # images are summed in float32
            img = y if img is None else img + y
        return x, img


class SynthesisNetwork(nn.Module):
    """The network ws ↦ image: one block per resolution."""

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        self.w_dim = config.w_dim
        resolutions = block_resolutions(config.resolution_px)
        widths = [min(config.channel_base // res, config.channel_max) for res in resolutions]
        self.input: FourierInput | None = None
        if config.use_fourier_input:
            self.input = FourierInput(
                w_dim=None, channels=widths[0], size_px=resolutions[0], sampling_rate=resolutions[0], bandwidth=2.0
            )
        self.blocks = nn.ModuleList(
            SynthesisBlock(before, width, resolution_px=res, is_last=res == config.resolution_px, config=config)
            for before, width, res in zip([0, *widths[:-1]], widths, resolutions, strict=True)
        )
        self.num_ws = 2 * len(resolutions)  # one per convolution (2·blocks − 1), one for the last colours

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
            ws: one w per convolution and one for the colours.
            noise_mode: per-pixel noise: drawn anew ("random"), the network's own ("const"), or "none".
            update_emas: accepted for the common interface; there is nothing to update here.
            dtype: float32, or a half type in which the blocks of the highest resolutions compute.

        Returns:
            float32 [N, C, H, W], about [-1, 1], not clamped.

        Raises:
            ConfigError: wrong shape of ws, unknown noise_mode or dtype.
        """
        check_ws(ws, self.num_ws, self.w_dim)
        check_noise_mode(noise_mode)
        check_dtype(dtype)
        each = list(ws.to(next(self.parameters()).dtype).unbind(dim=1))
        x: Tensor | None = None if self.input is None else self.input(each[0])
        img: Tensor | None = None
        index = 0
        for block in self.blocks:
            assert isinstance(block, SynthesisBlock)
            used = each[index : index + block.num_convs + 1]
            x, img = block(x, img, used, noise_mode=noise_mode, dtype=dtype)
            index += block.num_convs
        assert img is not None
        return img


class StyleGAN2Generator(StyleGenerator):
    """StyleGAN2 generator; a `gantrol.models.Generator`.

    State-dict names: `mapping.w_avg`, `mapping.embed.*`, `mapping.layers.{i}.*`, `synthesis.blocks.0.const` or
    `synthesis.input.{weight, freqs, phases}`,
    `synthesis.blocks.{i}.{conv0, conv1}.{weight, bias, noise_const, noise_strength, affine.*}`,
    `synthesis.blocks.{i}.torgb.{weight, bias, affine.*}`, `synthesis.blocks.{i}.skip.weight`; block i has 4·2ⁱ pixels.
    """

    synthesis: SynthesisNetwork

    def __init__(self, config: StyleGAN2Config) -> None:
        synthesis = SynthesisNetwork(config)
        super().__init__(config, synthesis, synthesis.num_ws)
        self.config = config
