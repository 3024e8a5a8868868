"""Building blocks that StyleGAN2 and StyleGAN3 share: equalised linear and convolution layers, the mapping network.

Dimensions: N batch · C channels · H W pixels · D features · L copies of w (one per synthesis layer).

*Equalised learning rate* (Karras et al. 2018, section 4.1): weights are stored as N(0, 1) and scaled by 1/√fan-in when
they are used, so that Adam, whose steps do not depend on the scale of the gradient, moves every layer at the same
relative speed. A *learning-rate multiplier* λ goes one step further: the stored weight is divided by λ and the
effective one multiplied by it, which slows the layer down by λ.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrol.errors import ConfigError
from gantrol.ops import bias_act, conv2d_resample, setup_filter
from gantrol.ops.parts import move_mean

LRELU_GAIN = math.sqrt(2)
"""Keeps the second moment of a leaky ReLU's output near that of its input."""


def normalize_2nd_moment(x: Tensor) -> Tensor:
    """Scales each row of `x` [N, D] to a mean square of one."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def check_dtype(dtype: torch.dtype) -> None:
    """Raises `ConfigError` unless a network can compute its widest layers in `dtype`."""
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ConfigError(f"dtype={dtype}: expected torch.float32, torch.float16 or torch.bfloat16")


def compute_dtype(weight: Tensor, dtype: torch.dtype, is_low_precision: bool) -> torch.dtype:
    """The type in which a layer computes: `dtype` if that is a short one and the layer allows it, else its weight's."""
    return dtype if is_low_precision and dtype != torch.float32 else weight.dtype


def resample_taps() -> Tensor:
    """The low-pass [1, 3, 3, 1]/8 of StyleGAN2 (section 2.3 of its paper cites Zhang 2019), one-dimensional."""
    taps = setup_filter([1, 3, 3, 1], separable=True)
    assert taps is not None
    return taps


def register(module: nn.Module, name: str, value: Tensor, is_trainable: bool) -> None:
    """Adds `value` as a parameter, or as a buffer of the same state-dict name if it is not to be trained."""
    if is_trainable:
        module.register_parameter(name, nn.Parameter(value))
    else:
        module.register_buffer(name, value)


class FullyConnected(nn.Module):
    """Equalised linear layer: y = act(x·(W·λ/√D_in)ᵀ + b·λ).

    Args:
        in_features: width of the input.
        out_features: width of the output.
        act: "linear" or "lrelu" (slope 0.2, gain √2).
        lr_multiplier: λ above.
        bias_init: value of the effective bias at the start.
        zero_init: start with W = 0 instead of N(0, 1)/λ.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        act: str = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
        zero_init: bool = False,
    ) -> None:
        super().__init__()
        weight = torch.zeros(out_features, in_features)
        if not zero_init:
            weight = torch.randn(out_features, in_features) / lr_multiplier
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.full([out_features], bias_init / lr_multiplier))
        self.act = act
        self.lr_multiplier = lr_multiplier
        self.weight_gain = lr_multiplier / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x` [N, D_in] to [N, D_out]."""
        bias = self.bias if self.lr_multiplier == 1 else self.bias * self.lr_multiplier
        # Scaling x rather than W: x is the smaller of the two, and W·gain need not be kept for the backward pass.
        y = F.linear(x * self.weight_gain, self.weight, bias)
        return y if self.act == "linear" else bias_act(y, act=self.act)


class Convolution(nn.Module):
    """Equalised convolution without modulation, with optional ×2 resampling (StyleGAN2, section 2 and appendix B).

    The order is convolution (W/√(C_in·k²)) with resampling → bias → activation → gain → clamp. Zero padding keeps the
    size, apart from the resampling.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: k, odd.
        act: "linear" or "lrelu".
        use_bias: whether there is a bias.
        up: 1 or 2.
        down: 1 or 2.
        conv_clamp: limit of the output's magnitude before the extra gain of `forward`, or None.
        is_trainable: if False, weight and bias are buffers (Freeze-D); the names stay.
    """

    weight: Tensor
    bias: Tensor | None
    resample_filter: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        act: str = "linear",
        use_bias: bool = True,
        up: int = 1,
        down: int = 1,
        conv_clamp: float | None = None,
        is_trainable: bool = True,
    ) -> None:
        super().__init__()
        register(self, "weight", torch.randn(out_channels, in_channels, kernel_size, kernel_size), is_trainable)
        if use_bias:
            register(self, "bias", torch.zeros(out_channels), is_trainable)
        else:
            self.bias = None
        needs_filter = up > 1 or down > 1
        self.register_buffer("resample_filter", resample_taps() if needs_filter else None, persistent=False)
        self.act = act
        self.up = up
        self.down = down
        self.conv_clamp = conv_clamp
        self.padding = kernel_size // 2
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.act_gain = LRELU_GAIN if act == "lrelu" else 1.0

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """Maps `x` [N, C_in, H, W] to [N, C_out, H·up/down, W·up/down] in the type of `x`, times `gain`."""
        # Both activations are positively homogeneous, act(g·x) = g·act(x): gains cost nothing inside the weights.
        gain = gain * self.act_gain
        y = conv2d_resample(
            x,
            (self.weight * (self.weight_gain * gain)).to(x.dtype),
            f=self.resample_filter,
            up=self.up,
            down=self.down,
            padding=self.padding,
            flip_weight=self.up == 1,  # the transposed convolution of up = 2 sees the kernel as it is stored
        )
        bias = None if self.bias is None else (self.bias * gain).to(x.dtype)
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain / self.act_gain
        return bias_act(y, bias, act=self.act, gain=1, clamp=clamp)


class MappingNetwork(nn.Module):
    """The mapping f: z, c ↦ w (StyleGAN, section 2), with the running mean of w and the truncation trick.

    z and the embedded label are scaled to unit second moment and concatenated; then follow `num_layers` lrelu layers.
    The discriminator uses the same network to turn a label into a projection vector: then z_dim is 0.

    Args:
        z_dim: width of z; 0 for none.
        c_dim: width of the label c; 0 for none.
        w_dim: width of w and of all hidden layers.
        num_ws: copies of w to return, or None for one w without copies and without running mean.
        num_layers: lrelu layers.
        lr_multiplier: λ of these layers.
        w_avg_beta: decay of the running mean of w, per pass with `update_emas`.
    """

    w_avg: Tensor

    def __init__(
        self,
        *,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int | None,
        num_layers: int,
        lr_multiplier: float = 0.01,
        w_avg_beta: float = 0.998,
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.c_dim = c_dim
        self.num_ws = num_ws
        self.w_avg_beta = w_avg_beta
        self.embed = FullyConnected(c_dim, w_dim) if c_dim > 0 else None
        widths = [z_dim + (w_dim if c_dim > 0 else 0)] + [w_dim] * num_layers
        self.layers = nn.ModuleList(
            FullyConnected(width, w_dim, act="lrelu", lr_multiplier=lr_multiplier) for width in widths[:-1]
        )
        if num_ws is not None:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self,
        z: Tensor | None,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
    ) -> Tensor:
        """Maps latents to w.

        Args:
            z: latents [N, z_dim], or None if z_dim is 0.
            c: labels [N, c_dim]; may be left out if c_dim is 0.
            truncation_psi: ψ; w becomes w_avg + ψ·(w − w_avg).
            truncation_cutoff: apply ψ to the first so many copies only; None is all.
            update_emas: move `w_avg` towards the batch mean, before the truncation.

        Returns:
            ws [N, num_ws, w_dim], or w [N, w_dim] if num_ws is None; float32 like the weights.

        Raises:
            ConfigError: z or c has the wrong width, or c is missing.
        """
        dtype = next(self.parameters()).dtype
        inputs = []
        if self.z_dim > 0:
            inputs.append(normalize_2nd_moment(check_width("z", z, self.z_dim).to(dtype)))
        if self.embed is not None:
            inputs.append(normalize_2nd_moment(self.embed(check_width("c", c, self.c_dim).to(dtype))))
        w = torch.cat(inputs, dim=1)  # [N, z_dim + w_dim]
        for layer in self.layers:
            w = layer(w)  # [N, w_dim]
        if self.num_ws is None:
            return w

        if update_emas:
            with torch.no_grad():
                move_mean(self.w_avg, w.mean(dim=0), 1 - self.w_avg_beta)
        ws = w.unsqueeze(1).expand(-1, self.num_ws, -1)  # [N, L, w_dim]
        if not math.isfinite(truncation_psi):
            raise ConfigError(f"truncation_psi={truncation_psi}: expected a finite number")
        if truncation_psi == 1:
            return ws
        if truncation_cutoff is None:
            return self.w_avg.lerp(ws, truncation_psi)
        truncated = self.w_avg.lerp(ws[:, :truncation_cutoff], truncation_psi)
        return torch.cat([truncated, ws[:, truncation_cutoff:]], dim=1)


def check_width(name: str, x: Tensor | None, width: int) -> Tensor:
    """`x`, or a `ConfigError` unless it is there and of shape [N, width]."""
    if x is None:
        raise ConfigError(f"{name} is missing: this network needs {name} of shape [N, {width}]")
    if x.ndim != 2 or x.shape[1] != width:
        raise ConfigError(f"{name} has shape {list(x.shape)}: expected [N, {width}]")
    return x


def check_ws(ws: Tensor, num_ws: int, w_dim: int) -> None:
    """Raises `ConfigError` unless `ws` is [N, num_ws, w_dim]."""
    if ws.ndim != 3 or tuple(ws.shape[1:]) != (num_ws, w_dim):
        raise ConfigError(f"ws has shape {list(ws.shape)}: expected [N, {num_ws}, {w_dim}]")
