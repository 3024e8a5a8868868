"""Style mixing: which layers come from where, and the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gantrol import mixing
from gantrol.errors import ConfigError
from gantrol.model import Model
from gantrol.models import StyleGAN3Config
from gantrol.pictures import to_arrays
from gantrol.sample import Look


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"num_layers": 3, "channel_base": 64, "channel_max": 4, "z_dim": 4, "w_dim": 4}
    g = StyleGAN3Config(resolution_px=16, c_dim=2, **sizes).build().eval().requires_grad_(False)
    g.mapping.w_avg.normal_()
    return Model(g)


def test_layers_are_numbers_and_ranges() -> None:
    assert mixing.parse_layers("4,0-2,1", 5) == [0, 1, 2, 4]
    assert mixing.coarse_layers(5) == [0, 1]
    assert mixing.fine_layers(5) == [2, 3, 4]


@pytest.mark.parametrize(
    ("text", "num_ws", "message"),
    [
        ("0-6", 5, "layer 5: this model has the layers 0 to 4"),
        ("x", 5, "layers 'x': expected numbers and ranges"),
        ("3-1", 5, "layers '3-1'"),
        ("0", 1, "nothing to mix"),
    ],
)
def test_other_layers_are_refused_in_one_line(text: str, num_ws: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        mixing.parse_layers(text, num_ws)
    assert "\n" not in str(caught.value)


def test_mixed_takes_whole_layers() -> None:
    ws, other = torch.zeros(2, 5, 3), torch.ones(5, 3)
    assert mixing.mixed(ws, other, [1, 4])[:, :, 0].tolist() == [[0, 1, 0, 0, 1]] * 2


def test_each_cell_is_its_row_with_layers_of_its_column(model: Model) -> None:
    look = Look(class_index=1, truncation_psi=0.6, truncation_cutoff=3, batch_size=4)
    counts: list[tuple[int, int]] = []
    table = mixing.mixing_table(
        model, [0, 1], [7, 8, 9], [0, 1], look=look, progress=lambda done, total: counts.append((done, total))
    )
    assert counts == [(4, 11), (8, 11), (11, 11)]
    rows, columns = model.map([0, 1], **look.of_map), model.map([7, 8, 9], **look.of_map)
    for row, column in np.ndindex(2, 3):
        ws = torch.cat([columns[column, :2], rows[row, 2:]])[None]
        expected = to_arrays(model.synthesize(ws))[0].astype(int)
        assert np.abs(table.cells[row, column] - expected).max() <= 1
    heads = model.generate([0, 1], class_index=1, truncation_psi=0.6, truncation_cutoff=3, output="np").astype(int)
    assert np.abs(table.rows - heads).max() <= 1
    assert table.columns.shape == (3, 16, 16, 3)
    assert np.abs(table.cells[0, 0].astype(int) - table.rows[0]).max() > 1


def test_tables_that_cannot_be_are_refused(model: Model) -> None:
    with pytest.raises(ConfigError, match="at least one row and one column"):
        mixing.mixing_table(model, [], [1], [0], look=Look(class_index=0))
    with pytest.raises(ConfigError, match="no layers to mix"):
        mixing.mixing_table(model, [0], [1], [], look=Look(class_index=0))
    with pytest.raises(ConfigError, match="choose a class"):
        mixing.mixing_table(model, [0], [1], [0])
