"""Tables on the screen: names and numbers stay whole, however narrow it is."""

from __future__ import annotations

import pytest
from rich.table import Table

from gantrol.cli.tables import print_table

NAME = "expression.surprised_and_a_name_that_is_longer_than_others"


@pytest.mark.parametrize("is_folded", [False, True])
def test_nothing_is_cut_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_folded: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    table = Table("control", "unit", "asked-measured", box=None)
    table.add_row(NAME, "degrees", "0.123")
    table.add_row("yaw", "", "")
    print_table(table, is_folded=is_folded)
    head, first, second = capsys.readouterr().out.splitlines()
    assert first.split() == [NAME, "degrees", "0.123"]
    assert second.strip() == "yaw"
    assert head.index("unit") == first.index("degrees")
    assert all(line == line.rstrip() for line in (head, first, second))
