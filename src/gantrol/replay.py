"""Synthesis recorded once and replayed: CUDA graphs of a generator.

A generator launches hundreds of small kernels for an image. At small batches the processor cannot launch them as fast
as the device does them; a CUDA graph launches all of them at once. A graph knows addresses, not tensors, so whatever
changes from call to call must lie where the recording read it:

* ws, and the transform of an input that can be moved and turned, are copied into tensors that belong to the recording;
* weights and buffers are read where they are: changed in place (an average that moves, a projection that tunes), they
  are seen; moved or replaced, every recording is forgotten;
* truncation, classes and controls act on ws before the synthesis, and the clamp after it: they are no part of it;
* per-pixel noise that is drawn anew, hooks and a training mode run code that no graph repeats: there, and wherever a
  recording fails, the network runs as always.

The first call at a shape runs as always, which also lets kernels choose their tiles; the second one records. Few
recordings are kept, those used last, and all of them share one pool of memory.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gantrol.models.protocols import NoiseMode
from gantrol.ops.paths import note_path

MOST = 4
"""Recordings that a model keeps."""

MOST_PIXELS = 2**22
"""Of a batch. A larger one keeps the device busy by itself, and its recording would hold gigabytes."""

SWITCH = "GANTROL_CUDA_GRAPHS"
"""Environment variable: with "0" nothing is recorded. Read at every call."""


class Recording(Protocol):
    """Work that can be done again without running its Python."""

    output: Tensor
    """What the work returned; overwritten by every replay."""

    def replay(self) -> None:
        """Does the work again, on what lies now at the addresses that it read."""


class Recorder(Protocol):
    """Makes recordings."""

    def can_record(self, device: torch.device) -> bool:
        """Whether work on this device can be recorded, now and here."""

    def record(self, work: Callable[[], Tensor], device: torch.device) -> Recording:
        """Records `work`, which must not depend on anything but tensors that stay.

        Raises:
            RuntimeError: it cannot be recorded.
        """


class CudaGraph:
    """One CUDA graph and its result."""

    def __init__(self, graph: torch.cuda.CUDAGraph, output: Tensor) -> None:
        self._graph = graph
        self.output = output

    def replay(self) -> None:
        with torch.cuda.device(self.output.device):
            self._graph.replay()


class CudaRecorder:
    """Records CUDA graphs. They share one pool: since they run one after the other, none needs memory of its own."""

    def __init__(self) -> None:
        self._pools: dict[torch.device, Any] = {}

    def can_record(self, device: torch.device) -> bool:
        if device.type != "cuda" or os.environ.get(SWITCH) == "0":
            return False
        # Replays in several streams would share the pool at the same time; whoever captures records by himself.
        in_default = torch.cuda.current_stream(device) == torch.cuda.default_stream(device)
        return in_default and not torch.cuda.is_current_stream_capturing()

    def record(self, work: Callable[[], Tensor], device: torch.device) -> Recording:
        with torch.cuda.device(device):
            if device not in self._pools:
                self._pools[device] = torch.cuda.graph_pool_handle()
            graph = torch.cuda.CUDAGraph()
            # Other threads may go on allocating memory: only this one is watched.
            capture = torch.cuda.graph(
                graph,
                pool=self._pools[device],
                stream=torch.cuda.Stream(device),
                capture_error_mode="thread_local",
            )
            with capture:
                output = work()
        return CudaGraph(graph, output)


class _Recorded:
    """A recording of a synthesis network, and the inputs that it reads."""

    def __init__(
        self,
        recorder: Recorder,
        synthesis: nn.Module,
        run: Callable[[Tensor], Tensor],
        ws: Tensor,
        moves: Tensor | None,
    ) -> None:
        self._ws = ws.detach().clone()
        self._moves = None if moves is None else moves.detach().clone()
        if moves is None:
            self._recording = recorder.record(partial(run, self._ws), ws.device)
            return
        source: Any = synthesis.input
        source.transform = self._moves
        try:
            self._recording = recorder.record(partial(run, self._ws), ws.device)
        finally:
            source.transform = moves

    def __call__(self, ws: Tensor, moves: Tensor | None) -> Tensor:
        """The result for these inputs, in memory of its own."""
        self._ws.copy_(ws)
        if self._moves is not None and moves is not None:
            self._moves.copy_(moves)
        self._recording.replay()
        return self._recording.output.clone()


class Replays:
    """Runs a synthesis network, by recordings where it can.

    May be called from several threads. A copy, also one by `copy.deepcopy` or pickle, begins without recordings.

    Args:
        most: recordings that are kept.
        recorder: makes them; by default CUDA graphs, so that on other devices everything runs as always.
    """

    def __init__(self, most: int = MOST, recorder: Recorder | None = None) -> None:
        self.most = most
        self._recorder = recorder or CudaRecorder()
        self._lock = threading.Lock()
        self._recorded: OrderedDict[Hashable, _Recorded] = OrderedDict()
        self._seen: set[Hashable] = set()
        self._refused: set[Hashable] = set()
        self._synthesis: nn.Module | None = None
        self._fixed: list[Tensor] = []
        self._addresses: list[int] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.most,)

    def __len__(self) -> int:
        return len(self._recorded)

    def clear(self) -> None:
        """Forgets all recordings and gives their memory back."""
        with self._lock:
            self._forget()

    def __call__(self, synthesis: nn.Module, ws: Tensor, *, noise_mode: NoiseMode, dtype: torch.dtype) -> Tensor:
        """Renders ws [N, L, w_dim] as `synthesis` does, without gradients.

        Args:
            synthesis: see `gantrol.models.protocols.Synthesis`.
            ws: on the device of the network.
            noise_mode: as the network takes it.
            dtype: as the network takes it.

        Returns:
            float32 [N, C, H, W], not clamped.
        """
        run = partial(synthesis, noise_mode=noise_mode, dtype=dtype)
        with torch.no_grad():
            if not self._recorder.can_record(ws.device) or len(ws) == 0 or not _is_repeatable(synthesis, noise_mode):
                note_path("synthesis", "eager")
                return run(ws)
            with self._lock:
                return self._recorded_run(synthesis, run, ws, (noise_mode, dtype))

    def _recorded_run(
        self, synthesis: nn.Module, run: Callable[[Tensor], Tensor], ws: Tensor, options: tuple[Hashable, ...]
    ) -> Tensor:
        moves = getattr(getattr(synthesis, "input", None), "transform", None)
        self._check_addresses(synthesis, moves)
        key = (
            *(tuple(ws.shape), ws.dtype, ws.device, None if moves is None else tuple(moves.shape)),
            *options,
            *(torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()),
        )
        if key in self._recorded:
            self._recorded.move_to_end(key)
            note_path("synthesis", "replayed")
            return self._recorded[key](ws, moves)
        if key not in self._seen or key in self._refused:
            images = run(ws)
            self._seen.add(key)
            if images.shape[0] * images.shape[-2:].numel() > MOST_PIXELS:
                self._refused.add(key)
            note_path("synthesis", "eager")
            return images
        while len(self._recorded) >= self.most:
            self._recorded.popitem(last=False)  # first, so that the new one finds room
        try:
            recorded = _Recorded(self._recorder, synthesis, run, ws, moves)
        except RuntimeError:  # no memory, or an operation that no graph can hold
            self._refused.add(key)
            note_path("synthesis", "eager")
            return run(ws)
        self._recorded[key] = recorded
        note_path("synthesis", "recorded")
        return recorded(ws, moves)

    def _check_addresses(self, synthesis: nn.Module, moves: Tensor | None) -> None:
        """Forgets everything if a tensor of the network is no longer where it was."""
        fixed = [x for x in chain(synthesis.parameters(), synthesis.buffers()) if x is not moves]
        addresses = [x.data_ptr() for x in fixed]
        if synthesis is not self._synthesis or addresses != self._addresses:
            self._forget()
            # Held, so that no other tensor can come to lie at these addresses, nor what was derived from them be freed.
            self._synthesis, self._fixed, self._addresses = synthesis, fixed, addresses

    def _forget(self) -> None:
        self._recorded.clear()
        self._seen.clear()
        self._refused.clear()
        self._synthesis, self._fixed, self._addresses = None, [], []


def _is_repeatable(synthesis: nn.Module, noise_mode: NoiseMode) -> bool:
    """Whether the network does the same, to other numbers, whenever it runs."""
    if synthesis.training or torch.compiler.is_compiling():
        return False
    modules = list(synthesis.modules())
    if any(module._forward_hooks or module._forward_pre_hooks for module in modules):
        return False
    return noise_mode != "random" or not any("noise" in name for name, _ in synthesis.named_parameters())
