"""The tab Mix: tables and films within their bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gantrol.errors import ConfigError
from gantrol.model import Model
from gantrol.sample import Look
from gantrol.studio import mix
from gantrol.studio.engine import Engine
from tests.studio.tabs import built_ids


def test_a_table_has_its_seeds_and_its_bounds(faces: Model) -> None:
    made = mix.table_picture(faces, "0-1", "2-4", "0-3", Look(truncation_psi=0.7))
    assert made.mode == "RGB"
    assert made.width == 3 * (4 * 32 + 2)
    assert made.height == 3 * (3 * 32 + 2)
    for rows, columns, layers, message in (
        ("0-8", "1", "0", "9 rows are too many"),
        ("0", "0-99", "0", "100 columns are too many"),
        ("0", "x", "0", "expected numbers and ranges"),
        ("0", "1", "9", "layer 9"),
    ):
        with pytest.raises(ConfigError, match=message):
            mix.table_picture(faces, rows, columns, layers, Look())


def test_films_pass_their_keyframes(faces: Model) -> None:
    look = Look(truncation_psi=0.7)
    made = list(mix.film(faces, "3,5", "", 4, look))
    assert np.abs(made[0].astype(int) - faces.generate([3], truncation_psi=0.7, output="np")[0]).max() <= 1
    assert np.abs(made[2].astype(int) - faces.generate([5], truncation_psi=0.7, output="np")[0]).max() <= 1
    assert len(mix.film(faces, "3,5", "0-2", 6, look)) == 6
    assert len(mix.film(faces, "3,5", "0-7", 6, look)) == 6
    for seeds, frames, message in (("0-12", 8, "13 keyframes"), ("0,1", 241, "frames=241"), ("0,1", 2.5, "frames=2.5")):
        with pytest.raises(ConfigError, match=message):
            mix.film(faces, seeds, "", frames, look)


def test_a_film_is_written(faces: Model, tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = mix.write_film(mix.film(faces, "0,1", "", 4, Look()), tmp_path / "film.mp4", 10)
    assert path.read_bytes()[4:8] == b"ftyp"
    with pytest.raises(ConfigError, match="frames per second"):
        mix.write_film(mix.film(faces, "0,1", "", 4, Look()), tmp_path / "film.mp4", 0)


def test_keyframes_are_shown_and_layers_named(faces: Model, plain: Model) -> None:
    assert mix.keyframe_strip(faces, "0-2", Look()).width == 3 * 96 + 2 * 2
    assert mix.layers_text(faces, "coarse layers") == "0-3"
    assert mix.layers_text(faces, "fine layers") == "4-7"
    strip = mix.keyframe_strip(plain, "0", Look(class_index=2))
    assert strip.size == (96, 96)


def test_the_tab_is_built(engine: Engine) -> None:
    ids: set[Any] = built_ids(mix.build, engine)
    assert {"mix-model", "mix-class", "mix-table", "mix-video", "mix-keyframes", "mix-cancel"} <= ids
