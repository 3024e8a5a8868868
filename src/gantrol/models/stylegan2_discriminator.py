"""The StyleGAN2 discriminator, which StyleGAN3 uses unchanged (Karras et al. 2020, section 4.1 and figure 7).

Dimensions: N batch · C channels · H W pixels · G group size · M groups · F standard-deviation channels.

Blocks halve the resolution down to 4×4, where the standard deviation within groups of the batch becomes a feature
(Karras et al. 2018, section 3) and two linear layers give one logit per image. With labels the logit is the product of
the output vector with an embedding of the label (Miyato & Koyama 2018).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from gantrol.errors import ConfigError
from gantrol.models.config_checks import check, check_at_least, check_clamp, check_layer_count, check_power_of_two
from gantrol.models.layers import (
    Convolution,
    FullyConnected,
    MappingNetwork,
    check_dtype,
    compute_dtype,
    resample_taps,
)
from gantrol.models.stylegan2 import ARCHITECTURES, block_resolutions, lowest_short_resolution
from gantrol.ops import downsample2d


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleGAN2DiscriminatorConfig:
    """Everything that defines a StyleGAN2 discriminator."""

    kind: ClassVar[str] = "stylegan2"

    resolution_px: int
    """Width and height of the image, a power of two."""
    channels: int = 3
    """Image channels: 3 colour, 1 grey."""
    c_dim: int = 0
    """Width of the label; 0 for an unconditional discriminator."""
    architecture: str = "resnet"
    """Connection of the blocks: resnet, skip (every block sees the downsampled image) or orig."""
    channel_base: int = 32768
    """A block of r pixels has channel_base/r channels, up to `channel_max`."""
    channel_max: int = 512
    """The most channels of a block."""
    conv_clamp: float | None = 256.0
    """Limit of the activations' magnitude, for half precision; null for none."""
    num_low_precision_res: int = 4
    """How many of the highest resolutions may compute in half precision."""
    mbstd_group_size: int | None = 4
    """Images per group of the minibatch standard deviation; null for the whole batch."""
    mbstd_channels: int = 1
    """Channels of the minibatch standard deviation, a divisor of the channels at 4×4; 0 turns it off."""
    cmap_dim: int | None = None
    """Width of the label embedding; null for the channels at 4×4. Unused without labels."""
    mapping_layers: int = 8
    """Layers of the network that embeds the label. Unused without labels."""
    freeze_layers: int = 0
    """Freeze-D (Mo et al. 2020): so many layers, counted from the image, are not trained."""

    def __post_init__(self) -> None:
        check_power_of_two(self, "resolution_px", 8)
        check_at_least(self, 1, "channels", "channel_max")
        check_at_least(self, 0, "c_dim", "num_low_precision_res", "mbstd_channels", "mapping_layers", "freeze_layers")
        check_layer_count(self, "mapping_layers")
        check_at_least(self, self.resolution_px, "channel_base")
        check(self, "architecture", self.architecture in ARCHITECTURES, "one of " + ", ".join(ARCHITECTURES))
        group = self.mbstd_group_size
        check(self, "mbstd_group_size", group is None or group >= 1, "at least 1, or null for the whole batch")
        width = block_width(self, 4)
        divides = self.mbstd_channels == 0 or width % self.mbstd_channels == 0
        check(self, "mbstd_channels", divides, f"a divisor of the {width} channels at 4×4, or 0")
        check(self, "cmap_dim", self.cmap_dim is None or self.cmap_dim >= 1, "at least 1, or null")
        check_clamp(self)
        count = num_block_layers(self)
        check(self, "freeze_layers", self.freeze_layers <= count, f"at most the {count} layers of the blocks")

    def build(self) -> StyleGAN2Discriminator:
        """A new discriminator with random weights, drawn from torch's global random state."""
        return StyleGAN2Discriminator(self)


def block_width(config: StyleGAN2DiscriminatorConfig, resolution_px: int) -> int:
    """Channels at the input of the block of `resolution_px`."""
    return min(config.channel_base // resolution_px, config.channel_max)


def num_block_layers(config: StyleGAN2DiscriminatorConfig) -> int:
    """Layers of all blocks above 4×4, in the way `freeze_layers` counts them."""
    blocks = len(block_resolutions(config.resolution_px)) - 1
    return 2 * blocks + (1 if config.architecture == "orig" else blocks) + (config.architecture == "resnet")


class DiscriminatorBlock(nn.Module):
    """All layers of one resolution; halves it. Layers are counted in the order from_rgb, conv0, conv1, skip.

    Args:
        resolution_px: size of the input.
        first_layer: number of this block's first layer in the whole discriminator; those below `freeze_layers` freeze.
        config: the discriminator's config.
    """

    resample_filter: Tensor | None

    def __init__(self, resolution_px: int, *, first_layer: int, config: StyleGAN2DiscriminatorConfig) -> None:
        super().__init__()
        width, out_channels = block_width(config, resolution_px), block_width(config, resolution_px // 2)
        lowest = lowest_short_resolution(config.resolution_px, config.num_low_precision_res)
        self.is_low_precision = resolution_px >= lowest
        self.num_layers = 0

        def layer(
            in_channels: int,
            out_channels: int,
            kernel_size: int,
            *,
            down: int = 1,
            act: str = "lrelu",
            is_plain: bool = False,
        ) -> Convolution:
            is_trainable = first_layer + self.num_layers >= config.freeze_layers
            self.num_layers += 1
            return Convolution(
                in_channels,
                out_channels,
                kernel_size=kernel_size,
                act="linear" if is_plain else act,
                use_bias=not is_plain,
                down=down,
                conv_clamp=None if is_plain else config.conv_clamp,
                is_trainable=is_trainable,
            )

        is_first = resolution_px == config.resolution_px
        self.from_rgb: Convolution | None = None
        if is_first or config.architecture == "skip":
            self.from_rgb = layer(config.channels, width, 1)
        self.conv0 = layer(width, width, 3)
        self.conv1 = layer(width, out_channels, 3, down=2)
        self.skip: Convolution | None = None
        if config.architecture == "resnet":
            self.skip = layer(width, out_channels, 1, down=2, is_plain=True)
        halves_image = config.architecture == "skip"
        self.register_buffer("resample_filter", resample_taps() if halves_image else None, persistent=False)

    def forward(self, x: Tensor | None, img: Tensor, *, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Maps features [N, C_in, H, W] (None at first) and an image to features and image of the next block."""
        dtype = compute_dtype(self.conv0.weight, dtype, self.is_low_precision)
        if self.from_rgb is not None:
            y = self.from_rgb(img.to(dtype))
            x = y if x is None else x.to(dtype) + y
        assert x is not None
        if self.resample_filter is not None:
            img = downsample2d(img, self.resample_filter)
        x = x.to(dtype)
        if self.skip is None:
            return self.conv1(self.conv0(x)), img
        # √½ on both branches keeps the variance of their sum.
        y = self.skip(x, gain=math.sqrt(0.5))
        return y + self.conv1(self.conv0(x), gain=math.sqrt(0.5)), img


class MinibatchStd(nn.Module):
    """Appends the standard deviation within groups of the batch as features (Karras et al. 2018, section 3).

    Image i belongs to group i mod (N/G); the deviation over the group is averaged over pixels and C/F channels.
    """

    def __init__(self, group_size: int | None, num_channels: int) -> None:
        super().__init__()
        self.group_size = group_size
        self.num_channels = num_channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, C, H, W] to [N, C + F, H, W].

        Raises:
            ConfigError: the batch cannot be divided into groups.
        """
        n, c, h, w = x.shape
        group = n if self.group_size is None else min(self.group_size, n)
        if n % group != 0:
            raise ConfigError(
                f"a batch of {n} cannot be divided into groups of mbstd_group_size={group}: change one of them"
            )
        f = self.num_channels
        y = x.reshape(group, -1, f, c // f, h, w)  # [G, M, F, C/F, H, W]
        y = (y.var(dim=0, correction=0) + 1e-8).sqrt()  # [M, F, C/F, H, W]
        y = y.mean(dim=(2, 3, 4))  # [M, F]
        y = y.repeat(group, 1)[:, :, None, None].expand(-1, -1, h, w)  # [N, F, H, W]
        return torch.cat([x, y], dim=1)


class DiscriminatorEpilogue(nn.Module):
    """From 4×4 features to the logit, always in full precision."""

    def __init__(self, config: StyleGAN2DiscriminatorConfig, cmap_dim: int) -> None:
        super().__init__()
        width = block_width(config, 4)
        self.cmap_dim = cmap_dim
        self.from_rgb: Convolution | None = None
        if config.architecture == "skip":
            self.from_rgb = Convolution(
                config.channels, width, kernel_size=1, act="lrelu", conv_clamp=config.conv_clamp
            )
        self.mbstd = MinibatchStd(config.mbstd_group_size, config.mbstd_channels) if config.mbstd_channels else None
        self.conv = Convolution(
            width + config.mbstd_channels, width, kernel_size=3, act="lrelu", conv_clamp=config.conv_clamp
        )
        self.fc = FullyConnected(width * 4 * 4, width, act="lrelu")
        self.out = FullyConnected(width, max(cmap_dim, 1))

    def forward(self, x: Tensor, img: Tensor, cmap: Tensor | None) -> Tensor:
        """Maps features [N, C, 4, 4], image [N, C, 4, 4] and label embedding [N, cmap_dim] to logits [N, 1]."""
        dtype = self.conv.weight.dtype
        x = x.to(dtype)
        if self.from_rgb is not None:
            x = x + self.from_rgb(img.to(dtype))
        if self.mbstd is not None:
            x = self.mbstd(x)
        x = self.conv(x)
        x = self.out(self.fc(x.flatten(1)))  # [N, cmap_dim or 1]
        if cmap is not None:
            x = (x * cmap).sum(dim=1, keepdim=True) / math.sqrt(self.cmap_dim)
        return x


class StyleGAN2Discriminator(nn.Module):
    """StyleGAN2 discriminator; a `gantrol.models.Discriminator`.

    State-dict names: `blocks.{i}.{from_rgb, conv0, conv1}.{weight, bias}`, `blocks.{i}.skip.weight`,
    `epilogue.{from_rgb, conv, fc, out}.{weight, bias}`, `mapping.embed.*`, `mapping.layers.{i}.*`; block i sees
    resolution_px/2ⁱ pixels. Frozen layers keep their names.
    """

    def __init__(self, config: StyleGAN2DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.c_dim = config.c_dim
        self.resolution_px = config.resolution_px
        self.channels = config.channels
        self.blocks = nn.ModuleList()
        first_layer = 0
        for resolution in reversed(block_resolutions(config.resolution_px)[1:]):
            block = DiscriminatorBlock(resolution, first_layer=first_layer, config=config)
            first_layer += block.num_layers
            self.blocks.append(block)
        cmap_dim = 0
        self.mapping: MappingNetwork | None = None
        if config.c_dim > 0:
            cmap_dim = config.cmap_dim or block_width(config, 4)
            self.mapping = MappingNetwork(
                z_dim=0,
                c_dim=config.c_dim,
                w_dim=cmap_dim,
                num_ws=None,
                num_layers=config.mapping_layers,
            )
        self.epilogue = DiscriminatorEpilogue(config, cmap_dim)

    def forward(self, img: Tensor, c: Tensor | None = None, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Judges images.

        Args:
            img: [N, C, H, W] in [-1, 1].
            c: labels [N, c_dim]; may be left out if c_dim is 0.
            dtype: float32, or a half type in which the blocks of the highest resolutions compute.

        Returns:
            float32 logits [N, 1]; high is real. Twice differentiable.

        Raises:
            ConfigError: wrong image size, label missing, unknown dtype, or a batch that has no whole groups.
        """
        check_dtype(dtype)
        expected = (self.channels, self.resolution_px, self.resolution_px)
        if tuple(img.shape[1:]) != expected:
            raise ConfigError(f"images have shape {list(img.shape)}: expected [N, {', '.join(map(str, expected))}]")
        x: Tensor | None = None
        for block in self.blocks:
            x, img = block(x, img, dtype=dtype)
        cmap = None if self.mapping is None else self.mapping(None, c)
        assert x is not None
        return self.epilogue(x, img, cmap)
