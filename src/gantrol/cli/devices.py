"""One process per device: started here, or found running because torchrun or Slurm has started them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from gantrol.errors import ConfigError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

MEETING = timedelta(minutes=5)
"""How long the processes of a job look for each other."""

GRACE_S = 10.0
"""Seconds that this process has to end by itself after one that it started has failed."""


def world(devices: int, nodes: int = 1) -> tuple[int, int]:
    """(devices per machine, machines): as asked for, or as torchrun has decided."""
    for name, value in (("--devices", devices), ("--nodes", nodes)):
        if value < 1:
            raise ConfigError(f"{name} {value}: expected at least 1")
    if "LOCAL_WORLD_SIZE" not in os.environ:  # which torchrun sets, and nothing else
        return devices, nodes
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return max(devices, local), max(nodes, int(os.environ["WORLD_SIZE"]) // local)


def is_elastic() -> bool:
    """Whether torchrun has started this process, and may start the job again with the same command."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launch(device: str, devices: int, nodes: int = 1) -> Fabric:
    """The processes of a job, joined; one device alone starts nothing.

    Args:
        device: auto, cpu, cuda or mps.
        devices: per machine, one process each.
        nodes: machines.

    Raises:
        ConfigError: the machine does not have that, or the processes do not find each other.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy
    from lightning_fabric.utilities.exceptions import MisconfigurationException
    from torch.distributed import distributed_c10d

    devices, nodes = world(devices, nodes)
    wanted = f"--device {device} --devices {devices}" + (f" --nodes {nodes}" if nodes > 1 else "")
    started: dict[int, subprocess.Popen[bytes]] = {}
    if devices * nodes > 1 and "LOCAL_RANK" not in os.environ and "SLURM_PROCID" not in os.environ:
        _check(device, devices, wanted)
        started = _start(devices, nodes)
    try:
        strategy = DDPStrategy(timeout=MEETING) if devices * nodes > 1 else "auto"
        fabric = Fabric(accelerator=device, devices=devices, num_nodes=nodes, strategy=strategy)
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        raise ConfigError(f"{wanted}: this machine does not have that; {error}") from error
    if devices * nodes == 1:
        fabric.launch()
        return fabric
    try:
        fabric.launch()
        # A process may believe that it is connected while another still tries. Nobody goes on before all have met: the
        # first would wait for days, or end and take the place of meeting with it.
        fabric.barrier()
    except RuntimeError as error:  # torch has several kinds
        for process in started.values():
            process.terminate()
        reason = str(error).strip().partition("\n")[0]
        limit = int(MEETING.total_seconds())
        raise ConfigError(f"{wanted}: the processes have not met within {limit} seconds; {reason}") from error
    # One process may compute for hours what the others wait for. That they live is watched elsewhere.
    distributed_c10d._set_pg_timeout(timedelta(days=2))
    return fabric


def _check(device: str, devices: int, wanted: str) -> None:
    """Refuses, before anything is started, more devices than there are."""
    from lightning_fabric import Fabric

    try:
        Fabric(accelerator=device, devices=devices)
    except Exception as error:  # Fabric has several kinds
        raise ConfigError(f"{wanted}: this machine does not have that; {' '.join(str(error).split())}") from error


def _start(devices: int, nodes: int) -> dict[int, subprocess.Popen[bytes]]:
    """Runs this command once more for each further device of this machine, and watches these processes, given by rank.

    Fabric could start them too, but ends everything without a word as soon as one of them has failed.
    """
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    if "MASTER_PORT" not in os.environ:
        if nodes > 1:
            raise ConfigError("--nodes: set MASTER_ADDR, MASTER_PORT and NODE_RANK on each machine, or use torchrun")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            os.environ["MASTER_PORT"] = str(probe.getsockname()[1])
    os.environ.setdefault("NODE_RANK", "0")
    os.environ |= {"WORLD_SIZE": str(devices * nodes), "LOCAL_RANK": "0"}
    command = [sys.executable, *sys.orig_argv[1:]]
    started = {
        rank: subprocess.Popen(command, env=os.environ | {"LOCAL_RANK": str(rank)}) for rank in range(1, devices)
    }
    threading.Thread(target=_watch, args=(started,), name="gantrol-devices", daemon=True).start()
    return started


def _watch(started: dict[int, subprocess.Popen[bytes]]) -> None:
    """Ends this process if one of the others has failed and it does not notice by itself."""
    from gantrol.cli import INTERRUPTED

    while True:
        ended = {rank: process.returncode for rank, process in started.items() if process.poll() is not None}
        failed = {rank: status for rank, status in ended.items() if status not in (0, INTERRUPTED)}
        if failed:
            time.sleep(GRACE_S)
            rank, status = next(iter(failed.items()))
            print(f"gantrol: process {rank} has ended with status {status}", file=sys.stderr, flush=True)
            for other in started.values():
                other.terminate()
            os._exit(1)
        if len(ended) == len(started):
            return
        time.sleep(1)
