"""What the tabs ask in the same way: which model, which class, which seeds."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from gantrol.errors import ConfigError
from gantrol.sample import MAX_SEED, Look, parse_seeds
from gantrol.studio.engine import Engine
from gantrol.studio.explore import label as short_name
from gantrol.studio.guard import gradio, guarded


def new_visitor() -> str:
    """A name for somebody who opens the page."""
    return secrets.token_urlsafe(12)


def picture_box(caption: str, elem_id: str, height: int | None = None, *, kind: str = "png") -> Any:
    """A place for a picture that the server makes, with its caption above, where it hides nothing.

    Args:
        caption: what it shows.
        elem_id: of the picture; that of the caption is ELEM_ID-caption.
        height: in pixels; None: as the picture needs.
        kind: of the file, "png" or "webp".
    """
    gr = gradio()
    gr.Markdown(caption, elem_id=f"{elem_id}-caption", elem_classes="gs-caption")
    return gr.Image(
        label=caption,
        show_label=False,
        type="pil",
        format=kind,
        height=height,
        interactive=False,
        buttons=["download", "fullscreen"],
        alt_text=caption,
        elem_id=elem_id,
    )


def tab_opened() -> Any:
    """The event that somebody opens the tab which is being built; where there is none, that the page is loaded."""
    gr = gradio()
    block = gr.context.Context.block
    while block is not None and not isinstance(block, gr.Tab):
        block = block.parent
    return gr.context.Context.root_block.load if block is None else block.select


def model_choice(engine: Engine, prefix: str, label: str = "Model") -> tuple[Any, Any, Any]:
    """The components that choose a model and, where it is conditional, a class; hidden where there is no choice.

    Args:
        engine: has the models.
        prefix: of the `elem_id`s: PREFIX-model, PREFIX-class.
        label: of the first one.

    Returns:
        Both, whose values are a name and a class (None for a model without classes), and the event after which both
        belong together again when another model was chosen: what depends on them comes `.then`.
    """
    gr = gradio()
    names = list(engine.names)
    choices = [(short_name(name), name) for name in names]
    model = gr.Dropdown(choices, value=names[0], label=label, elem_id=f"{prefix}-model", visible=len(names) > 1)
    kind = gr.Dropdown(label="Class", elem_id=f"{prefix}-class", **_classes(engine, names[0]))

    def changed(name: str) -> Any:
        return gr.update(**_classes(engine, name))

    settled = model.change(guarded(changed), model, kind, show_progress="hidden", queue=False, api_visibility="private")
    return model, kind, settled


def _classes(engine: Engine, name: str) -> dict[str, Any]:
    """The classes of a model, as arguments of a dropdown."""
    count = int(engine.model(name).generator.c_dim)
    return {"choices": list(range(count)), "value": 0 if count else None, "visible": count > 0}


def seeds_of(text: str, most: int, what: str = "seeds") -> list[int]:
    """The seeds of a text such as `0,4-6`.

    Raises:
        ConfigError: it is none, or there are more than `most`.
    """
    seeds = parse_seeds(text or "")
    if len(seeds) > most:
        raise ConfigError(f"{len(seeds)} {what} are too many for the page: give at most {most}")
    return seeds


def random_seeds(count: int) -> str:
    """So many seeds at random, as text."""
    return ",".join(str(secrets.randbelow(10_000)) for _ in range(count))


def whole(value: Any, low: int, high: int, what: str) -> int:
    """A number of the page as a whole number within limits.

    Raises:
        ConfigError: it is none, or beyond the limits.
    """
    try:
        number = int(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what}: expected a whole number from {low} to {high}") from error
    if number != value or not low <= number <= high:
        raise ConfigError(f"{what}={value}: expected a whole number from {low} to {high}")
    return number


def seed_of(value: Any) -> int:
    """The seed in a number field; `ConfigError` if it is none."""
    return whole(value, 0, MAX_SEED, "seed")


def look_of(truncation: Any, class_index: Any, controls: Any = None) -> Look:
    """What stays the same in a table or a film."""
    try:
        psi = float(truncation)
    except (TypeError, ValueError) as error:
        raise ConfigError("truncation: expected a number") from error
    return Look(truncation_psi=psi, class_index=class_index, controls=controls or {})


def numbers_of(text: str, what: str) -> Sequence[int]:
    """Whole numbers separated by commas; none for an empty text."""
    try:
        return [int(part) for part in text.split(",")] if (text or "").strip() else []
    except ValueError as error:
        raise ConfigError(f"{what} {text!r}: expected whole numbers with commas between them") from error
