"""A batch in parts, by accumulation or by processes, is the batch in one piece; and no process waits for a dead one."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from gantrol import checkpoint
from gantrol.cli import main
from gantrol.data.loader import Batch
from gantrol.data.sampler import ShuffledSampler
from gantrol.errors import TrainingError
from gantrol.metrics.processes import Processes
from gantrol.models import TransGANConfig, TransGANDiscriminatorConfig
from gantrol.ops.parts import Part, Pass, computing, drawn, gathered, joined, move_mean, running_means
from gantrol.train import loop
from gantrol.train.config import TrainConfig
from gantrol.train.run import read_config
from gantrol.train.together import Together
from tests.apart import CONTEXT, all_end_well, apart
from tests.train import split_cases
from tests.train.test_control import untrained_readers
from tests.train.test_training import newest, run

TOLERANCE = 1e-5
"""Of gradients, in units of the largest."""


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("control") / "readers"
    untrained_readers(folder)
    return folder


# ---------------------------------------------------------------------------------------------------------------------
# Parts of a batch


@pytest.mark.parametrize(("total", "groups", "sizes"), [(12, 1, (5, 7)), (16, 4, (8, 4, 4)), (8, 2, (2, 2, 2, 2))])
def test_parts_cover_a_batch_and_keep_its_groups(total: int, groups: int, sizes: tuple[int, ...]) -> None:
    firsts = [sum(sizes[:index]) for index in range(len(sizes))]
    parts = [Part(first=f, count=n, total=total, groups=groups) for f, n in zip(firsts, sizes, strict=True)]
    rows = torch.arange(total)
    assert joined([(part, part.take(rows)) for part in parts]).tolist() == rows.tolist()
    stride = total // groups
    for part in parts:
        own = part.indices()
        for row in own:
            assert {(row % stride) + stride * k for k in range(groups)} <= set(own)
        halves = part.split(groups)
        assert joined([(half, half.take(rows)) for half in halves]).tolist() == own
        assert [half.within(part).take(torch.tensor(own)).tolist() for half in halves] == [h.indices() for h in halves]


def test_a_part_draws_its_rows_of_the_whole() -> None:
    torch.manual_seed(3)
    whole = torch.randn(8, 5)
    for part in Part(first=0, count=8, total=8, groups=2).split(2):
        torch.manual_seed(3)
        with computing(Pass(), part):
            assert torch.equal(drawn(2, lambda n: torch.randn(n, 5)), part.take(whole))
            with pytest.raises(ValueError, match="random numbers for 3 rows"):
                drawn(3, torch.randn)


def test_what_is_gathered_has_the_gradient_of_the_whole() -> None:
    """A function of all rows that is no sum over rows, in two parts."""
    x = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)

    def compare(rows: torch.Tensor) -> torch.Tensor:
        return (rows.mean(0).square() - rows[0] * rows[5]).sum()

    (wanted,) = torch.autograd.grad(compare(x), x)
    found = torch.zeros_like(x)
    passing = Pass(is_first_look=True)
    parts = Part(first=0, count=6, total=6).split(4)
    for look in (True, False):
        passing.is_first_look = look
        for part in parts:
            with computing(passing, part):
                value = compare(gathered(part.take(x)))
            if not look:
                found += torch.autograd.grad(value, x)[0] * (part.count / 6)
    torch.testing.assert_close(found, wanted)


def test_running_means_move_once_by_the_mean_of_all_parts() -> None:
    average, rows = torch.zeros(2), torch.randn(6, 2)
    with running_means():
        for part in Part(first=0, count=6, total=6).split(4):
            with computing(Pass(), part):
                move_mean(average, part.take(rows).mean(0), 0.25)
                assert not average.any()
    torch.testing.assert_close(average, rows.mean(0) * 0.25)


def test_ranks_read_disjoint_images_in_whole_groups() -> None:
    sampler = ShuffledSampler(64, seed=1)
    whole = torch.tensor(sampler.indices(32, 16))
    for rank in range(2):
        part = Part(first=8 * rank, count=8, total=16, groups=4)
        assert sampler.rank_indices(32, 8, rank, 2, groups=4) == part.take(whole).tolist()


# ---------------------------------------------------------------------------------------------------------------------
# One process: accumulation and activation checkpointing


@pytest.mark.parametrize("case", split_cases.EQUAL, ids=lambda case: case.__name__)
def test_accumulation_is_the_plain_step(case: split_cases.Case, dataset_path: Path, readers: Path) -> None:
    config = case(str(dataset_path), str(readers))
    plain = split_cases.train_some(config)
    assert plain.distance(split_cases.train_some(replace(config, micro_batch=2))) < TOLERANCE


def test_activation_checkpointing_is_the_plain_step(dataset_path: Path) -> None:
    config = split_cases.transgan(str(dataset_path), "")
    g, d = config.generator, config.discriminator
    assert isinstance(g, TransGANConfig)
    assert isinstance(d, TransGANDiscriminatorConfig)
    saving = replace(
        config, generator=replace(g, checkpoint_gradients=True), discriminator=replace(d, checkpoint_gradients=True)
    )
    plain = split_cases.train_some(config)
    assert plain.distance(split_cases.train_some(saving)) < TOLERANCE
    assert plain.distance(split_cases.train_some(replace(saving, micro_batch=2))) < TOLERANCE


# ---------------------------------------------------------------------------------------------------------------------
# Two processes


def test_two_processes_are_one(dataset_path: Path, readers: Path, tmp_path: Path) -> None:
    """Gradients of all losses, running means and statistics; all cases in one pair of processes."""
    port = free_port()
    all_end_well([apart(split_cases.main, rank, port, dataset_path, readers, tmp_path / "found") for rank in range(2)])
    found = json.loads((tmp_path / "found").read_text())
    assert set(found) == {case.__name__ for case in split_cases.EQUAL}
    for case in found.values():
        assert case["distance"] < TOLERANCE
        assert case["accumulated"] < TOLERANCE
        assert case["same_everywhere"]


def dies_at_first(arguments: list[str]) -> None:
    """`gantrol …` in one of torchrun's processes, of which the second is killed after 12 steps of the first start."""
    original = loop.Trainer.step

    def step(self: loop.Trainer, batch: Batch) -> Any:
        stats = original(self, batch)
        is_first_start = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        if is_first_start and self.rank == 1 and self.state.n_img == 96:
            os.kill(os.getpid(), signal.SIGKILL)
        return stats

    loop.Trainer.step = step  # type: ignore[method-assign]
    sys.argv = ["gantrol", *arguments]
    main(arguments)


def torchrun(said: Path, arguments: list[str]) -> None:
    """What `torchrun --nproc-per-node 2 --max-restarts 1 --standalone` does, with processes that are forked."""
    with open(said, "w") as sys.stderr:
        os.dup2(sys.stderr.fileno(), 2)
        # Without it, torchrun's workers find the addresses of those before them.
        os.environ.update(OMP_NUM_THREADS="1", TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
        torch.set_num_threads(1)
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=2,
            max_restarts=1,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            start_method=CONTEXT.get_start_method(),
        )
        elastic_launch(config, dies_at_first)(arguments)


def test_a_killed_process_ends_the_job_and_torchrun_resumes_it(
    config: TrainConfig, dataset_path: Path, tmp_path: Path
) -> None:
    """Two processes, of which one is killed after 12 of 20 steps, end near where one process ends without a break."""
    several = tmp_path / "several"
    overrides = ["--preset", "stylegan3-t", "--scale", "tiny", "--data", dataset_path, "--batch", 8, "--kimg", 0.16]
    overrides += ["--precision", "fp32"]
    overrides += ["tick_kimg=0.04", "sample_ticks=2", "workers=1", "generator.channel_base=128", "loss.r_interval=4"]
    overrides += ["generator.channel_max=8", "discriminator.channel_base=128", "discriminator.channel_max=8"]
    overrides += ["generator.z_dim=8", "generator.w_dim=8", "generator.num_layers=4", "generator.margin_px=4"]
    command = ["train", *overrides, "--out", several, "--device", "cpu"]
    process = apart(torchrun, tmp_path / "said", list(map(str, command)))
    process.join(600)
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 0, said
    assert f"gantrol train --resume {several}" in said  # what the survivor said
    settings, _ = read_config(several)
    run(settings, tmp_path / "one")
    tensors = [checkpoint.load(newest(folder))[0] for folder in (several, tmp_path / "one")]
    for name, value in tensors[1].items():
        if name.startswith("g_ema."):
            assert split_cases.relative(value, tensors[0][name]) < 0.02, name
    lines = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (several, tmp_path / "one")
    ]
    assert [line["n_img"] for line in lines[0]] == [line["n_img"] for line in lines[1]] == [40, 80, 120, 160]
    assert lines[0][0]["loss/d"] == pytest.approx(lines[1][0]["loss/d"], rel=1e-3)
    assert len(list((several / "samples").glob("fakes_*.png"))) == 3


def member(rank: int, port: int, what: str, results: multiprocessing.Queue[tuple[int, str]]) -> None:
    """A process of a group that trains nothing."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2, timeout=timedelta(seconds=60))
    options = {"beat_s": 0.2, "timeout_s": 2.0, "grace_s": 0.5 if what == "hangs" else 20.0}
    try:
        with Together(Processes(rank, 2), "do this next", **options) as together:
            for number in range(1000):
                if what == "votes":
                    if together.highest(2 if rank == 1 and number >= 3 else 0):
                        results.put((rank, f"left after {number}"))
                        return
                elif rank == 1 and number == 3:
                    if what == "fails":
                        raise TrainingError("the reason")
                    os.kill(os.getpid(), signal.SIGSTOP if what == "hangs" else signal.SIGKILL)
                else:
                    dist.all_reduce(torch.ones(1))
                time.sleep(0.01)
    except TrainingError as error:
        results.put((rank, str(error)))


@pytest.mark.parametrize(
    ("what", "statuses", "said"),
    [
        ("votes", [0, 0], {0: "left after 4", 1: "left after 4"}),
        ("fails", [0, 0], {0: "process 1 of 2 has ended: the reason; do this next", 1: "the reason"}),
        ("dies", [0, -signal.SIGKILL], {0: "do this next"}),
        ("hangs", [1, None], {}),
    ],
)
def test_processes_end_together(what: str, statuses: list[int | None], said: dict[int, str]) -> None:
    results: multiprocessing.Queue[tuple[int, str]] = CONTEXT.Queue()
    port = free_port()
    members = [apart(member, rank, port, what, results) for rank in range(2)]
    try:
        members[0].join(60)
        members[1].join(10 if statuses[1] is not None else 0)
        assert [each.exitcode for each in members] == statuses
        found = dict(results.get(timeout=5) for _ in said)
        assert set(found) == set(said)
        for rank, text in said.items():
            assert text in found[rank]
    finally:
        for each in members:
            each.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
