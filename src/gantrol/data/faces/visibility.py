"""What sees which light: cast shadows, contact shadows and ambient occlusion from a baked table.

For every vertex of the average head, and for every vertex of each hair cut and hat, `scripts/build_visibility.py` has
found which of D directions all around are blocked: by the head, by what it wears, or by the vertex's own piece. A light
is then a set of weights over the same directions (a lobe around a lamp, the upper half for the sky), and the share of
it that a vertex sees is one scalar product. The table is stored in a basis of K smooth functions over the sphere (its
principal components), so the product needs K numbers per vertex, not D:

    seen = 1 - blocked · weights ≈ 1 - coefficients · (basis · weights)

The head turns, its light does not: the weights are made in the head's own axes, and in the shoulders' for the neck.
Two approximations: every person and expression casts the average head's shadows (they move along with the vertices,
so they stay on the cheek they belong to), and hair × hat × head are multiplied as if they were independent.

D directions, K basis functions, n vertices of a piece, N of all pieces.
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from safetensors import safe_open

from gantrol.data.faces.attributes import Row
from gantrol.data.faces.head import FloatArray, IntArray
from gantrol.data.faces.scene import HEAD_VALUES, PARTS, Piece, head_piece, unit

WORN_BY = ("hair_style", "hat")
"""The attributes whose values wear baked pieces: the table's names are `attribute=value`."""
ASSET = "assets/visibility.safetensors"
_HAS_TABLE = ("hair", "hat")  # names of pieces that are baked
_SKULL_CENTER = np.array([0.0, 0.12, -0.68], dtype=np.float32)
_SOFT = 24  # functions that light from half the sphere needs: the rest would change what a vertex sees by 0.003
_MOUTH_BACK, _MOUTH_FRONT = -0.25, 0.16  # z in dm over which the light that enters the mouth fades


@functools.cache
def directions(count: int) -> FloatArray:
    """`count` unit vectors [D, 3] spread evenly over the sphere (a Fibonacci lattice)."""
    k = np.arange(count) + 0.5
    height = 1 - 2 * k / count
    turn, radius = k * np.pi * (3 - np.sqrt(5)), np.sqrt(1 - height * height)
    return np.stack([radius * np.cos(turn), height, radius * np.sin(turn)], axis=1).astype(np.float32)


def _cosine(toward: FloatArray, count: int) -> FloatArray:
    """The cosine [..., D] between each direction and `toward` [..., 3]."""
    x, y, z = _columns(count)
    cosine: FloatArray = x * toward[..., :1] + y * toward[..., 1:2] + z * toward[..., 2:]
    return cosine


@functools.cache
def _columns(count: int) -> FloatArray:
    return np.ascontiguousarray(directions(count).T)


def lobe(toward: FloatArray, width_deg: float, count: int) -> FloatArray:
    """Weights [..., D], sum one, of a lamp in the direction `toward` [..., 3].

    They are a Gaussian on the sphere (von Mises–Fisher).
    """
    weights = np.exp((_cosine(toward, count) - 1) / np.float32(np.radians(width_deg) ** 2))
    normal: FloatArray = weights / weights.sum(-1, keepdims=True)
    return normal


def hemisphere(toward: FloatArray, count: int) -> FloatArray:
    """Weights [..., D], sum one, of even light from half of the sphere around `toward` [..., 3].

    Its edge is soft, such that two opposite halves together are even light from everywhere.
    """
    weights = np.minimum(np.maximum(_cosine(toward, count) * np.float32(2.5) + np.float32(0.5), 0), 1)
    normal: FloatArray = weights / weights.sum(-1, keepdims=True)
    return normal


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """How far n vertices are blocked from D directions."""

    coefficients: FloatArray
    """[K, n]"""
    basis: str
    """Name of the basis that the coefficients belong to."""
    around: FloatArray
    """[n] the share of all directions that are blocked."""

    def seen(self, lights: Lights) -> FloatArray:
        """The share [3, n] of the lights that the vertices see."""
        key, sky = lights.amounts[self.basis]
        blocked = np.empty((3, len(self.around)), dtype=np.float32)
        # einsum, not @: a threaded product might round differently on another number of cores
        np.einsum("k,kn->n", key, self.coefficients, out=blocked[0])
        np.einsum("k,kn->n", sky[:_SOFT], self.coefficients[:_SOFT], out=blocked[1])
        np.subtract(2 * self.around, blocked[1], out=blocked[2])  # the ground is what the sky leaves
        share = np.subtract(1, blocked, out=blocked)
        np.maximum(share, 0, out=share)
        return np.minimum(share, 1, out=share)

    @functools.lru_cache(maxsize=64)  # noqa: B019 (tables live as long as the process)
    def of(self, piece: Piece) -> Table:
        """The part of the table for the piece's vertices that bend: those that follow the shoulders too."""
        bent = _bent(piece)
        return Table(
            coefficients=np.ascontiguousarray(self.coefficients[:, bent]), basis=self.basis, around=self.around[bent]
        )


def fingerprint(piece: Piece) -> list[list[int]]:
    """Where a few of the piece's vertices lie, in tenths of a millimetre: tells whether a table was baked for it."""
    chosen = np.linspace(0, len(piece.points) - 1, 12).astype(np.int64)
    rounded: list[list[int]] = np.rint(piece.points[chosen] * 1000).astype(np.int64).tolist()
    return rounded


@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """The baked tables by name: `head`, `VARIANT:head` (what a variant blocks of the head), `VARIANT:PIECE`."""

    packed: dict[str, NDArray[np.uint8]]
    bases: dict[str, FloatArray]
    """`head` and `worn`: [K, D], most important functions first."""
    about: dict[str, dict[str, Any]]
    """name -> `count` of vertices, `step` of a coefficient, `fingerprint` of the piece."""

    @functools.cached_property
    def _unpacked(self) -> dict[str, Table]:
        return {}

    @property
    def count(self) -> int:
        """D: how many directions there are."""
        return self.bases["head"].shape[1]

    def get(self, name: str, count: int) -> Table | None:
        """The table of that name if it was baked for a piece of `count` vertices."""
        if name not in self.about or self.about[name]["count"] != count:
            return None
        if name not in self._unpacked:
            basis = "head" if name == "head" else "worn"
            low, high = np.frombuffer(zlib.decompress(self.packed[name].tobytes()), dtype=np.uint8).reshape(2, -1)
            levels = (low.astype(np.uint16) | high.astype(np.uint16) << 8).view(np.int16)
            coefficients = levels.reshape(-1, count).astype(np.float32) * np.float32(self.about[name]["step"])
            around = np.einsum("k,kn->n", self.bases[basis].mean(1), coefficients)
            self._unpacked[name] = Table(coefficients=coefficients, basis=basis, around=around)
        return self._unpacked[name]

    def fits(self, name: str, piece: Piece) -> bool:
        """Whether the table was baked for this very geometry (to a millimetre)."""
        about = self.about.get(name)
        if about is None or about["count"] != len(piece.points):
            return False
        return int(abs(np.array(about["fingerprint"]) - np.array(fingerprint(piece))).max()) <= 10


@functools.cache
def load_tables() -> Tables:
    """Reads the table shipped in the package (a few ms; a cut's part is unpacked when it is first worn)."""
    path = resources.files("gantrol.data.faces") / ASSET
    with resources.as_file(path) as file, safe_open(file, framework="np") as asset:
        tensor = {name: asset.get_tensor(name) for name in asset.keys()}  # noqa: SIM118 (not a mapping)
        about = json.loads(asset.metadata()["visibility"])
    return Tables(
        packed={name: tensor[name] for name in about},
        bases={name: tensor[f"basis:{name}"].astype(np.float32) for name in ("head", "worn")},
        about=about,
    )


@dataclass(frozen=True, kw_only=True)
class Lights:
    """Key light, sky and ground in one frame of axes."""

    toward: FloatArray
    """[3, 3] rows: to the key light, up, down."""
    amounts: dict[str, FloatArray]
    """name of a basis -> [2, K] how much of the key light and of the sky's lies in each of its functions."""
    key_width: float
    """Sine of the key light's half-width."""

    def open_share(self, normals: FloatArray) -> FloatArray:
        """The share [3, n] of each light that lies before a free plane with these normals [3, n]."""
        steep = 0.5 / max(self.key_width, 0.1)
        share = np.einsum("li,in->ln", self.toward * np.array([[steep], [0.5], [0.5]], dtype=np.float32), normals)
        share += np.array([[0.5 + 0.1 * steep], [0.5], [0.5]], dtype=np.float32)
        np.maximum(share, 0.25, out=share)
        return np.minimum(share, 1, out=share)


def _lights(
    key: FloatArray, width_deg: float, rotations: Sequence[NDArray[np.float64]], tables: Tables
) -> list[Lights]:
    """The lights as seen from the axes that each of `rotations` [3, 3] turns into the camera's."""
    ways = np.stack([key.astype(np.float64), [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    toward = np.einsum("li,rij->rlj", ways, np.stack(rotations)).astype(np.float32)  # rotationᵀ · way
    weights = np.stack([lobe(toward[:, 0], width_deg, tables.count), hemisphere(toward[:, 1], tables.count)], axis=1)
    amounts = {name: np.einsum("kd,rld->rlk", basis, weights) for name, basis in tables.bases.items()}
    width = float(np.sin(np.radians(width_deg)))
    return [
        Lights(toward=way, amounts={name: of[i] for name, of in amounts.items()}, key_width=width)
        for i, way in enumerate(toward)
    ]


@functools.lru_cache(maxsize=64)
def _rest_normals(piece: Piece) -> FloatArray:
    """Normals [3, n] of the piece on the average head, in its own axes."""
    return np.ascontiguousarray(piece.normals(piece.points).T)


@functools.lru_cache(maxsize=64)
def _bent(piece: Piece) -> IntArray:
    """The vertices of a piece that do not simply turn with the head."""
    return np.flatnonzero(piece.share < 0.999)


def _estimate(piece: Piece, lights: Lights) -> FloatArray:
    """Without a table: the shares [3, n] that a ball in the skull's place would leave of the lights."""
    out = unit(piece.points - _SKULL_CENTER)
    edges = np.array([[0.25 + lights.key_width], [0.9], [0.9]], dtype=np.float32)
    shares: FloatArray = (np.einsum("li,ni->ln", lights.toward, out) + np.float32(0.35)) / (2 * edges) + np.float32(0.5)
    return np.clip(shares, 0, 1, out=shares)


def _shares(tables: Sequence[Table], lights: Lights, normals: FloatArray) -> FloatArray:
    """The share [3, n] of each light that vertices see, relative to a free surface with their normals [3, n].

    The first table holds what stands around; its shares are compared with those of a plane that nothing shades: that
    a surface turns away from a light is the shader's part. The other tables only take light away.
    """
    shares = tables[0].seen(lights)
    shares /= lights.open_share(normals)
    np.minimum(shares, 1, out=shares)
    for table in tables[1:]:
        shares *= table.seen(lights)
    return shares


def _piece_exposure(piece: Piece, tables: Sequence[Table], head: Lights, body: Lights) -> FloatArray:
    """[3, n]: the shares in the head's axes, blended with those in the shoulders' where the piece follows these."""
    if not tables:
        turned, still = _estimate(piece, head), _estimate(piece, body)
        return still + (turned - still) * piece.share
    exposed = _shares(tables, head, _rest_normals(piece))
    bent = _bent(piece)
    if len(bent) and head is not body:
        still = _shares([table.of(piece) for table in tables], body, _rest_normals(piece).take(bent, axis=1))
        exposed[:, bent] = still + (exposed.take(bent, axis=1) - still) * piece.share.take(bent)
    return exposed


@functools.lru_cache(maxsize=64)
def _beneath(piece: Piece) -> scipy.sparse.csr_matrix:
    """[n, V] the mean of the head's vertices that each vertex of a piece lies over."""
    assert piece.follow is not None
    total = np.maximum(np.asarray(piece.follow.sum(1)).ravel(), 1e-6)
    return (scipy.sparse.diags(1 / total) @ piece.follow).tocsr().astype(np.float32)


@functools.cache
def _mouth() -> tuple[IntArray, IntArray, FloatArray]:
    """Indices of the lips, indices of teeth and tongue, and the share of the lips' light that reaches each of those."""
    piece = head_piece()
    lips = np.flatnonzero(piece.values[:, HEAD_VALUES.index("lips")] > 0.5)
    inner = np.isin(piece.part, [PARTS.index("teeth"), PARTS.index("tongue")])
    inside = np.unique(piece.triangles[inner])
    depth = (piece.points[inside, 2] - _MOUTH_BACK) / (_MOUTH_FRONT - _MOUTH_BACK)
    return lips, inside, (0.12 + 0.78 * np.clip(depth, 0, 1)).astype(np.float32)


def exposure(
    row: Row,
    pieces: Sequence[Piece],
    key: FloatArray,
    width_deg: float,
    rotations: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> FloatArray:
    """The share of key light, sky and ground that each vertex of a scene sees: [N, 3], 0–1.

    `key` [3]: unit vector to the key light in the camera's axes; `width_deg`: its half-width; `rotations`: head's and
    shoulders' axes to the camera's. The first piece is the head. Hair and hats without a fitting table are estimated
    from the side of the skull they lie on; what else is worn takes the light of the skin that it follows.
    """
    stored, skin = load_tables(), pieces[0]
    lights = _lights(key, width_deg, rotations[:1] if np.array_equal(*rotations) else rotations, stored)
    head, body = lights[0], lights[-1]
    variants = [f"{attribute}={row[attribute]}" for attribute in WORN_BY]
    worn = [stored.get(f"{variant}:head", len(skin.points)) for variant in variants]
    own = stored.get("head", len(skin.points))
    tables = [own, *(table for table in worn if table)] if own else []
    on_head = _piece_exposure(skin, tables, head, body)
    lips, inside, reach = _mouth()
    # baked with a closed mouth, seen in an open one
    on_head[:, inside] = on_head.take(lips, axis=1).mean(1, keepdims=True) * reach
    skin_exposed = np.stack([*on_head], axis=1)
    exposed = [skin_exposed]
    for piece in pieces[1:]:
        named = [stored.get(f"{variant}:{piece.name}", len(piece.points)) for variant in variants]
        found = [table for table in named if table is not None]
        if found or piece.name.startswith(_HAS_TABLE) or piece.follow is None:
            exposed.append(np.stack([*_piece_exposure(piece, found, head, body)], axis=1))
        else:
            exposed.append(np.minimum(_beneath(piece) @ skin_exposed, 1))
    return np.concatenate(exposed)
