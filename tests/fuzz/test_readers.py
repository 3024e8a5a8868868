"""Damaged files: each reader ends with a value or one line, runs nothing, writes nowhere else, takes little memory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz.harness import fuzz, intact, read
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.watch import Deed, watched

EXAMPLES = int(os.environ.get("GANTROL_FUZZ_EXAMPLES", "40"))
WHOLE = {"torch file, old"}  # no network of anybody: refused even if it is whole


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damaged_input(target: Target) -> None:
    assert read(target, intact(target.name)) == ("refused" if target.name in WHOLE else "read")
    ends: Counter[str] = Counter()
    fuzz(target, EXAMPLES, lambda end: ends.update([end]))()
    assert ends["refused"], "the damage does none"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
@pytest.mark.parametrize("deed", ["program", "shell", "network", "file", "removal", "memory"])
def test_the_watch_notices(deed: str, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside").touch()

    def do() -> object:
        match deed:
            case "program":
                return subprocess.run(["true"], check=True)
            case "shell":
                return os.system("true")
            case "network":
                with socket.socket() as connection:
                    return connection.connect(("127.0.0.1", 9))
            case "file":
                return (tmp_path / "outside").write_text("x")
            case "removal":
                return (tmp_path / "outside").unlink()
        return bytearray(4 << 30)

    with watched(tmp_path / "inside"):
        (tmp_path / "inside" / "file").write_text("may be written")
        with pytest.raises(MemoryError if deed == "memory" else Deed):
            do()
