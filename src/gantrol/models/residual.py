"""What the convolutional baselines share: layers, batch norm, spectral normalisation, both ends of G, the critic.

Dimensions: N batch · C channels · H W pixels · D features.

*Spectral normalisation* (Miyato et al. 2018, algorithm 1) divides a weight by an estimate of its largest singular value
σ = uᵀWv. The estimate follows the weight with one power iteration per forward pass in training mode, whoever asks for
it: the passes on fakes and on reals of D's step, those of its penalties, and the one of G's step each count. The
vectors u and v are buffers, so a checkpoint holds them and a resumed training continues bit for bit; they follow from
the weights and the number of passes alone, so they agree on all processes of a parallel training without being sent.

*Batch norm* uses the statistics of the batch in training mode; the running ones, which evaluation uses, move only when
`update_emas` asks for it, like every running mean of this library. Under accumulation the batch is the micro-batch, and
in a parallel training it is a process's own share; running statistics move by the mean over all of these.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrol.errors import ConfigError
from gantrol.models.config_checks import check
from gantrol.models.layers import check_dtype, check_width
from gantrol.models.mapped_generator import ImageConfig
from gantrol.models.protocols import NoiseMode, check_noise_mode
from gantrol.ops.parts import move_mean

Init = Literal["he", "xavier"]
"""Uniform weights of variance 4/(fan_in + fan_out), or half of it; a convolution's fans count its k² taps."""


def bottom_px(resolution_px: int) -> int:
    """Side of the coarsest feature map of a generator: the r of {4, 6} in resolution_px = r·2ᵏ."""
    return 6 if resolution_px % 3 == 0 else 4


def check_resolution(config: object) -> None:
    """Raises `ConfigError` unless `resolution_px` is 4·2ᵏ or 6·2ᵏ with k ≥ 2: two stages or more."""
    side: int = config.resolution_px  # type: ignore[attr-defined]
    steps = side // bottom_px(side) if side > 0 else 0
    is_valid = steps >= 4 and steps & (steps - 1) == 0 and steps * bottom_px(side) == side
    check(config, "resolution_px", is_valid, "4·2ᵏ or 6·2ᵏ with k of 2 or more, for example 32, 48 or 64")


def uniform_(weight: Tensor, init: Init) -> Tensor:
    """Fills `weight` [D_out, D_in, …] as `init` says."""
    taps = weight[0, 0].numel()
    variance = {"he": 4, "xavier": 2}[init] / (taps * (weight.shape[0] + weight.shape[1]))
    bound = math.sqrt(3 * variance)
    return nn.init.uniform_(weight, -bound, bound)


def spectrally_normalized(weight: Tensor, u: Tensor, v: Tensor, *, is_training: bool) -> Tensor:
    """weight / σ, with σ = uᵀWv of the weight as a matrix W [D_out, D_in·k²].

    Args:
        weight: [D_out, D_in, …].
        u: [D_out], the left singular vector; moved by one power iteration first if `is_training`.
        v: [D_in·k²], the right one; likewise.
        is_training: see `u`.

    Returns:
        As `weight`; gradients flow through W but not through u and v.

    Source: Miyato et al. 2018, algorithm 1.
    """
    matrix = weight.flatten(1)
    if is_training:
        with torch.no_grad():
            v.copy_(F.normalize(matrix.t().mv(u), dim=0, eps=1e-12))
            u.copy_(F.normalize(matrix.mv(v), dim=0, eps=1e-12))
    # Copies: the next pass moves u and v in place, perhaps before this one is differentiated.
    sigma = torch.dot(u.clone(), matrix.mv(v.clone()))
    return weight / sigma


class Convolution2d(nn.Module):
    """Same-size convolution in the type of its input.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: 1 or 3.
        init: of the weight; biases start at 0.
        is_spectral: divide the weight by its largest singular value.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, *, init: Init, is_spectral: bool = False
    ) -> None:
        super().__init__()
        self.padding = kernel_size // 2
        self.weight = nn.Parameter(uniform_(torch.empty(out_channels, in_channels, kernel_size, kernel_size), init))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.is_spectral = is_spectral
        _register_singular_vectors(self, is_spectral)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, C_in, H, W] to [N, C_out, H, W]."""
        weight = _weight(self)
        return F.conv2d(x, weight.to(x.dtype), self.bias.to(x.dtype), padding=self.padding)


class Linear(nn.Module):
    """Linear layer, in full precision; arguments as those of `Convolution2d`."""

    def __init__(
        self, in_features: int, out_features: int, *, init: Init, use_bias: bool = True, is_spectral: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(uniform_(torch.empty(out_features, in_features, 1), init)[..., 0].clone())
        self.bias = nn.Parameter(torch.zeros(out_features)) if use_bias else None
        self.is_spectral = is_spectral
        _register_singular_vectors(self, is_spectral)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, D_in] to [N, D_out]."""
        return F.linear(x.to(self.weight.dtype), _weight(self), self.bias)


def _register_singular_vectors(module: Convolution2d | Linear, is_spectral: bool) -> None:
    if is_spectral:
        rows = module.weight.flatten(1)
        module.register_buffer("u", F.normalize(torch.randn(rows.shape[0]), dim=0))
        module.register_buffer("v", F.normalize(torch.randn(rows.shape[1]), dim=0))


def _weight(module: Convolution2d | Linear) -> Tensor:
    if not module.is_spectral:
        return module.weight
    u, v = module.get_buffer("u"), module.get_buffer("v")
    return spectrally_normalized(module.weight, u, v, is_training=module.training)


class BatchNorm(nn.Module):
    """Batch norm over N, H, W with scale and shift, in float32 (Ioffe & Szegedy 2015); see the module's text.

    Args:
        channels: C.
        momentum: share of the new statistics in the running ones.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, *, update_emas: bool = False) -> Tensor:
        """Maps [N, C, H, W] to the same shape and type."""
        if not self.training:
            y = F.batch_norm(x.float(), self.running_mean, self.running_var, self.weight, self.bias)
            return y.to(x.dtype)
        if update_emas:
            with torch.no_grad():
                var, mean = torch.var_mean(x.detach().float(), dim=(0, 2, 3))  # unbiased
                move_mean(self.running_mean, mean, self.momentum)
                move_mean(self.running_var, var, self.momentum)
        return F.batch_norm(x.float(), None, None, self.weight, self.bias, True, self.momentum).to(x.dtype)


class ConvolutionalConfig(ImageConfig, Protocol):
    """The fields of a baseline generator's config that its ends need."""

    @property
    def width(self) -> int: ...


class ConvolutionalSynthesis(nn.Module):
    """z → linear → D×4×4 → `stages`, which double the resolution → batch norm, ReLU, 3×3 convolution, tanh.

    Args:
        config: sizes; subclasses add the stages and implement `body`.
    """

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__()
        self.width = config.width
        self.side = bottom_px(config.resolution_px)
        self.num_stages = (config.resolution_px // self.side).bit_length() - 1
        self.linear = Linear(config.z_dim, config.width * self.side**2, init="xavier")
        self.norm = BatchNorm(config.width)
        self.to_rgb = Convolution2d(config.width, config.channels, init="xavier")

    def body(self, x: Tensor, *, update_emas: bool) -> Tensor:
        """Maps [N, D, 4, 4] (or 6×6) to [N, D, H, W]."""
        raise NotImplementedError

    def forward(
        self,
        ws: Tensor,
        *,
        noise_mode: NoiseMode = "random",
        update_emas: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Maps ws [N, 1, z_dim] to images [N, C, H, W] in [-1, 1], float32; `noise_mode` has no effect here."""
        check_noise_mode(noise_mode)
        check_dtype(dtype)
        x = self.linear(ws[:, 0]).unflatten(1, (self.width, self.side, self.side)).to(dtype)  # [N, D, 4, 4]
        x = self.body(x, update_emas=update_emas)  # [N, D, H, W]
        x = F.relu(self.norm(x, update_emas=update_emas))
        return self.to_rgb(x).float().tanh()


class CriticBlock(nn.Module):
    """Residual block of the critic: shortcut(x) + conv2(R(conv1(R(x)))), halved by a mean where asked.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        is_first: x is the image, so it is not rectified, and the shortcut pools before its convolution.
        is_down: halve the resolution.
        is_spectral: normalise the weights.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, is_first: bool = False, is_down: bool = False, is_spectral: bool
    ) -> None:
        super().__init__()
        self.is_first = is_first
        self.is_down = is_down
        init: Init = "xavier" if is_spectral else "he"
        self.conv1 = Convolution2d(in_channels, out_channels, init=init, is_spectral=is_spectral)
        self.conv2 = Convolution2d(out_channels, out_channels, init=init, is_spectral=is_spectral)
        self.shortcut: Convolution2d | None = None
        if is_down:
            self.shortcut = Convolution2d(in_channels, out_channels, 1, init="xavier", is_spectral=is_spectral)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, C_in, H, W] to [N, C_out, H, W], or half that size."""
        h = self.conv2(F.relu(self.conv1(x if self.is_first else F.relu(x))))
        if self.shortcut is None:
            return x + h
        h = F.avg_pool2d(h, 2)
        if self.is_first:
            return self.shortcut(F.avg_pool2d(x, 2)) + h
        return F.avg_pool2d(self.shortcut(x), 2) + h


class CriticConfig(Protocol):
    """What a config of the residual critic says."""

    @property
    def c_dim(self) -> int: ...
    @property
    def resolution_px(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def width(self) -> int: ...


class ResidualCritic(nn.Module):
    """Blocks that halve the image down to 8×8 (12×12), two plain blocks, pooling, one linear layer.

    State-dict names: `blocks.{i}.{conv1, conv2}.{weight, bias}`, `blocks.{i}.shortcut.*` where the block halves,
    `out.weight`, and `out.bias` without spectral normalisation; with it `u` and `v` beside each weight. With labels
    also `embed.*`: the logit then gains the product of the pooled features with an embedding of the label (Miyato &
    Koyama 2018).

    Args:
        config: sizes.
        is_spectral: spectral normalisation of all weights, a sum over space and no bias at the end (AutoGAN); else
            none, a mean, and a bias (WGAN-GP).
    """

    def __init__(self, config: CriticConfig, *, is_spectral: bool) -> None:
        super().__init__()
        self.config = config
        self.c_dim = config.c_dim
        self.resolution_px = config.resolution_px
        self.channels = config.channels
        self.is_spectral = is_spectral
        width = config.width
        side = config.resolution_px // 2
        blocks = [CriticBlock(config.channels, width, is_first=True, is_down=True, is_spectral=is_spectral)]
        while side > 2 * bottom_px(config.resolution_px):
            blocks.append(CriticBlock(width, width, is_down=True, is_spectral=is_spectral))
            side //= 2
        blocks += [CriticBlock(width, width, is_spectral=is_spectral) for _ in range(2)]
        self.blocks = nn.ModuleList(blocks)
        self.out = Linear(width, 1, init="xavier", use_bias=not is_spectral, is_spectral=is_spectral)
        self.embed: Linear | None = None
        if config.c_dim > 0:
            self.embed = Linear(config.c_dim, width, init="xavier", use_bias=False, is_spectral=is_spectral)

    def forward(self, img: Tensor, c: Tensor | None = None, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Judges images.

        Args:
            img: [N, C, H, W] in [-1, 1].
            c: labels [N, c_dim]; may be left out if c_dim is 0.
            dtype: float32, or a half type in which the blocks compute.

        Returns:
            float32 logits [N, 1]; high is real. Twice differentiable.

        Raises:
            ConfigError: wrong image size, label missing, or unknown dtype.
        """
        check_dtype(dtype)
        expected = (self.channels, self.resolution_px, self.resolution_px)
        if tuple(img.shape[1:]) != expected:
            raise ConfigError(f"images have shape {list(img.shape)}: expected [N, {', '.join(map(str, expected))}]")
        x = img.to(dtype)
        for block in self.blocks:
            x = block(x)  # [N, D, H, W]
        x = F.relu(x).float()
        x = x.sum([2, 3]) if self.is_spectral else x.mean([2, 3])  # [N, D]
        logits = self.out(x)  # [N, 1]
        if self.embed is not None:
            logits = logits + (self.embed(check_width("c", c, self.c_dim)) * x).sum(dim=1, keepdim=True)
        return logits
