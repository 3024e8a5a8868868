"""Directions from the weights alone: closed-form factorisation (SeFa; Shen & Zhou 2021).

D features of w · L copies of w · C outputs of the layers that take w · K directions.

A generator sees w through linear layers only: in StyleGAN those that make the styles, in TransGAN, AutoGAN and WGAN-GP
the first one. A step n of length 1 in w changes what they put out by A·n. The steps that change it most are the
eigenvectors of AᵀA with the largest eigenvalues. No image is made and nothing is trained.

Where w is z itself, these are also what GANSpace finds from the first layer's activations: for z ~ N(0, I) their
covariance is A·Aᵀ, whose principal axes the same directions bring about.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gantrol.control.pca import leading_eigenvectors
from gantrol.errors import ConfigError


def style_weights(generator: Any, layers: Iterable[int] | None = None) -> Tensor:
    """A [C, D]: one below the other, the matrices of all linear layers that take w.

    They are found by looking: a random w goes to each layer of the synthesis network, and the modules with a matrix
    that receive one of these unchanged and answer with a vector are the ones. So this needs to know no architecture.

    Args:
        generator: a `gantrol.models.Generator`.
        layers: the copies of w to heed, from 0 to L − 1; None for all.

    Raises:
        ConfigError: no linear layer takes w.
    """
    heeded = set(range(generator.num_ws) if layers is None else layers)
    parameter = next(generator.parameters())
    rng = torch.Generator().manual_seed(0)
    ws = torch.randn(1, generator.num_ws, generator.w_dim, generator=rng).to(parameter)
    found: dict[nn.Module, None] = {}

    def watch(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        taken = arguments[0] if arguments else None
        is_vector = isinstance(output, Tensor) and output.ndim == 2
        if is_vector and isinstance(taken, Tensor) and any(torch.equal(taken, ws[:, layer]) for layer in heeded):
            found[module] = None

    hooks = []
    for module in generator.synthesis.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim == 2 and weight.shape[1] == generator.w_dim:
            hooks.append(module.register_forward_hook(watch))
    try:
        with torch.no_grad():
            generator.synthesis(ws, noise_mode="none")
    finally:
        for handle in hooks:
            handle.remove()
    if not found:
        raise ConfigError(f"no linear layer of this {generator.config.kind} takes w: there is nothing to factorise")
    with torch.no_grad():
        # What a layer does to the unit vectors, less its bias: the matrix with all gains that it applies.
        identity = torch.eye(generator.w_dim).to(parameter)
        columns = [module(identity) - module(torch.zeros_like(identity[:1])) for module in found]  # [D, C] each
    return torch.cat(columns, dim=1).T.cpu().double()


def factorized_directions(generator: Any, count: int, *, layers: Iterable[int] | None = None) -> Tensor:
    """The `count` steps in w that change the styles most, float64 [K, D], rows of length 1, strongest first.

    Args:
        generator: a `gantrol.models.Generator`.
        count: K.
        layers: the copies of w that shall be moved; None for all.

    Raises:
        ConfigError: there are not so many directions, or no linear layer takes w.

    Source: Shen & Zhou 2021, "Closed-Form Factorization of Latent Semantics in GANs".
    """
    weights = style_weights(generator, layers)
    return leading_eigenvectors(weights.T @ weights, count, "factors")
