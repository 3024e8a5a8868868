"""The README.md of a saved model: what Hugging Face shows, written from what the model knows about itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gantrol.controls import Control, shown

_CARD = """\
---
library_name: gantrol
pipeline_tag: unconditional-image-generation
license: {license}
tags:
- gan
- image-generation
- {kind}
---

# {title}

{architecture} generator, {resolution} px, {colours}{classes}.

| | |
|---|---|
{rows}

## Use

```python
import gantrol

model = gantrol.load("{name}")
model.generate(seeds=[0, 1, 2], truncation_psi=0.7{class_argument})[0].save("0.png")
```

```
gantrol generate {argument} --seeds 0-15 --truncation 0.7{class_option} --out pictures --grid grid.png
```
"""

_CONTROLS = """\

## Controls

| control | unit | range | default | {heading}what it does |
|---|---|---|---|{rule}---|
{rows}

A value is set with `controls={{"{name}": …}}` in Python and with `--set {name}=…` on the command line. What is not set
follows from the seed; values outside the range are clamped.{implicit}
"""

_IMPLICIT = """ Controls marked *implicit* were found in a generator that was
not trained for control: other things may change with them."""

_COMMANDS = """\

## Made with

```
{commands}
```
"""

_ORIGIN = """\

## Origin

These weights were imported from `{imported_from}` ({format}, weights `{weights}`) and compute the same images.
They keep the licence they were published under, whatever the licence of gantrol: read it before you use or share them.

SHA-256 of that file: `{sha256}`
"""

_NAMES = {
    "stylegan2": "StyleGAN2",
    "ladder": "StyleGAN3 ladder",
    "stylegan3": "StyleGAN3",
    "transgan": "TransGAN",
    "autogan": "AutoGAN",
    "wgan-gp": "WGAN-GP",
    "controllable": "Controllable",
}


def model_card(
    generator: Any,
    discriminator: Any | None,
    training: Mapping[str, Any],
    version: str,
    controls: Mapping[str, Control] | None = None,
    name: str | None = None,
) -> str:
    """The Markdown card of a model, with the YAML head that the Hub reads.

    Args:
        generator: the module, with its config.
        discriminator: the module that comes with it, if any.
        training: what is known of the training; `data`, `kimg`, `preset`, `init`, `license` are named, and
            where imported weights came from; `command` and `control_command` are what it was made with, and
            `control_errors` holds by control {"mean_absolute_error": …, "unit": …}; the rest is left out.
        version: of gantrol.
        controls: of a controllable model.
        name: what to load it by, if it is known: its id on the Hub.
    """
    config = generator.config
    architecture = _NAMES.get(config.kind, config.kind)
    if config.kind == "controllable":
        architecture = f"Controllable {_NAMES.get(config.base.kind, config.base.kind)}"
    rows = [("generator", f"{parameter_count(generator):,} parameters")]
    if discriminator is not None:
        rows.append(("discriminator", f"{parameter_count(discriminator):,} parameters"))
    rows += [("latent z, w", f"{generator.z_dim}, {generator.w_dim} × {generator.num_ws}")]
    labels = {"preset": "preset", "data": "training data", "kimg": "training length", "init": "began from"}
    for key, label in labels.items():
        if training.get(key) is not None:
            rows.append((label, f"{training[key]:,g} thousand images" if key == "kimg" else str(training[key])))
    rows.append(("written by", f"gantrol {version}"))
    is_conditional = generator.c_dim > 0
    origin = _ORIGIN.format_map(training) if "sha256" in training else ""
    name = name or "DIR or user/name"
    card = _CARD.format(
        name=name,
        argument=f'"{name}"' if " " in name else name,
        license=training.get("license") or "unknown",
        kind=config.kind,
        title=f"{architecture} {generator.resolution_px} px",
        architecture=architecture,
        resolution=generator.resolution_px,
        colours={1: "grey", 4: "RGBA"}.get(generator.channels, "RGB"),
        classes=f", {generator.c_dim} classes" if is_conditional else "",
        rows="\n".join(f"| {label} | {value} |" for label, value in rows),
        class_argument=", class_index=0" if is_conditional else "",
        class_option=" --class 0" if is_conditional else "",
    )
    return card + _controls(controls or {}, training.get("control_errors") or {}) + _commands(training) + origin


def _controls(controls: Mapping[str, Control], errors: Mapping[str, Mapping[str, Any]]) -> str:
    """The section about controls; empty if there are none."""
    if not controls:
        return ""
    rows = []
    for name, control in controls.items():
        names = f" ({', '.join(control.components)})" if len(control.components) > 1 else ""
        limits = ("whole numbers", "") if control.kind == "seed" else (_range(control), shown(control.default))
        cells = [f"`{name}`{names}", control.unit, *limits]
        if errors:
            error = errors.get(name, {}).get("mean_absolute_error")
            cells.append("" if error is None else f"{error:.3g}")
        cells.append(f"*implicit*: {control.help}" if control.is_implicit else control.help)
        rows.append("| " + " | ".join(cells) + " |")
    return _CONTROLS.format(
        heading="mean error | " if errors else "",
        rule="---|" if errors else "",
        rows="\n".join(rows),
        name=next(iter(controls)),
        implicit=_IMPLICIT if any(control.is_implicit for control in controls.values()) else "",
    )


def _range(control: Control) -> str:
    """`-30 to 30`; component by component where there are several."""
    if not isinstance(control.low, tuple) or not isinstance(control.high, tuple):
        return f"{shown(control.low)} to {shown(control.high)}"
    return ", ".join(f"{low:g} to {high:g}" for low, high in zip(control.low, control.high, strict=True))


def _commands(training: Mapping[str, Any]) -> str:
    """The commands that made the model, as far as they are known."""
    commands = [str(training[key]) for key in ("command", "control_command") if training.get(key)]
    return _COMMANDS.format(commands="\n".join(commands)) if commands else ""


def parameter_count(module: Any) -> int:
    """Trainable values of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
