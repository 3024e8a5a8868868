"""The notebooks, from top to bottom and without Jupyter: the code cells of each run one after another in one namespace.

With GANTROL_FULL_NOTEBOOKS=1 as they stand, which takes up to two minutes each; otherwise with less data and training.
"""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMALLER = {r"^IMAGES = \d+": "IMAGES = 16", r"^SECONDS = \d+": "SECONDS = 0.3", r"samples=32\b": "samples=8"}
"""What the quick test changes."""


def cells_of(notebook: Path, kind: str) -> list[str]:
    """The sources of the cells of a kind, code or markdown."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == kind]


def test_there_are_notebooks() -> None:
    assert [path.name for path in NOTEBOOKS] == ["quickstart.ipynb"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_they_are_stored_without_outputs(notebook: Path) -> None:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["metadata"]["kernelspec"]["name"]) == (4, "python3")
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])
    for cell in content["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_they_run_from_top_to_bottom(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[Any] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    namespace: dict[str, Any] = {"__name__": "__main__", "display": shown.append}
    with torch.random.fork_rng():
        for number, source in enumerate(cells_of(notebook, "code")):
            if not os.environ.get("GANTROL_FULL_NOTEBOOKS"):
                for pattern, small in SMALLER.items():
                    source = re.sub(pattern, small, source, flags=re.MULTILINE)
            place = f"{notebook.name}, code cell {number}"
            body = ast.parse(source)
            last = body.body.pop() if isinstance(body.body[-1], ast.Expr) else None
            exec(compile(body, place, "exec"), namespace)
            if isinstance(last, ast.Expr):  # what Jupyter shows below the cell
                value = eval(compile(ast.Expression(last.value), place, "eval"), namespace)
                shown += [] if value is None else [value]
    pictures = [each for each in shown if isinstance(each, Image.Image)]
    assert len(pictures) >= 6
    assert all(min(picture.size) >= 90 for picture in pictures)
    assert len(namespace["scores"]) == 2
    assert namespace["model"].controls
    printed = capsys.readouterr().out
    assert "generator.safetensors" in printed
    assert "gantrol train --preset stylegan3-t" in printed
