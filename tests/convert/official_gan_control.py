"""Folders as GAN-Control's training writes them, made by torch.save from state dicts under the official names."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gantrol.convert.gan_control_names import discriminator_name, generator_name
from gantrol.models import StyleGAN2DiscriminatorConfig
from tests.models.golden_models import Golden
from tests.models.golden_transgan import formula_state

State = dict[str, Tensor]

ROWS = 16
SAVED_BY_OPTIMIZER = nn.Parameter(torch.ones(2))


def generator_state(name: str = "ganctl_gen") -> State:
    """A fixture's generator with the filters that the official code stores beside the weights."""
    return _with_upsampling_filters(formula_state(Golden(name).info))


def _with_upsampling_filters(state: State) -> State:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps) / 64 * 4
    for key in list(state):
        if key.startswith("convs.") and key.endswith(".conv.weight") and int(key.split(".")[1]) % 2 == 0:
            state[key.replace("conv.weight", "conv.blur.kernel")] = kernel.clone()
        elif key.startswith("to_rgbs.") and key.endswith(".bias") and "modulation" not in key:
            state[key.replace("bias", "upsample.kernel")] = kernel.clone()
    return state


def tiny_state(config: Any, seed: int = 0) -> State:
    """The official state of a generator of ours with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = config.build().eval().requires_grad_(False)
    random = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, value in model.state_dict().items():
        key = generator_name(name)
        if key is None:
            continue
        value = value + 0.1 * torch.randn(value.shape, generator=random)
        if key.endswith((".conv.weight", "input.input")):
            value = value[None]
        elif re.fullmatch(r"noises\..*|to_rgb.*[1\d]\.bias", key):
            value = value.reshape(1, -1, 1, 1) if key.endswith("bias") else value[None, None]
        state[key] = value.reshape(-1) if key.endswith("noise.weight") else value
    return _with_upsampling_filters(state)


def discriminator_state() -> State:
    """The fixture's discriminator with the filters that the official code stores."""
    return _with_downsampling_filters(formula_state(Golden("ganctl_dis").info))


def tiny_discriminator_state(config: StyleGAN2DiscriminatorConfig) -> State:
    """The official state of a discriminator of ours with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = config.build().state_dict()
    return _with_downsampling_filters({discriminator_name(name): value for name, value in state.items()})


def _with_downsampling_filters(state: State) -> State:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    for key in list(state):
        for part in ("conv2", "skip"):
            if key.endswith(f"{part}.1.weight"):
                state[key.replace("1.weight", "0.kernel")] = torch.outer(taps, taps) / 64
    return state


def run_args(name: str = "ganctl_gen", places: Mapping[str, list[int]] | None = None) -> dict[str, Any]:
    """An `args.json`, as far as it matters, with a few of the many other settings."""
    options = Golden(name).info["constructor_options"]
    if places is None:
        places = {group: entry["latent_place"] for group, entry in options["groups"].items()}
    groups = {
        group: {"place_in_latent": place, "place_in_mini_batch": [2 * i, 2 * i + 2]}
        for i, (group, place) in enumerate(sorted(places.items()))  # not in latent order
    }
    model = {"size": options["size"], "latent_size": options["style_dim"], "n_mlp": options["n_mlp"]}
    return {
        "save_name": "age015id025exp02hai04ori02gam15",
        "results_dir": "/home/someone/results",
        "model_config": {**model, "channel_multiplier": 2, "vanilla": not options["split_fc"]},
        "training_config": {"batch": ROWS, "mini_batch": ROWS, "sub_groups_dict": groups, "age_loss": {"weight": 0.15}},
        "data_config": {"data_set_name": "ffhq", "path": "/home/someone/ffhq"},
    }


def save(path: Path, content: Any, args: dict[str, Any] | None = None) -> Path:
    """Writes `path` with torch.save, and `args` as the args.json of the folder above its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    if args is not None:
        (path.parent.parent / "args.json").write_text(json.dumps(args, indent=4))
    return path


def run_content(g_ema: State, d: State | None = None, *, g: State | None = None) -> dict[str, Any]:
    """What a run of phase one saves; the raw generator `g` is the averaged one unless it is given."""
    optimizer = torch.optim.Adam([SAVED_BY_OPTIMIZER], lr=0.002, betas=(0.0, 0.99))
    SAVED_BY_OPTIMIZER.grad = torch.ones(2)
    optimizer.step()
    content = {"g": OrderedDict(g or g_ema), "g_ema": OrderedDict(g_ema), "g_optim": optimizer.state_dict()}
    return content | {"d": None if d is None else OrderedDict(d), "d_optim": optimizer.state_dict()}


def controller_state(in_dim: int, size: int, *, hidden: int = 12, layers: int = 4, seed: int = 0) -> State:
    """Weights of a controller under the official names."""
    random = torch.Generator().manual_seed(seed)
    widths = [in_dim, *[hidden] * (layers - 1), size]
    state: State = {}
    for i in range(layers):
        state[f"fc_stack.{i}.weight"] = torch.randn(widths[i + 1], widths[i], generator=random) * 100
        state[f"fc_stack.{i}.bias"] = torch.randn(widths[i + 1], generator=random) * 15
    return state


def save_controller(folder: Path, state: State, file: str = "best_fid.pt") -> Path:
    """A run of phase two."""
    content = {"controller": OrderedDict(state), "controller_optim": {"state": {}, "param_groups": []}}
    return save(folder / "checkpoint" / file, content, {"controller_config": {"lr_mlp": 0.01}})
