"""The processes of a job that are to meet, and do not."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from gantrol.cli import devices
from gantrol.errors import ConfigError
from tests.apart import all_end_well, apart


def wait_for_nobody(said: Path) -> None:
    """The first of two processes, of which the other never comes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(LOCAL_RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    devices.MEETING = timedelta(seconds=2)
    with pytest.raises(ConfigError) as refusal:
        devices.launch("cpu", 2)
    said.write_text(str(refusal.value))


def test_a_process_that_nobody_meets_says_so(tmp_path: Path) -> None:
    all_end_well([apart(wait_for_nobody, tmp_path / "said")], timeout_s=120)
    said = (tmp_path / "said").read_text()
    assert said.startswith("--device cpu --devices 2: the processes have not met within 2 seconds; ")
    assert "\n" not in said


def test_what_torchrun_has_started_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.world(2, 3) == (2, 3)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert devices.world(1) == (4, 2)
    with pytest.raises(ConfigError, match="--devices 0: expected at least 1"):
        devices.world(0)
