"""The data card tells what goes together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gantrol.data.card import associations, data_card
from gantrol.data.dataset import DatasetWriter, ImageDataset
from gantrol.errors import DataError


def rows(count: int = 400) -> list[dict]:
    rng = np.random.default_rng(0)
    made = []
    for index in range(count):
        age, hat = rng.uniform(6, 85), rng.choice(["none", "cap"])
        color = [0.8, 0.1, 0.1] if hat == "cap" else [0.1, 0.1, float(rng.uniform(0.2, 0.9))]
        made.append({"identity": index, "age": float(age), "grey": age / 85, "hat": str(hat), "hat_color": color,
                     "yaw": float(rng.normal(0, 10))})  # fmt: skip
    return made


SCHEMA = {"identity": {"kind": "seed"}, "age": {"unit": "years"}, "grey": {"depends": "age"}, "yaw": {}}


def test_pairs_that_go_together_are_found_and_others_not() -> None:
    found = {(a, b): r for a, b, r in associations(rows(), list(rows(1)[0]), SCHEMA)}
    assert set(found) == {("age", "grey"), ("hat", "hat_color")}
    assert found["age", "grey"] == pytest.approx(1)


def test_the_card_of_a_dataset(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "d.zip", schema=SCHEMA, meta={"licence": "CC0"}) as writer:
        for row in rows(60):
            writer.add(np.zeros((4, 4, 3), dtype=np.uint8), attributes=row)
    card = data_card(ImageDataset(tmp_path / "d.zip"))
    assert '- licence: `"CC0"`' in card
    assert "| `age` | years | " in card
    assert "| `grey` |  | " in card
    assert "depends on age" in card
    assert "| `age` | `grey` | 1.00 |" in card
    assert "cap" in card


def test_a_dataset_without_attributes_has_no_card(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "d.zip") as writer:
        writer.add(np.zeros((4, 4, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="no attributes"):
        data_card(ImageDataset(tmp_path / "d.zip"))
