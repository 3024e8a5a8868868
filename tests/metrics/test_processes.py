"""Two processes find what one finds, and an error in one of them is an error in both."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from gantrol.errors import ConfigError
from gantrol.metrics import evaluate_entries
from gantrol.metrics.feature_sets import Needs, observe_all
from gantrol.metrics.features import load_features
from gantrol.metrics.image_sources import GeneratedImages
from gantrol.metrics.processes import Processes
from gantrol.metrics.sticking import Counter
from gantrol.model import load
from tests.apart import all_end_well, apart
from tests.metrics.fake_features import noisy_model, register, tiny_model, write_dataset


def measure(count: int, rank: int, folder: Path, port: int) -> None:
    """What one of `count` processes does: it writes what it has found."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ["XDG_CACHE_HOME"] = str(folder / f"cache{count}")
    if count > 1:
        dist.init_process_group("gloo", timeout=timedelta(seconds=120))
    processes = Processes.joined()
    assert processes.count == count
    register(pytest.MonkeyPatch())
    found: dict[str, Any] = {}
    options: dict[str, Any] = {"samples": 63, "features": "averages", "processes": processes, "device": "cpu"}
    seen: list[tuple[int, int]] = []
    model, noisy, data = (str(folder / name) for name in ("moving", "noisy", "d.zip"))
    metrics = ["fid", "kid", "is", "pr", "dc", "eqt", "eqr", "sticking"]
    entries = evaluate_entries(model, data, metrics, **options, progress=lambda *state: seen.append(state))
    found["moving"] = {name: entry.value for name, entry in entries.items()}
    found["kept"] = evaluate_entries(model, data, ["kid"], **options)["kid"].value
    found["flipped"] = evaluate_entries(data, data, x_flip=True, **options)["fid"].value
    entries = evaluate_entries(noisy, data, ["fid", "kid", "ppl"], **options)
    found["noisy"] = {name: entry.value for name, entry in entries.items()}

    images = GeneratedImages(load(model, device="cpu"), 63, 0)
    some = observe_all(
        images,
        load_features("averages"),
        Needs(True, True, True),
        device=images.model.device,
        batch_size=8,
        seed=0,
        processes=processes,
        counter=Counter(None, 63),
    )
    assert (some is None) == (rank > 0)
    if some is not None:
        assert some.moments is not None
        assert some.features is not None
        assert some.probabilities is not None
        found["mean"] = some.moments.mean.tolist()
        found["covariance"] = some.moments.covariance().tolist()
        found["features"] = some.features.tolist()
        found["probabilities"] = some.probabilities.tolist()

    def fail_in_the_last() -> None:
        if rank == count - 1:
            raise ConfigError("the last one fails")

    found["calls"] = []
    calls: list[Callable[[], Any]] = [
        lambda: processes.gather(fail_in_the_last),
        lambda: processes.deal([fail_in_the_last] * count),
        lambda: processes.on_first(fail_in_the_last),
    ]
    for call in calls:
        try:
            call()
            found["calls"].append("went well")
        except ConfigError as error:
            found["calls"].append(str(error))
    found["seen"] = seen[-1]
    (folder / f"found_{count}_{rank}.json").write_text(json.dumps(found))
    if count > 1:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one process finds, and what each of two finds."""
    pytest.importorskip("efficientnet_lite_pytorch")
    folder = tmp_path_factory.mktemp("processes")
    write_dataset(folder / "d.zip", 41)
    tiny_model().save_pretrained(folder / "moving")
    noisy_model().save_pretrained(folder / "noisy")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    all_end_well([apart(measure, *which, folder, port) for which in ((1, 0), (2, 0), (2, 1))])
    return [json.loads((folder / f"found_{name}.json").read_text()) for name in ("1_0", "2_0", "2_1")]


@pytest.mark.slow
def test_two_processes_find_what_one_finds(found: list[dict[str, Any]]) -> None:
    alone, first, second = found
    assert first["moving"] == second["moving"]
    assert first["noisy"] == second["noisy"]
    for name, value in alone["moving"].items():
        assert first["moving"][name] == pytest.approx(value, rel=1e-6, abs=0.05 if name.startswith("eq") else 1e-6)
    assert first["kept"] == first["moving"]["kid"]  # from the cache, which the first process alone reads
    assert first["flipped"] == pytest.approx(alone["flipped"], rel=1e-6)
    assert first["noisy"]["fid"] == pytest.approx(alone["noisy"]["fid"], rel=1e-6)
    assert first["noisy"]["kid"] == pytest.approx(alone["noisy"]["kid"], rel=1e-6)
    assert first["noisy"]["ppl"] == pytest.approx(alone["noisy"]["ppl"], rel=1e-3)


@pytest.mark.slow
def test_moments_and_features_are_those_of_one_process(found: list[dict[str, Any]]) -> None:
    alone, first, _ = found
    for name in ("mean", "covariance"):
        for row, other in zip(first[name], alone[name], strict=True):
            assert row == pytest.approx(other, rel=1e-10, abs=1e-10)
    for name in ("features", "probabilities"):
        for row, other in zip(first[name], alone[name], strict=True):
            assert row == pytest.approx(other, rel=1e-6)


@pytest.mark.slow
def test_an_error_is_raised_everywhere_and_progress_ends(found: list[dict[str, Any]]) -> None:
    alone, first, second = found
    assert alone["calls"] == ["the last one fails"] * 3
    assert first["calls"] == second["calls"] == ["the last one fails", "the last one fails", "went well"]
    assert alone["seen"][0] == alone["seen"][1]
    assert first["seen"][0] <= first["seen"][1]


def test_shares_are_blocks_of_equal_size() -> None:
    for count in (1, 2, 3, 7):
        shares = [Processes(rank, count).share(23) for rank in range(count)]
        assert [row for share in shares for row in share] == list(range(23))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert list(Processes(2, 5).share(0)) == []
    with pytest.raises(ValueError, match="rank=2"):
        Processes(2, 2)


def test_one_process_does_it_all() -> None:
    alone = Processes.joined()
    assert (alone.rank, alone.count, alone.is_first) == (0, 1, True)
    assert alone.gather(lambda: 3) == [3]
    assert alone.on_first(lambda: 4) == 4
    assert alone.deal([lambda: 5, lambda: 6]) == [5, 6]

    def fail() -> int:
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        alone.gather(fail)
