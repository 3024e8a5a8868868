"""TransGAN's discriminator: a vision transformer that reads the image in patches of one or several sizes.

Dimensions: N batch · C image channels · T tokens, row by row · D features of a token · S side of the grid.

Version 1 (Jiang, Chang & Wang 2021, arXiv 2102.07074v1) cuts the image into patches, adds a [cls] token and positions,
runs its encoder blocks and judges the [cls] token. Version 2 (v4 of the paper) starts from small patches and, each time
the grid is halved by averaging, appends the features of larger patches; the [cls] token comes last. Both are this one
class: version 1 is one scale without blocks of its own.

Augmentation is no part of the network: training applies it to what the network sees.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from gantrol.errors import ConfigError, nearest
from gantrol.models.config_checks import check, check_at_least, check_layer_count
from gantrol.models.layers import check_dtype, check_width
from gantrol.models.transformer import (
    INIT_STD,
    EncoderBlock,
    Linear,
    Norm,
    make_norm,
    read_attention,
    run_blocks,
)
from gantrol.models.transgan import V2_LAYOUTS, divided


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransGANScale:
    """One size of patches, and the blocks that run before the grid is halved."""

    patch_px: int
    """Distance of neighbouring patches: the grid has resolution_px/patch_px tokens per side."""
    kernel_px: int | None = None
    """Width of a patch, if patches overlap: patch_px plus an even number; null for patch_px."""
    channels: int
    """Features that this scale adds to those of the scales before it."""
    depth: int = 0
    """Encoder blocks whose attention is confined to `window`."""
    window: int | None = None
    """Side of the windows of attention, in tokens, a divisor of the side; null for the whole grid."""
    global_depth: int = 0
    """Encoder blocks with attention over the whole grid, after the others."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "patch_px", "channels")
        check_at_least(self, 0, "depth", "global_depth")
        check_layer_count(self, "depth", "global_depth")
        overlap = (self.kernel_px or self.patch_px) - self.patch_px
        check(self, "kernel_px", overlap >= 0 and overlap % 2 == 0, f"patch_px={self.patch_px} plus an even number")
        check(self, "window", self.window is None or self.window >= 1, "at least 1, or null for the whole grid")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransGANDiscriminatorConfig:
    """Everything that defines a TransGAN discriminator."""

    kind: ClassVar[str] = "transgan-d"

    resolution_px: int
    """Width and height of the image."""
    channels: int = 3
    """Image channels: 3 colour, 1 grey."""
    c_dim: int = 0
    """Width of the label; 0 for an unconditional discriminator."""
    scales: tuple[TransGANScale, ...]
    """Sizes of patches, fine to coarse; each has patches twice as large as the one before."""
    last_depth: int = 1
    """Encoder blocks after the [cls] token has joined."""
    cls_position: bool = False
    """Whether the [cls] token has a learned position of its own (version 1)."""
    heads: int = 4
    """Attention heads; where they do not divide the features, their greatest common divisor is used."""
    mlp_ratio: int = 4
    """Hidden width of the MLPs in units of the features."""
    norm: Norm = "layer"
    """Norm inside the blocks and before the head: layer, pixel, batch, instance or none."""
    relative_position: bool = False
    """Whether attention on the grids has a learned bias for relative positions (version 2)."""
    noise: bool = False
    """Whether blocks add noise before attention while the network is in training mode (version 2)."""
    checkpoint_gradients: bool = False
    """Whether training keeps only the input of each block and runs the block again in the backward pass."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "resolution_px", "channels", "heads", "mlp_ratio", "last_depth")
        check_layer_count(self, "last_depth")
        check_at_least(self, 0, "c_dim")
        check(self, "norm", self.norm in get_args(Norm), "one of " + ", ".join(get_args(Norm)))
        if not self.scales:
            raise ConfigError("scales=(): expected at least one scale")
        for index, scale in enumerate(self.scales):
            expected = self.scales[0].patch_px * 2**index
            if scale.patch_px != expected:
                raise ConfigError(
                    f"scales.{index}.patch_px={scale.patch_px}: expected {expected}, twice the one before"
                )
            if self.resolution_px % scale.patch_px != 0:
                expected_of = f"expected a divisor of resolution_px={self.resolution_px}"
                raise ConfigError(f"scales.{index}.patch_px={scale.patch_px}: {expected_of}")
            side = self.resolution_px // scale.patch_px
            if scale.window is not None and side % scale.window != 0:
                raise ConfigError(
                    f"scales.{index}.window={scale.window}: expected a divisor of the {side} tokens per side"
                )

    def build(self) -> TransGANDiscriminator:
        """A new discriminator with random weights, drawn from torch's global random state."""
        return TransGANDiscriminator(self)


class Scale(nn.Module):
    """Patches of one size → tokens, joined with those of the scale before → encoder blocks.

    Args:
        scale: its config.
        width_before: D of the scale before; 0 for the first.
        config: the discriminator's config.
    """

    def __init__(self, scale: TransGANScale, width_before: int, config: TransGANDiscriminatorConfig) -> None:
        super().__init__()
        self.width = width_before + scale.channels
        kernel = scale.kernel_px or scale.patch_px
        self.embed = nn.Conv2d(
            config.channels, scale.channels, kernel, stride=scale.patch_px, padding=(kernel - scale.patch_px) // 2
        )
        side = config.resolution_px // scale.patch_px
        self.positions = nn.Parameter(torch.empty(side**2, self.width))
        self.blocks = nn.ModuleList(
            EncoderBlock(
                self.width,
                heads=config.heads,
                mlp_ratio=config.mlp_ratio,
                norm=config.norm,
                side=side,
                window=window,
                relative_position=config.relative_position,
                noise=config.noise,
                residual_gain=residual_gain(config),
            )
            for window in [scale.window] * scale.depth + [None] * scale.global_depth
        )

    def forward(self, x: Tensor | None, img: Tensor) -> Tensor:
        """Tokens [N, S², D] of `img` and of the scale before, x [N, (2S)², D_before] or None, with positions."""
        y = self.embed(img)  # [N, C_scale, S, S]
        n, _, side, _ = y.shape
        y = y.flatten(2).transpose(1, 2)  # [N, S², C_scale]
        if x is not None:
            halved = x.view(n, side, 2, side, 2, -1).mean(dim=(2, 4)).flatten(1, 2)  # [N, S², D_before]
            y = torch.cat([halved, y], dim=2)  # [N, S², D]
        return y + self.positions


def residual_gain(config: TransGANDiscriminatorConfig) -> float:
    """√½ without norms, which keeps the variance of the residual sums; else 1."""
    return math.sqrt(0.5) if config.norm == "none" else 1.0


class TransGANDiscriminator(nn.Module):
    """TransGAN discriminator; a `gantrol.models.Discriminator`.

    State-dict names: `scales.{s}.embed.{weight, bias}`, `scales.{s}.positions`, `cls`, `cls_position`, `norm.*`,
    `head.{weight, bias}`, `label.weight` and, under `scales.{s}.blocks.{i}` and `last.{i}`, those of the generator's
    blocks. `checkpoint_gradients` may be set at any time.

    Labels: the logit gains the product of the [cls] features with an embedding of the label, divided by √D (Miyato &
    Koyama 2018); the embedding starts at zero.
    """

    def __init__(self, config: TransGANDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.c_dim = config.c_dim
        self.resolution_px = config.resolution_px
        self.channels = config.channels
        self.checkpoint_gradients = config.checkpoint_gradients
        self.scales = nn.ModuleList()
        width = 0
        for scale in config.scales:
            self.scales.append(Scale(scale, width, config))
            width += scale.channels
        self.cls = nn.Parameter(torch.empty(width))
        self.cls_position = nn.Parameter(torch.empty(width)) if config.cls_position else None
        self.last = nn.ModuleList(
            EncoderBlock(
                width,
                heads=config.heads,
                mlp_ratio=config.mlp_ratio,
                norm=config.norm,
                noise=config.noise,
                residual_gain=residual_gain(config),
            )
            for _ in range(config.last_depth)
        )
        self.norm = make_norm(config.norm, width)
        self.head = Linear(width, 1)
        self.label = Linear(config.c_dim, width, bias=False) if config.c_dim > 0 else None
        self._initialise()

    def _initialise(self) -> None:
        """Truncated-normal linear layers, positions and [cls]; Xavier-uniform patches; biases of linear layers 0."""
        for module in self.modules():
            if isinstance(module, Linear):
                nn.init.trunc_normal_(module.weight, std=INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, Scale):
                nn.init.xavier_uniform_(module.embed.weight)
                nn.init.trunc_normal_(module.positions, std=INIT_STD)
        for token in (self.cls, self.cls_position):
            if token is not None:
                nn.init.trunc_normal_(token, std=INIT_STD)
        if self.label is not None:
            nn.init.zeros_(self.label.weight)

    def forward(self, img: Tensor, c: Tensor | None = None, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Judges images.

        Args:
            img: [N, C, H, W] in [-1, 1].
            c: labels [N, c_dim]; may be left out if c_dim is 0.
            dtype: in which attention and MLPs compute; the rest is float32.

        Returns:
            float32 logits [N, 1]; high is real. Twice differentiable.

        Raises:
            ConfigError: wrong image size, label missing, or unknown dtype.
        """
        check_dtype(dtype)
        expected = (self.channels, self.resolution_px, self.resolution_px)
        if tuple(img.shape[1:]) != expected:
            raise ConfigError(f"images have shape {list(img.shape)}: expected [N, {', '.join(map(str, expected))}]")
        img = img.to(self.head.weight.dtype)
        x: Tensor | None = None
        for scale in self.scales:
            assert isinstance(scale, Scale)
            x = self._run(scale.blocks, scale(x, img), dtype)  # [N, S², D]
        assert x is not None
        cls = self.cls if self.cls_position is None else self.cls + self.cls_position
        x = torch.cat([cls.expand(x.shape[0], 1, -1), x], dim=1)  # [N, 1 + S², D]
        y = self.norm(self._run(self.last, x, dtype))[:, 0]  # [N, D]
        logits = self.head(y)
        if self.label is None:
            return logits
        label = self.label(check_width("c", c, self.c_dim).to(y.dtype))
        return logits + (y * label).sum(dim=1, keepdim=True) / math.sqrt(y.shape[1])

    def attention_maps(
        self, img: Tensor, c: Tensor | None = None, *, blocks: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """What every token attends to while images [N, C, H, W] are judged.

        Args:
            img: as in `forward`.
            c: as in `forward`.
            blocks: names like "scales.0.blocks.1" and "last.0"; None for all.

        Returns:
            By block: probabilities [N, heads, T, T], or [N, windows, heads, T, T] with the T tokens of each
            window; the last axis sums to 1. In the `last` blocks token 0 is the [cls] token.

        Raises:
            ConfigError: an unknown block, or the errors of `forward`.
        """
        return read_attention(self, blocks, lambda: self(img, c))

    def _run(self, blocks: nn.ModuleList, x: Tensor, dtype: torch.dtype) -> Tensor:
        return run_blocks(
            blocks,
            x,
            noise_mode="random" if self.training else "none",
            dtype=dtype,
            checkpoint_gradients=self.checkpoint_gradients,
        )


def transgan_v1_discriminator(
    *, resolution_px: int = 32, width_divisor: int = 1, channels: int = 3, c_dim: int = 0
) -> TransGANDiscriminatorConfig:
    """The discriminator of version 1: patches of 4×4 pixels, 384 features, 7 blocks.

    Args:
        resolution_px: a multiple of 4; published for 32, 48 and 64.
        width_divisor: divides the features, for small experiments.
        channels: image channels.
        c_dim: width of the label.
    """
    return TransGANDiscriminatorConfig(
        resolution_px=resolution_px,
        channels=channels,
        c_dim=c_dim,
        scales=(TransGANScale(patch_px=4, channels=divided(384, width_divisor)),),
        last_depth=7,
        cls_position=True,
    )


def transgan_v2_discriminator(
    layout: str, *, width_divisor: int = 1, channels: int = 3, c_dim: int = 0
) -> TransGANDiscriminatorConfig:
    """The multi-scale discriminator of version 2.

    Args:
        layout: one of `gantrol.models.transgan.V2_LAYOUTS`. The layouts 64 and 128 were not released; ours are that of
            church-256 with patches half as large, so that they start from 32×32 and 64×64 tokens.
        width_divisor: divides all widths, for small experiments.
        channels: image channels.
        c_dim: width of the label.

    Raises:
        ConfigError: unknown layout, or a divisor that leaves fractions.
    """
    if layout not in V2_LAYOUTS:
        raise ConfigError(f"layout={layout!r}: {nearest(layout, V2_LAYOUTS)}")

    def width(full: int) -> int:
        return divided(full, width_divisor)

    is_small = layout in ("cifar10", "stl10")
    is_celebahq = layout == "celebahq-256"
    scales: tuple[TransGANScale, ...]
    if is_small:
        scales = (
            TransGANScale(patch_px=2, channels=width(288), global_depth=3),
            TransGANScale(patch_px=4, channels=width(96), global_depth=3),
        )
    elif is_celebahq:
        scales = (
            TransGANScale(patch_px=2, kernel_px=4, channels=width(96), depth=3, window=4),
            TransGANScale(patch_px=4, channels=width(96), depth=2, window=4, global_depth=1),
            TransGANScale(patch_px=8, channels=width(192), global_depth=4),
        )
    else:
        patch = 4 if layout == "church-256" else 2
        scales = (
            TransGANScale(patch_px=patch, channels=width(288), depth=2, window=16, global_depth=1),
            TransGANScale(patch_px=2 * patch, channels=width(48), global_depth=3),
            TransGANScale(patch_px=4 * patch, channels=width(48), global_depth=4),
        )
    resolution_px = {"cifar10": 32, "stl10": 48, "64": 64, "128": 128}.get(layout, 256)
    return TransGANDiscriminatorConfig(
        resolution_px=resolution_px,
        channels=channels,
        c_dim=c_dim,
        scales=scales,
        norm="pixel" if layout == "stl10" else "layer",
        relative_position=not is_celebahq,
        noise=is_small,
    )
