"""One file of named tensors that is never half-written and never silently damaged.

The format is safetensors (an 8-byte header length, a JSON header, raw little-endian bytes), which any
safetensors reader opens and which cannot carry code. Two entries of the header's string map are ours:
`gantrol`, the caller's metadata as JSON, and `digest`, a BLAKE2b over *every* byte of the file taken with the
digest itself zeroed. A cut at any place and a change of any byte are therefore found before a tensor is used.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from gantrol.atomic import atomic_file
from gantrol.errors import CheckpointError

PATTERN = "*.safetensors"

_DIGEST_BYTES = 32
_NO_DIGEST = b"0" * (2 * _DIGEST_BYTES)
# What every file of ours starts with, after the length; nothing else in the file can be mistaken for the
# digest.
_OPENING = re.compile(rb'\{"__metadata__":\{"digest":"blake2b:([0-9a-f]{64})","gantrol":"')
_CHUNK = 1 << 20

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def save(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Writes tensors and metadata to `path` atomically (temporary, fsync, rename).

    Tensors are streamed one at a time, so at most one of them is held twice (when it lives on another device
    or is not contiguous). The same input gives the same bytes.

    Args:
        path: destination; if writing fails, a file already there survives.
        tensors: any device, shape and layout; strides and sharing are not kept, values and dtypes are.
        metadata: JSON-ready values; floats come back bit for bit.

    Raises:
        CheckpointError: the disk is full, the folder cannot be written, or a dtype has no safetensors name.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # keeps every tensor aligned
    entries: dict[str, Any] = {}
    end = 0
    for name in order:
        tensor = tensors[name]
        if tensor.dtype not in _DTYPES or name == "__metadata__":
            raise CheckpointError(f"cannot write {path}: tensor {name!r} of {tensor.dtype} has no safetensors form")
        start, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    strings = {
        "digest": f"blake2b:{_NO_DIGEST.decode()}",
        "gantrol": json.dumps(dict(metadata), separators=(",", ":")),
    }
    header = json.dumps({"__metadata__": strings, **entries}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    opening = _OPENING.match(header)
    assert opening is not None

    with atomic_file(path, CheckpointError) as temporary, open(temporary, "xb") as file:
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for piece in (len(header).to_bytes(8, "little"), header):
            file.write(piece)
            digest.update(piece)
        for name in order:
            values = tensors[name].detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy()
            file.write(values.data)
            digest.update(values.data)
        file.seek(8 + opening.start(1))
        file.write(digest.hexdigest().encode())


def load(
    path: str | Path, *, prefixes: Iterable[str] | None = None, allow_plain: bool = False
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save` wrote, after checking every byte of it.

    Args:
        path: the file.
        prefixes: read only the tensors whose names start with one of these; all of them by default.
        allow_plain: also accept a safetensors file of another writer, which has no digest and no metadata of
            ours.

    Returns:
        The tensors (CPU, mapped from the file rather than copied) and the metadata.

    Raises:
        CheckpointError: the file is missing, cut, changed, or no safetensors file.
    """
    metadata = verify(path, allow_plain=allow_plain)
    from safetensors import SafetensorError, safe_open

    chosen = None if prefixes is None else tuple(prefixes)
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if chosen is None or name.startswith(chosen)]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}, metadata
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_damaged(path, "it is not a safetensors file")) from error


def verify(path: str | Path, *, allow_plain: bool = False) -> dict[str, Any]:
    """Checks every byte of a file of tensors without loading it, and returns its metadata.

    Raises:
        CheckpointError: as for `load`.
    """
    try:
        with open(path, "rb") as file:
            length, header, opening = _read_header(path, file, allow_plain)
            if opening is None:
                return {}
            begin, end = opening.span(1)
            digest = hashlib.blake2b(length + header[:begin] + _NO_DIGEST + header[end:], digest_size=_DIGEST_BYTES)
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    if digest.hexdigest().encode() != opening.group(1):
        raise CheckpointError(_damaged(path, "its bytes do not match its digest"))
    return _metadata(header)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata alone, without checking the tensors: quick for large files.

    Raises:
        CheckpointError: the file is missing or its header cannot be read.
    """
    try:
        with open(path, "rb") as file:
            _, header, opening = _read_header(path, file, True)
        return {} if opening is None else _metadata(header)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(_damaged(path, "its header cannot be read")) from error


class Newest(NamedTuple):
    """The newest intact checkpoint of a folder and the newer ones that had to be passed over."""

    path: Path
    skipped: list[Path]


def sha256_of(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of tensors with their names, types and shapes: of the numbers, however they are stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def newest_valid(folder: str | Path, pattern: str = PATTERN) -> Newest:
    """The newest checkpoint (highest numbers in its name) whose every byte is right.

    Raises:
        CheckpointError: the folder holds none, or none that is intact.
    """
    skipped: list[Path] = []
    for path in reversed(_in_order(folder, pattern)):
        try:
            verify(path)
        except CheckpointError:
            skipped.append(path)
        else:
            return Newest(path, skipped)
    if skipped:
        names = ", ".join(path.name for path in skipped)
        raise CheckpointError(f"no intact checkpoint in {folder}: {names} damaged; start the run again")
    raise CheckpointError(f"no checkpoint in {folder}: expected files {pattern}")


def keep_last(folder: str | Path, n: int, pattern: str = PATTERN) -> list[Path]:
    """Deletes all but the newest `n` checkpoints, and what a killed process left; returns the paths."""
    if n < 1:
        raise ValueError(f"n={n}: at least one checkpoint must be kept")
    removed = [*_in_order(folder, pattern)[:-n], *Path(folder).glob(f".{pattern}.*.tmp")]
    for path in removed:
        path.unlink(missing_ok=True)
    return removed


def _in_order(folder: str | Path, pattern: str) -> list[Path]:
    """Matching files, oldest first: runs of digits in a name count as numbers."""

    def numbers(path: Path) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path.name)]

    return sorted((path for path in Path(folder).glob(pattern) if not path.name.startswith(".")), key=numbers)


def _read_header(path: str | Path, file: BinaryIO, allow_plain: bool) -> tuple[bytes, bytes, re.Match[bytes] | None]:
    """The 8 length bytes, the header, and where our digest stands in it (None: a foreign file)."""
    length = file.read(8)
    remaining = file.seek(0, 2) - 8
    file.seek(8)
    size = int.from_bytes(length, "little")
    if len(length) < 8 or size > remaining:
        raise CheckpointError(_damaged(path, "it ends before its header does"))
    header = file.read(size)
    opening = _OPENING.match(header)
    if opening is None and not (allow_plain and header.startswith(b"{")):
        raise CheckpointError(_damaged(path, "it is not a tensor file written by gantrol"))
    return length, header, opening


def _metadata(header: bytes) -> dict[str, Any]:
    return dict(json.loads(json.loads(header)["__metadata__"]["gantrol"]))


def _damaged(path: str | Path, reason: str) -> str:
    return f"{path} is damaged: {reason}; use an older checkpoint or fetch the file again"
