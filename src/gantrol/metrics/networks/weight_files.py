"""Where the weights of a published network are: a path that the user gave, our cache, or its source, once.

A download is asked for by naming the network, happens only if the file is nowhere else, goes over https, stops at the
size that the file may have, and counts only if its SHA-256 is the published one. The cache is
`$XDG_CACHE_HOME/gantrol/weights` (usually `~/.cache/gantrol/weights`) and may be filled by hand or deleted.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from gantrol.atomic import atomic_file
from gantrol.control.predictors.weights import WeightFile
from gantrol.errors import CheckpointError
from gantrol.metrics.features import Progress

_PIECE = 1 << 20
_TIMEOUT_S = 30


@dataclass(frozen=True, kw_only=True)
class PublishedFile(WeightFile):
    """A file of weights, with where to look for it and where it comes from."""

    page: str = "docs/feature-networks.md"
    """Where the file and its network are described."""
    variable: str
    """The environment variable that holds its path."""
    url: str
    """Where it is published."""
    sha256: str
    """The first hexadecimal digits of its SHA-256."""
    max_bytes: int | None = None
    """It is fetched if it is nowhere else, and has no more bytes than this; None: it is never fetched."""
    instead: str
    """What works without it, in words."""

    def cached(self) -> Path:
        """Where it is kept."""
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(home) / "gantrol" / "weights" / self.file

    def find(self) -> Path | None:
        """Its path: what the environment variable says, else that in the cache; None if there is neither.

        Raises:
            CheckpointError: the variable names no file.
        """
        given = os.environ.get(self.variable)
        if given:
            path = Path(given).expanduser()
            if not path.is_file():
                raise CheckpointError(f"{self.variable}={given}: there is no such file; expected {self}")
            return path
        kept = (self.cached(), self.cached().with_suffix(".safetensors"))
        return next((path for path in kept if path.is_file()), None)

    def check(self) -> None:
        """Raises `CheckpointError` if the file is missing and will not be fetched."""
        if self.find() is None and self.max_bytes is None:
            raise CheckpointError(f"the weights {self.file} are not on this machine: {self._advice()}")

    def obtain(self, progress: Progress | None = None) -> Path:
        """Its path, after fetching it if need be.

        Raises:
            CheckpointError: it is nowhere, and cannot be fetched.
        """
        self.check()
        path = self.find()
        if path is None:
            path = self.cached()
            self._fetch(path, progress)
        return path

    def _advice(self) -> str:
        return f"fetch it from {self.url} and set {self.variable} to its path, or use {self.instead}"

    def _fetch(self, destination: Path, progress: Progress | None) -> None:
        limit = self.max_bytes or 0
        try:
            with urllib.request.urlopen(self.url, timeout=_TIMEOUT_S) as answer:
                if not answer.geturl().startswith("https://"):
                    raise CheckpointError(f"{self.url} leads to an address without https, which is refused")
                total = int(answer.headers.get("Content-Length") or 0)
                digest, done = hashlib.sha256(), 0
                with atomic_file(destination, CheckpointError) as temporary, open(temporary, "xb") as file:
                    while piece := answer.read(_PIECE):
                        done += len(piece)
                        if done > limit:
                            raise CheckpointError(
                                f"{self.url} is larger than {limit:,} bytes, so it is not {self.file}; {self._advice()}"
                            )
                        digest.update(piece)
                        file.write(piece)
                        if progress is not None:
                            progress(done, max(done, total))
                    if not digest.hexdigest().startswith(self.sha256):
                        raise CheckpointError(
                            f"what {self.url} gave is cut short or another file: its SHA-256 begins with "
                            f"{digest.hexdigest()[: len(self.sha256)]}, expected {self.sha256}; try again, or "
                            f"use {self.instead}"
                        )
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", None) or error
            raise CheckpointError(f"the weights {self.file} cannot be fetched ({reason}): {self._advice()}") from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
