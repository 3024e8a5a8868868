"""Bakes which directions are blocked around the average head, its hair cuts and hats: shadows and ambient occlusion.

Run it again whenever the head, a hair cut or a hat changes its geometry (one to two minutes on two idle cores):

    python scripts/build_visibility.py

For each of D directions over the sphere, the head is rasterised into a depth map as that direction sees it, and every
vertex (lifted a little along its normal) is looked up in it. What is worn is splatted as dense points into depth maps
of its own: first the share that it takes from the head, then what it and the head take from its own vertices. Hair is
not solid: light fades over some millimetres below its surface, and a little passes. The n × D tables are stored in the
basis of their K principal components over the sphere, with one step for all coefficients, so that the faint components
compress well; `gantrol.data.faces.visibility` says how they are read.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from safetensors.numpy import save_file

from gantrol.data.faces import accessories, hair
from gantrol.data.faces.labels import ATTRIBUTES, complete_row
from gantrol.data.faces.raster import rasterize
from gantrol.data.faces.scene import PARTS, Piece, head_piece
from gantrol.data.faces.visibility import ASSET, WORN_BY, directions, fingerprint

OUT = Path(__file__).resolve().parents[1] / "src/gantrol/data/faces" / ASSET
CENTER, RADIUS_DM = np.array([0.0, -0.4, -0.7], dtype=np.float32), 1.75  # the ball that the depth maps frame
HEAD_SIDE, WORN_SIDE = 512, 160  # samples: 0.7 mm and 2.2 mm
POINTS_PER_DM2 = 15_000  # about seven in every sample of a worn piece's depth map
LIFT_DM = 0.015  # along the normal; more than the diagonal of a sample, so that nothing shadows itself
RANK = {"head": 64, "worn": 40}
STEP = {"head": 0.08, "worn": 0.12}  # of a coefficient; the basis is orthonormal over the D directions
DENSITY = {"hair": 0.88, "hat": 1.0}  # how much of the light a layer takes


@dataclass(frozen=True, kw_only=True)
class Worn:
    """One variant of what is worn: its pieces, and points all over them."""

    name: str
    pieces: list[Piece]
    points: np.ndarray
    density: float


def scatter(piece: Piece, rng: np.random.Generator) -> np.ndarray:
    """Points [p, 3] spread over a piece, less where it is cut away."""
    a, b, c = (piece.points[piece.triangles[:, k]].astype(np.float64) for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    owner = np.repeat(np.arange(len(area)), rng.poisson(area * POINTS_PER_DM2))
    u, v = rng.random((2, len(owner)))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    weights = np.stack([1 - u - v, u, v], axis=1)
    corners = piece.triangles[owner]
    points = (piece.points[corners] * weights[:, :, None]).sum(1).astype(np.float32)
    if piece.cut is None:
        return points
    return points[(piece.cut[corners] * weights).sum(1) > 0]


def wardrobe() -> list[Worn]:
    """Every hair cut and hat that has geometry."""
    rng, found = np.random.default_rng(0), []
    for attribute in WORN_BY:
        for choice in ATTRIBUTES[attribute].choices:
            bare = {"hair_style": "bald", "hat": "none"}
            row = complete_row(bare | {attribute: choice})
            pieces = hair.pieces(row) if attribute == "hair_style" else accessories.pieces(row)
            pieces = [piece for piece in pieces if attribute == "hair_style" or piece.name == "hat"]
            if pieces:
                points = np.concatenate([scatter(piece, rng) for piece in pieces])
                density = DENSITY["hair" if attribute == "hair_style" else "hat"]
                found.append(Worn(name=f"{attribute}={choice}", pieces=pieces, points=points, density=density))
    return found


def axes(way: np.ndarray) -> np.ndarray:
    """[3, 3] rows: right, down and away, as seen by something that looks along −way."""
    up = np.array([0.0, 1.0, 0.0]) if abs(way[1]) < 0.9 else np.array([0.0, 0.0, 1.0])
    right = np.cross(up, way)
    right /= np.linalg.norm(right)
    return np.stack([right, -np.cross(way, right), -way])


def seen_from(points: np.ndarray, frame: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample coordinates [p, 2] and depths [p], which are positive: the rasteriser sorts by their bits."""
    placed = (points - CENTER) @ frame.T.astype(np.float32)
    return (placed[:, :2] / (2 * RADIUS_DM) + 0.5) * side, placed[:, 2] + 2 * RADIUS_DM


def head_depth(head: Piece, frame: np.ndarray) -> np.ndarray:
    """The depth map [side, side] of the head without lashes and chest."""
    solid = (head.part != PARTS.index("lashes")) & (head.points[head.triangles][:, :, 1].max(1) > -2.0)
    xy, depth = seen_from(head.points, frame, HEAD_SIDE)
    triangles, all_of_it = head.triangles[solid], np.ones(len(head.points), dtype=np.float32)
    surface = rasterize(
        xy.astype(np.float32),
        depth.astype(np.float32),
        triangles,
        HEAD_SIDE,
        two_sided=np.ones(len(triangles), dtype=bool),
        cut=all_of_it,
    )
    nearest = np.full(HEAD_SIDE**2, np.inf)
    nearest[surface.pixel] = surface.depth
    return nearest.reshape(HEAD_SIDE, HEAD_SIDE)


def worn_depth(points: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The depth map [side, side] of scattered points."""
    xy, depth = seen_from(points, frame, WORN_SIDE)
    column, row = np.clip(xy.astype(np.int64), 0, WORN_SIDE - 1).T
    nearest = np.full(WORN_SIDE**2, np.inf, dtype=np.float32)  # of the depths' type: `at` is slow when it must convert
    np.minimum.at(nearest, row * WORN_SIDE + column, depth)
    return nearest.reshape(WORN_SIDE, WORN_SIDE)


def blocked(depth_map: np.ndarray, points: np.ndarray, frame: np.ndarray, begin: float, full: float) -> np.ndarray:
    """How far [n] points lie behind a depth map: 0 at `begin` dm, 1 at `full`; the mean of four samples."""
    side = len(depth_map)
    xy, depth = seen_from(points, frame, side)
    xy -= 0.5
    whole = np.floor(xy).astype(np.int64)
    part = xy - whole
    total = np.zeros(len(points))
    for right in (0, 1):
        for down in (0, 1):
            column, row = np.clip(whole + np.array([right, down]), 0, side - 1).T
            weight = abs(1 - right - part[:, 0]) * abs(1 - down - part[:, 1])
            total += weight * np.clip((depth - depth_map[row, column] - begin) / (full - begin), 0, 1)
    return total


def look(way: np.ndarray) -> dict[str, np.ndarray]:
    """What is blocked from one direction: table name -> [n] in 1/255."""
    head, lifted = head_piece(), _SCENE["lifted"]
    frame = axes(way.astype(np.float64))
    solid = head_depth(head, frame)
    found = {"head": blocked(solid, lifted["head"], frame, 0.0, 0.02)}
    for worn in _SCENE["worn"]:
        layer = worn_depth(worn.points, frame)
        found[f"{worn.name}:head"] = worn.density * blocked(layer, lifted["head"], frame, 0.01, 0.05)
        soft = (0.05, 0.30) if worn.name.startswith("hair") else (0.02, 0.06)
        for piece in worn.pieces:
            name = f"{worn.name}:{piece.name}"
            by_head = blocked(solid, lifted[name], frame, 0.0, 0.02)
            by_itself = worn.density * blocked(layer, lifted[name], frame, *soft)
            found[name] = 1 - (1 - by_head) * (1 - by_itself)
    return {name: np.rint(255 * values).astype(np.uint8) for name, values in found.items()}


_SCENE: dict = {}  # what the worker processes share


def principal(tables: list[np.ndarray], weights: list[np.ndarray], rank: int) -> np.ndarray:
    """The orthonormal functions [K, D] that span tables [D, n] best; `weights` [n] say which vertices matter."""
    square = sum((table * w) @ table.T for table, w in zip(tables, weights, strict=True))
    _, vectors = np.linalg.eigh(square)
    basis = vectors[:, ::-1][:, :rank].T
    signs = np.where(basis.sum(1) < 0, -1, 1)  # an eigenvector's own would change from machine to machine
    return np.ascontiguousarray(basis * signs[:, None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--directions", type=int, default=512)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()

    began = time.monotonic()
    head = head_piece()
    normals = head.normals(head.points)
    worn = wardrobe()
    lifted = {"head": head.points + LIFT_DM * normals}
    for one in worn:
        for piece in one.pieces:
            lifted[f"{one.name}:{piece.name}"] = piece.points + LIFT_DM * piece.normals(piece.points)
    _SCENE.update(lifted=lifted, worn=worn)
    print(f"{len(worn)} variants, {args.directions} directions", flush=True)

    ways, looks = directions(args.directions), []
    with multiprocessing.get_context("fork").Pool(args.processes) as pool:
        for done, found in enumerate(pool.imap(look, ways, chunksize=8), start=1):
            looks.append(found)
            if done % 64 == 0:
                print(f"{done}/{len(ways)} directions, {time.monotonic() - began:.0f} s", flush=True)
    tables = {name: np.stack([found[name] for found in looks]) / np.float32(255) for name in looks[0]}

    # the face counts most: its shadows are looked at
    outside = np.zeros(len(head.points), dtype=bool)
    outside[head.triangles[head.part < PARTS.index("teeth")]] = True
    matters = np.where(outside & (head.points[:, 1] > -1.7), np.where(head.points[:, 2] > -0.6, 1.0, 0.5), 0.05)
    names = [name for name in tables if name != "head"]
    bases = {
        "head": principal([tables["head"]], [matters], RANK["head"]),
        "worn": principal(
            [tables[name] for name in names],
            [matters if name.endswith(":head") else np.full(tables[name].shape[1], 0.3) for name in names],
            RANK["worn"],
        ),
    }
    fitted = {"head": head} | {f"{one.name}:head": head for one in worn}
    fitted |= {f"{one.name}:{piece.name}": piece for one in worn for piece in one.pieces}
    tensors, about = {f"basis:{name}": basis.astype(np.float16) for name, basis in bases.items()}, {}
    for name, table in tables.items():
        kind = "head" if name == "head" else "worn"
        coefficients = bases[kind].astype(np.float16).astype(np.float32) @ table
        step = STEP[kind]
        levels = np.rint(coefficients / step).astype("<i2")
        bytes_apart = np.ascontiguousarray(levels.reshape(-1, 1).view(np.uint8).T)  # all low bytes, then all high ones
        tensors[name] = np.frombuffer(zlib.compress(bytes_apart.tobytes(), 9), dtype=np.uint8)
        about[name] = {"count": table.shape[1], "step": step, "fingerprint": fingerprint(fitted[name])}
        error = (bases[kind].T @ (levels * np.float32(step)) - table)[:, ::7]
        print(f"{name:32} {table.shape[1]:6} vertices {tensors[name].nbytes / 1024:7.0f} KiB  error {error.std():.3f}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, args.out, metadata={"visibility": json.dumps(about)})
    args.out.chmod(0o644)  # safetensors leaves it to its owner alone
    print(f"{args.out}: {args.out.stat().st_size / 2**20:.2f} MiB, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
