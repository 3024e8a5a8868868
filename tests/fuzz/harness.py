"""A fuzz test of each target: hypothesis draws the damage, the reader reads under watch."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from gantrol.errors import GantrolError
from tests.fuzz.targets import TARGETS, Files, Target, check_line, written
from tests.fuzz.watch import watched

BY_NAME = {target.name: target for target in TARGETS}


@cache
def intact(name: str) -> Files:
    """The files of a target, made once."""
    return BY_NAME[name].make()


def read(target: Target, files: Files) -> str:
    """ "read" or "refused"; anything else that a reader does is raised."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        written(files, folder)
        with warnings.catch_warnings(), watched(folder):
            warnings.simplefilter("ignore")
            target.read(folder)
        return "read"
    except GantrolError as error:
        check_line(error)
        return "refused"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fuzz(target: Target, examples: int, tell: Callable[[str], object] = str, start: int | None = None) -> Any:
    """A hypothesis test that damages one file of the target at a time.

    Args:
        target: the reader.
        examples: how many damages.
        tell: hears how each reading ended.
        start: of the random numbers; None draws the same damages every time.
    """
    files = intact(target.name)

    def one(name: str) -> st.SearchStrategy[tuple[str, bytes]]:
        return target.spoil[name](files[name]).map(lambda content: (name, content))

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=start is None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    @given(damage=st.sampled_from(sorted(target.spoil)).flatmap(one))
    def test(damage: tuple[str, bytes]) -> None:
        name, content = damage
        tell(read(target, {**files, name: content}))

    return test if start is None else seed(start)(test)
