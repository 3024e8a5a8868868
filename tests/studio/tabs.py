"""Builds a tab as the page does, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gantrol.studio.engine import Engine


def built_ids(build: Callable[[Engine], None], engine: Engine) -> set[Any]:
    """The element ids of the components of a tab."""
    gr = pytest.importorskip("gradio")

    async def page() -> Any:  # within a loop, since gradio leaves open the one that it makes without
        with gr.Blocks(analytics_enabled=False) as made, gr.Tabs(), gr.Tab("tab"):
            build(engine)
        return made

    made = asyncio.run(page())
    return {block.elem_id for block in made.blocks.values()}
