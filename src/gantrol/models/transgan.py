"""TransGAN: a generator made of transformer blocks only (Jiang, Chang & Wang 2021, arXiv 2102.07074, v1 and v4).

Dimensions: N batch · T tokens, row by row · D features of a token · S side of the grid · C image channels.

A linear layer turns z into an 8×8 grid of tokens. Each stage adds learned positions and runs its encoder blocks;
between stages the grid doubles, mostly by pixel shuffle, which trades four features for four tokens; at full resolution
a linear layer makes each token a pixel. There is no convolution, no norm before the colours and no tanh after them.

Both versions of the paper are this one class: `transgan_v1` and `transgan_v2` return the published layouts as configs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrol.errors import ConfigError, nearest
from gantrol.models.config_checks import check, check_at_least, check_layer_count
from gantrol.models.latent_generator import LatentGenerator
from gantrol.models.layers import check_dtype, check_ws
from gantrol.models.protocols import NoiseMode, check_noise_mode
from gantrol.models.transformer import (
    INIT_STD,
    EncoderBlock,
    Linear,
    LocalityWindow,
    Norm,
    encoder_blocks,
    read_attention,
    run_blocks,
)

Upsampling = Literal["none", "pixelshuffle", "bicubic", "smooth_pixelshuffle"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransGANStage:
    """One resolution of the generator."""

    side: int
    """Tokens per row and column of the grid."""
    channels: int
    """Features of a token."""
    depth: int
    """Encoder blocks; 0 only adds the positions."""
    window: int | None = None
    """Side of the windows attention is confined to, in tokens, a divisor of the side; null for the whole grid."""
    upsampling: Upsampling = "pixelshuffle"
    """How the previous stage's tokens become this one's: none (first stage), pixelshuffle (twice the side, a quarter of
    the channels), bicubic (twice the side, same channels), or smooth_pixelshuffle: low-pass, then shuffle."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "side", "channels")
        check_at_least(self, 0, "depth")
        check_layer_count(self, "depth")
        is_divisor = self.window is None or (self.window >= 1 and self.side % self.window == 0)
        check(self, "window", is_divisor, f"a divisor of side={self.side}, or null for the whole grid")
        check(self, "upsampling", self.upsampling in get_args(Upsampling), "one of " + ", ".join(get_args(Upsampling)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransGANConfig:
    """Everything that defines a TransGAN generator."""

    kind: ClassVar[str] = "transgan"

    resolution_px: int
    """Width and height of the image: the side of the last stage."""
    channels: int = 3
    """Image channels: 3 colour, 1 grey."""
    z_dim: int = 512
    """Width of the latent z."""
    c_dim: int = 0
    """Width of the label; 0 for an unconditional generator."""
    stages: tuple[TransGANStage, ...]
    """The stages, coarse to fine; the first has upsampling none."""
    heads: int = 4
    """Attention heads; where they do not divide the channels, their greatest common divisor is used."""
    mlp_ratio: int = 4
    """Hidden width of the MLPs in units of the channels."""
    norm: Norm = "layer"
    """Norm inside the blocks: layer, pixel, batch, instance or none."""
    relative_position: bool = False
    """Whether attention has a learned bias for relative positions (version 2)."""
    noise: bool = False
    """Whether blocks add noise, scaled by a learned number that starts at 0, before attention (version 2)."""
    cross_attention: bool = False
    """Whether blocks attend to tokens that a second linear layer makes of z (version 2 for CelebA-HQ)."""
    latent_norm: bool = False
    """Whether z is scaled to the norm √z_dim."""
    local_blocks: Literal["last", "all"] = "last"
    """Which blocks `set_locality` acts on: the last one of the last stage, as in the published code, or all."""
    checkpoint_gradients: bool = False
    """Whether training keeps only the input of each block and runs the block again in the backward pass."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "resolution_px", "channels", "z_dim", "heads", "mlp_ratio")
        check_at_least(self, 0, "c_dim")
        check(self, "norm", self.norm in get_args(Norm), "one of " + ", ".join(get_args(Norm)))
        check(self, "local_blocks", self.local_blocks in ("last", "all"), "last or all")
        if not self.stages:
            raise ConfigError("stages=(): expected at least one stage")
        for index, stage in enumerate(self.stages):
            before = self.stages[index - 1] if index > 0 else None
            expected = stage_shape_after(before, stage)
            if (stage.channels, stage.side) != expected:
                raise ConfigError(
                    f"stages.{index}: {stage.channels} channels at side {stage.side}: expected {expected[0]} at side "
                    f"{expected[1]} after upsampling {stage.upsampling!r}"
                )
            if (before is None) != (stage.upsampling == "none"):
                rule = "expected none in the first stage" if before is None else "only the first stage has none"
                raise ConfigError(f"stages.{index}.upsampling={stage.upsampling!r}: {rule}")
        side = self.stages[-1].side
        check(self, "resolution_px", self.resolution_px == side, f"the side of the last stage, {side}")

    def build(self) -> TransGANGenerator:
        """A new generator with random weights, drawn from torch's global random state."""
        return TransGANGenerator(self)


def stage_shape_after(before: TransGANStage | None, stage: TransGANStage) -> tuple[int, int]:
    """(channels, side) that `stage` must have to follow `before`.

    Raises:
        ConfigError: the channels of `before` cannot be shuffled into pixels.
    """
    if before is None:
        return stage.channels, stage.side
    if not stage.upsampling.endswith("pixelshuffle"):
        return before.channels, 2 * before.side
    if before.channels % 4 != 0:
        raise ConfigError(f"pixelshuffle after {before.channels} channels: expected a multiple of 4")
    return before.channels // 4, 2 * before.side


def pixelshuffle(x: Tensor, side: int) -> Tensor:
    """Tokens [N, S², D] → [N, (2S)², D/4]: feature 4c + 2a + b of token (i, j) is feature c of token (2i+a, 2j+b)."""
    n, _, d = x.shape
    x = x.reshape(n, side, side, d // 4, 2, 2)  # [N, i, j, c, a, b]
    return x.permute(0, 1, 4, 2, 5, 3).reshape(n, 4 * side**2, d // 4)


def bicubic(x: Tensor, side: int) -> Tensor:
    """Tokens [N, S², D] → [N, (2S)², D]: bicubic interpolation (a = −0.75), corners not aligned."""
    grid = x.transpose(1, 2).unflatten(2, (side, side))  # [N, D, S, S]
    grid = F.interpolate(grid, scale_factor=2, mode="bicubic", align_corners=False)
    return grid.flatten(2).transpose(1, 2)


def _keys_cubic(distance: float) -> float:
    """Weight of a pixel at this distance in bicubic interpolation with a = −0.75."""
    d = abs(distance)
    if d < 1:
        return 1.25 * d**3 - 2.25 * d**2 + 1
    return -0.75 * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


SMOOTH_TAPS = tuple(
    sum(_keys_cubic(offset - phase) for phase in (-0.375, -0.125, 0.125, 0.375)) / 4 for offset in range(-2, 3)
)
"""Weights of a pixel and its neighbours, averaged over the four places that new pixels take between old ones."""


def smooth(x: Tensor, side: int) -> Tensor:
    """Bicubic interpolation by 4 and the mean of 4×4, tokens [N, S², D] to the same shape: a low-pass.

    Both are linear, act on rows and columns alike and clamp at the border, so together they are a 5-tap filter along
    each axis after repeating the border twice; no larger image is made.
    """
    taps = torch.cat([x.new_full([1], tap) for tap in SMOOTH_TAPS])  # filled there: a copy would wait for the device
    grid = x.transpose(1, 2).reshape(-1, 1, side, side)  # [N·D, 1, S, S]
    grid = F.pad(grid, [2, 2, 2, 2], mode="replicate")
    grid = F.conv2d(F.conv2d(grid, taps.view(1, 1, 1, 5)), taps.view(1, 1, 5, 1))
    return grid.view(x.shape[0], -1, side**2).transpose(1, 2)


class Stage(nn.Module):
    """One resolution: upsampling, positions, encoder blocks.

    Args:
        stage: its config.
        config: that of the generator.
    """

    def __init__(self, stage: TransGANStage, config: TransGANConfig) -> None:
        super().__init__()
        self.side = stage.side
        self.channels = stage.channels
        self.upsampling = stage.upsampling
        self.positions = nn.Parameter(torch.empty(stage.side**2, stage.channels))
        nn.init.trunc_normal_(self.positions, std=INIT_STD)
        self.blocks = nn.ModuleList(
            EncoderBlock(
                stage.channels,
                heads=config.heads,
                mlp_ratio=config.mlp_ratio,
                norm=config.norm,
                side=stage.side,
                window=stage.window,
                relative_position=config.relative_position,
                noise=config.noise,
                context_width=config.stages[0].channels if config.cross_attention else None,
            )
            for _ in range(stage.depth)
        )

    def upsample(self, x: Tensor) -> Tensor:
        """Maps the tokens of the previous stage [N, (S/2)², D_before] to [N, S², D]; the first stage's stay."""
        if self.upsampling == "none":
            return x
        before = self.side // 2
        if self.upsampling == "bicubic":
            return bicubic(x, before)
        if self.upsampling == "smooth_pixelshuffle":
            x = smooth(x, before)
        return pixelshuffle(x, before)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None,
        *,
        noise_mode: NoiseMode,
        dtype: torch.dtype,
        checkpoint_gradients: bool,
    ) -> Tensor:
        """Adds the positions to tokens [N, S², D] and runs the blocks."""
        return run_blocks(
            self.blocks,
            x + self.positions,
            context,
            noise_mode=noise_mode,
            dtype=dtype,
            checkpoint_gradients=checkpoint_gradients,
        )


class TransGANSynthesis(nn.Module):
    """The network ws ↦ image; w is the latent.

    `checkpoint_gradients` may be set at any time.
    """

    def __init__(self, config: TransGANConfig) -> None:
        super().__init__()
        self.config = config
        self.checkpoint_gradients = config.checkpoint_gradients
        first = config.stages[0]
        self.input = Linear(config.z_dim, first.side**2 * first.channels)
        self.latent_tokens: Linear | None = None
        if config.cross_attention:
            self.latent_tokens = Linear(config.z_dim, first.side**2 * first.channels)
            self.latent_positions = nn.Parameter(torch.zeros(first.side**2, first.channels))
        self.stages = nn.ModuleList(Stage(stage, config) for stage in config.stages)
        self.to_rgb = Linear(config.stages[-1].channels, config.channels)
        nn.init.xavier_uniform_(self.to_rgb.weight)  # the 1×1 convolution of the published code

    @property
    def stage_shapes(self) -> list[tuple[int, int]]:
        """Channels and side of the tokens that each stage takes, in the order of the stages."""
        return [(stage.channels, stage.side) for stage in self.config.stages]

    def forward(
        self,
        ws: Tensor,
        *,
        noise_mode: NoiseMode = "random",
        update_emas: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Renders ws [N, 1, z_dim].

        Args:
            ws: latents.
            noise_mode: noise before the attention, if the config has it: drawn anew ("random"), one fixed field for all
                images and calls ("const"), or "none".
            update_emas: accepted for the common interface; there is nothing to update here.
            dtype: in which attention and MLPs compute; the rest is float32.

        Returns:
            float32 [N, C, H, W], about [-1, 1], not clamped.

        Raises:
            ConfigError: wrong shape of ws, unknown noise_mode or dtype.
        """
        check_ws(ws, 1, self.config.z_dim)
        z = ws[:, 0].to(self.input.weight.dtype)
        channels, side = self.stage_shapes[0]
        x = self.input(z).view(-1, side**2, channels)  # [N, S², D]
        return self._run(x, 0, self._context(z), noise_mode=noise_mode, dtype=dtype)

    def from_stage(
        self,
        features: Tensor,
        stage: int,
        *,
        ws: Tensor | None = None,
        noise_mode: NoiseMode = "random",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Renders from the middle: `features` take the place of the upsampled tokens that enter a stage.

        Args:
            features: [N, channels, side, side] as in `stage_shapes[stage]`; the stage's positions are added to them.
            stage: the first stage that runs, counted from 0.
            ws: latents [N, 1, z_dim]; only the cross-attention needs them.
            noise_mode: as in `forward`.
            dtype: as in `forward`.

        Returns:
            float32 [N, C, H, W].

        Raises:
            ConfigError: there is no such stage, the features have another shape, or ws are missing.
        """
        shapes = self.stage_shapes
        if not 0 <= stage < len(shapes):
            raise ConfigError(f"stage={stage}: expected 0 to {len(shapes) - 1}")
        channels, side = shapes[stage]
        if tuple(features.shape[1:]) != (channels, side, side):
            raise ConfigError(f"features have shape {list(features.shape)}: expected [N, {channels}, {side}, {side}]")
        context = None
        if self.latent_tokens is not None:
            if ws is None:
                raise ConfigError("ws are missing: a generator with cross-attention needs them at every stage")
            check_ws(ws, 1, self.config.z_dim)
            context = self._context(ws[:, 0].to(self.input.weight.dtype))
        x = features.to(self.input.weight.dtype).flatten(2).transpose(1, 2)  # [N, S², D]
        return self._run(x, stage, context, noise_mode=noise_mode, dtype=dtype)

    def set_locality(self, window: LocalityWindow | None) -> None:
        """Lets the blocks that `config.local_blocks` names attend to near tokens only; None gives full attention back.

        Where attention has windows already, the restriction acts inside each of them and a raster band counts the
        window's own tokens. It is not part of the state dict.
        """
        blocks = list(encoder_blocks(self).values())
        for block in blocks if self.config.local_blocks == "all" else blocks[-1:]:
            block.attn.set_locality(window)

    def attention_maps(
        self, ws: Tensor, *, blocks: Sequence[str] | None = None, noise_mode: NoiseMode = "const"
    ) -> dict[str, Tensor]:
        """What every token attends to while ws [N, 1, z_dim] are rendered.

        Args:
            ws: latents.
            blocks: names like "stages.2.blocks.1"; None for all. The finest stages are large: T² numbers per head.
            noise_mode: as in `forward`.

        Returns:
            By block: probabilities [N, heads, T, T], or [N, windows, heads, T, T] with the T tokens of each
            window; the last axis sums to 1.

        Raises:
            ConfigError: an unknown block, or the errors of `forward`.
        """
        return read_attention(self, blocks, lambda: self(ws, noise_mode=noise_mode))

    def _context(self, z: Tensor) -> Tensor | None:
        """The tokens [N, S², D] of the first stage's size that cross-attention reads, or None."""
        if self.latent_tokens is None:
            return None
        channels, side = self.stage_shapes[0]
        return self.latent_tokens(z).view(-1, side**2, channels) + self.latent_positions

    def _run(
        self, x: Tensor, first: int, context: Tensor | None, *, noise_mode: NoiseMode, dtype: torch.dtype
    ) -> Tensor:
        """Stages `first` and later, from the upsampled tokens [N, S², D] to the image."""
        check_noise_mode(noise_mode)
        check_dtype(dtype)
        for index, stage in enumerate(self.stages):
            assert isinstance(stage, Stage)
            if index < first:
                continue
            if index > first:
                x = stage.upsample(x)
            x = stage(
                x, context, noise_mode=noise_mode, dtype=dtype, checkpoint_gradients=self.checkpoint_gradients
            )  # [N, S², D]
        side = self.config.resolution_px
        return self.to_rgb(x).transpose(1, 2).reshape(-1, self.config.channels, side, side)


class TransGANGenerator(LatentGenerator):
    """TransGAN generator; a `gantrol.models.Generator`.

    State-dict names: `mapping.embed.weight`, `synthesis.input.{weight, bias}`, `synthesis.to_rgb.{weight, bias}`,
    `synthesis.latent_tokens.{weight, bias}`, `synthesis.latent_positions`, `synthesis.stages.{s}.positions` and, under
    `synthesis.stages.{s}.blocks.{i}`: `norm1.*`, `attn.qkv.weight`, `attn.proj.{weight, bias}`,
    `attn.relative_position`, `noise_strength`, `norm2.*`, `mlp.{fc1, fc2}.{weight, bias}`, `cross.{q, k, v}.weight`,
    `cross.proj.{weight, bias}`.
    """

    synthesis: TransGANSynthesis

    def __init__(self, config: TransGANConfig) -> None:
        super().__init__(config, TransGANSynthesis(config), latent_norm=config.latent_norm)
        self.config = config


V1_WIDTHS = {"s": 384, "m": 512, "l": 768, "xl": 1024}
"""Channels C of the first stage of version 1, by size."""


def transgan_v1(
    size: str, *, resolution_px: int = 32, width_divisor: int = 1, channels: int = 3, c_dim: int = 0
) -> TransGANConfig:
    """The generator of version 1 (February 2021).

    Args:
        size: s, m, l or xl.
        resolution_px: 32 (CIFAR-10), 48 (STL-10; the released model is an L) or 64 (CelebA; the released one is an XL).
        width_divisor: divides all widths and z_dim, for small experiments.
        channels: image channels.
        c_dim: width of the label.

    Returns:
        Its config. z_dim is C, the channels of the first stage, but 1024 for the L at 48 px, as released. The blocks
        are 5, 2, 2 in S, M and L, and 5, 4, 2 in XL; at 64 px 5, 2, 2, 2 and, as released, 5, 3, 3, 2.

    Raises:
        ConfigError: unknown size or resolution, or a divisor that leaves fractions.
    """
    if size not in V1_WIDTHS:
        raise ConfigError(f"size={size!r}: {nearest(size, V1_WIDTHS)}")
    if resolution_px not in (32, 48, 64):
        raise ConfigError(f"resolution_px={resolution_px}: TransGAN version 1 has layouts for 32, 48 and 64")
    width = V1_WIDTHS[size]
    if resolution_px == 64:
        depths: tuple[int, ...] = (5, 3, 3, 2) if size == "xl" else (5, 2, 2, 2)
    else:
        depths = (5, 4, 2) if size == "xl" else (5, 2, 2)
    return TransGANConfig(
        resolution_px=resolution_px,
        channels=channels,
        c_dim=c_dim,
        z_dim=max((1024 if (size, resolution_px) == ("l", 48) else width) // width_divisor, 1),
        stages=_stages(divided(width, width_divisor), 12 if resolution_px == 48 else 8, depths),
    )


V2_LAYOUTS = ("cifar10", "stl10", "64", "128", "church-256", "celebahq-256")
"""Names of the layouts of version 2."""


def transgan_v2(layout: str, *, width_divisor: int = 1, channels: int = 3, c_dim: int = 0) -> TransGANConfig:
    """The generator of version 2 (NeurIPS 2021).

    Args:
        layout: one of `V2_LAYOUTS`: cifar10 (32 px), stl10 (48 px), 64, 128, church-256 or celebahq-256. The layouts 64
            and 128 were not released; ours leave out stages of church-256.
        width_divisor: divides all widths and z_dim, for small experiments.
        channels: image channels.
        c_dim: width of the label.

    Raises:
        ConfigError: unknown layout, or a divisor that leaves fractions.
    """
    if layout not in V2_LAYOUTS:
        raise ConfigError(f"layout={layout!r}: {nearest(layout, V2_LAYOUTS)}")
    width = divided(1024, width_divisor)
    if layout == "cifar10":
        z_dim, stages = 256, _stages(width, 8, (5, 4, 2))
    elif layout == "stl10":
        z_dim, stages = 512, _stages(width, 12, (7, 5, 3))
    else:
        is_celebahq = layout == "celebahq-256"
        count = {"64": 4, "128": 5}.get(layout, 6)
        z_dim = 512
        stages = _stages(
            width,
            8,
            (0 if is_celebahq else 5, 4, 4, 4, 4, 4)[:count],
            bicubic_stages={"64": 1, "128": 1}.get(layout, 2),
            is_smooth=is_celebahq,
        )
    return TransGANConfig(
        resolution_px=stages[-1].side,
        channels=channels,
        c_dim=c_dim,
        z_dim=max(z_dim // width_divisor, 1),
        stages=stages,
        norm="layer" if layout == "cifar10" else "pixel",
        relative_position=True,
        noise=layout not in ("cifar10", "stl10"),
        cross_attention=layout == "celebahq-256",
    )


def divided(width: int, divisor: int) -> int:
    """`width`/`divisor`.

    Raises:
        ConfigError: it is not whole.
    """
    if divisor < 1 or width % divisor != 0:
        raise ConfigError(f"width_divisor={divisor}: expected a divisor of {width}")
    return width // divisor


def _stages(
    width: int, side: int, depths: Sequence[int], *, bicubic_stages: int = 0, is_smooth: bool = False
) -> tuple[TransGANStage, ...]:
    """Stages that double the side; pixel shuffle after `bicubic_stages`; 16×16 windows from 64×64 tokens on.

    With `is_smooth` the stages of 128 and more tokens per side low-pass what they shuffle.
    """
    stages = [TransGANStage(side=side, channels=width, depth=depths[0], upsampling="none")]
    for index, depth in enumerate(depths[1:], start=1):
        side *= 2
        upsampling: Upsampling = "smooth_pixelshuffle" if is_smooth and side >= 128 else "pixelshuffle"
        if index <= bicubic_stages:
            upsampling = "bicubic"
        elif width % 4 != 0:
            raise ConfigError(f"the stage of side {side // 2} has {width} channels: choose a smaller width_divisor")
        else:
            width //= 4
        # Only the layouts with bicubic stages (version 2 from 64 px up) have grid attention.
        window = 16 if bicubic_stages and side >= 64 else None
        stages.append(TransGANStage(side=side, channels=width, depth=depth, window=window, upsampling=upsampling))
    return tuple(stages)
