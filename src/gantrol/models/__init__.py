"""Generators and discriminators: plain modules, each with its frozen config beside it.

    from gantrol.models import StyleGAN3Config
    g = StyleGAN3Config(resolution_px=64).build()
    img = g(torch.randn(4, g.z_dim))

`config.build()` makes the module; `module.config` is what it was made from. All generators share the interface
`Generator`, all discriminators `Discriminator`.
"""

from typing import get_args

from gantrol.models.autogan import (
    AutoGANConfig,
    AutoGANDiscriminator,
    AutoGANDiscriminatorConfig,
    AutoGANGenerator,
)
from gantrol.models.controllable import (
    BaseGeneratorConfig,
    ControllableConfig,
    ControllableGenerator,
    GroupedMapping,
    LatentGroup,
    group_slices,
    split_evenly,
)
from gantrol.models.fourier_input import make_transform
from gantrol.models.ladder import LadderConfig, LadderGenerator, ladder_schedule
from gantrol.models.protocols import Discriminator, Generator, NoiseMode
from gantrol.models.stylegan2 import StyleGAN2Config, StyleGAN2Generator
from gantrol.models.stylegan2_discriminator import StyleGAN2Discriminator, StyleGAN2DiscriminatorConfig
from gantrol.models.stylegan3 import (
    LayerSpec,
    StyleGAN3Config,
    StyleGAN3Generator,
    layer_schedule,
)
from gantrol.models.transformer import LocalityWindow
from gantrol.models.transgan import (
    TransGANConfig,
    TransGANGenerator,
    TransGANStage,
    transgan_v1,
    transgan_v2,
)
from gantrol.models.transgan_discriminator import (
    TransGANDiscriminator,
    TransGANDiscriminatorConfig,
    TransGANScale,
    transgan_v1_discriminator,
    transgan_v2_discriminator,
)
from gantrol.models.wgan_gp import WGANGPConfig, WGANGPDiscriminator, WGANGPDiscriminatorConfig, WGANGPGenerator

GeneratorConfig = BaseGeneratorConfig | ControllableConfig
DiscriminatorConfig = (
    StyleGAN2DiscriminatorConfig | WGANGPDiscriminatorConfig | AutoGANDiscriminatorConfig | TransGANDiscriminatorConfig
)

GENERATORS: dict[str, type[GeneratorConfig]] = {config.kind: config for config in get_args(GeneratorConfig)}
"""Config class of each kind of generator."""

DISCRIMINATORS: dict[str, type[DiscriminatorConfig]] = {config.kind: config for config in get_args(DiscriminatorConfig)}
"""Config class of each kind of discriminator."""

__all__ = [
    "DISCRIMINATORS",
    "GENERATORS",
    "AutoGANConfig",
    "AutoGANDiscriminator",
    "AutoGANDiscriminatorConfig",
    "AutoGANGenerator",
    "BaseGeneratorConfig",
    "ControllableConfig",
    "ControllableGenerator",
    "Discriminator",
    "DiscriminatorConfig",
    "Generator",
    "GeneratorConfig",
    "GroupedMapping",
    "LadderConfig",
    "LadderGenerator",
    "LatentGroup",
    "LayerSpec",
    "LocalityWindow",
    "NoiseMode",
    "StyleGAN2Config",
    "StyleGAN2Discriminator",
    "StyleGAN2DiscriminatorConfig",
    "StyleGAN2Generator",
    "StyleGAN3Config",
    "StyleGAN3Generator",
    "TransGANConfig",
    "TransGANDiscriminator",
    "TransGANDiscriminatorConfig",
    "TransGANGenerator",
    "TransGANScale",
    "TransGANStage",
    "WGANGPConfig",
    "WGANGPDiscriminator",
    "WGANGPDiscriminatorConfig",
    "WGANGPGenerator",
    "group_slices",
    "ladder_schedule",
    "layer_schedule",
    "make_transform",
    "split_evenly",
    "transgan_v1",
    "transgan_v1_discriminator",
    "transgan_v2",
    "transgan_v2_discriminator",
]
