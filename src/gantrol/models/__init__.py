"""Generators and discriminators: plain modules, each with its frozen config beside it.

    from gantrol.models import StyleGAN3Config
    g = StyleGAN3Config(resolution_px=64).build()
    img = g(torch.randn(4, g.z_dim))

`config.build()` makes the module; `module.config` is what it was made from. All generators share the interface
`Generator`, all discriminators `Discriminator`.
"""

from gantrol.models.protocols import Discriminator, Generator, NoiseMode
from gantrol.models.stylegan2 import StyleGAN2Config, StyleGAN2Generator
from gantrol.models.stylegan2_discriminator import StyleGAN2Discriminator, StyleGAN2DiscriminatorConfig
from gantrol.models.stylegan3 import (
    LayerSpec,
    StyleGAN3Config,
    StyleGAN3Generator,
    layer_schedule,
    make_transform,
)

GeneratorConfig = StyleGAN2Config | StyleGAN3Config
DiscriminatorConfig = StyleGAN2DiscriminatorConfig

GENERATORS: dict[str, type[GeneratorConfig]] = {config.kind: config for config in (StyleGAN2Config, StyleGAN3Config)}
"""Config class of each kind of generator."""

DISCRIMINATORS: dict[str, type[DiscriminatorConfig]] = {
    config.kind: config for config in (StyleGAN2DiscriminatorConfig,)
}
"""Config class of each kind of discriminator."""

__all__ = [
    "DISCRIMINATORS",
    "GENERATORS",
    "Discriminator",
    "DiscriminatorConfig",
    "Generator",
    "GeneratorConfig",
    "LayerSpec",
    "NoiseMode",
    "StyleGAN2Config",
    "StyleGAN2Discriminator",
    "StyleGAN2DiscriminatorConfig",
    "StyleGAN2Generator",
    "StyleGAN3Config",
    "StyleGAN3Generator",
    "layer_schedule",
    "make_transform",
]
