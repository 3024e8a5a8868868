"""Who it is: identity seed, age, gender and weight -> the coefficients of the head's shape basis.

MakeHuman composes a body from products of its factors: ancestry × gender × age, and gender × age × weight. Each factor
is a set of hat functions that sum to one. On top of it come local changes of single features, drawn from the identity
seed with small standard deviations, and shortened when the whole draw lies too far out: plausible people only.
"""

from __future__ import annotations

import functools

import numpy as np

from gantrol.data.faces.head import FloatArray, load_head
from gantrol.data.faces.labels import Row

_AGE_YEARS = {"baby": 1.0, "child": 10.0, "young": 25.0, "old": 90.0}  # the ages MakeHuman's shapes stand for
_WEIGHTS = ("minweight", "averageweight", "maxweight")

# standard deviation of a local change, by the first part of its name (1 = MakeHuman's slider at its end)
_SPREAD = {"cheek": 0.26, "chin": 0.26, "ear": 0.28, "eyebrows": 0.3, "eye": 0.25, "forehead": 0.25, "head": 0.18,
           "mouth": 0.24, "neck": 0.2, "measure": 0.2, "nose": 0.27}  # fmt: skip
_SPREAD_OF = {"eye-trans": 0.18, "eye-scale": 0.2, "head-scale": 0.15, "eye-bag": 0.2, "mouth-trans": 0.2,
              "nose-trans": 0.2, "eye-corner": 0.25, "mouth-dimples": 0.15, "mouth-laugh": 0.15,
              "eye-height": 0.18, "chin-jaw": 0.15, "eye-epicanthus": 0.3}  # fmt: skip
_NOT_IDENTITY = ("head-age", "head-fat", "neck-double")  # age and weight have their own labels
_HEAVY = {"local/head-fat-incr": 0.7, "local/neck-double-incr": 0.5, "local/cheek-volume-incr": 0.25}
_SLIM = {"local/head-fat-decr": 0.7, "local/neck-double-decr": 0.4, "local/cheek-volume-decr": 0.25}
_OPPOSITES = [("incr", "decr"), ("up", "down"), ("out", "in"), ("forward", "backward"), ("convex", "concave"),
              ("uncompress", "compress")]  # fmt: skip
_LIMIT = 2.2  # standard deviations: the largest single change
_TYPICAL_NORM = 1.15  # × the expected norm of the whole draw: the farthest a person may lie from the average


def _hat(value: float, anchors: dict[str, float]) -> dict[str, float]:
    """Linear interpolation weights over named anchors; they sum to one."""
    names, places = list(anchors), list(anchors.values())
    return {name: float(np.interp(value, places, np.eye(len(names))[i])) for i, name in enumerate(names)}


@functools.cache
def _local_changes() -> list[tuple[str, str | None, float]]:
    """(shape for positive values, shape for negative values or None, standard deviation) of each local change."""
    names = [name.removeprefix("local/") for name in load_head().names if name.startswith("local/")]
    changes: list[tuple[str, str | None, float]] = []
    for name in names:
        if name.startswith(_NOT_IDENTITY):
            continue
        stem, _, ending = name.rpartition("-")
        spread = next((sd for start, sd in _SPREAD_OF.items() if name.startswith(start)), _SPREAD[name.split("-")[0]])
        for positive, negative in _OPPOSITES:
            if ending == positive and f"{stem}-{negative}" in names:
                changes.append((f"local/{name}", f"local/{stem}-{negative}", spread))
                break
            if ending == negative and f"{stem}-{positive}" in names:
                break
        else:  # a one-sided shape, such as a round or a square head
            changes.append((f"local/{name}", None, spread))
    return changes


def identity_rng(identity: int, purpose: int) -> np.random.Generator:
    """The random stream of one purpose (0 shape, 1 materials) of an identity."""
    return np.random.default_rng([identity, purpose])


def shape_coefficients(row: Row) -> dict[str, float]:
    """Basis coefficients of a person without expression, from identity, age, gender and weight."""
    rng = identity_rng(row["identity"], 0)
    race = dict(zip(("african", "asian", "caucasian"), rng.dirichlet([0.45] * 3), strict=True))
    gender = {"female": 1 - row["gender"], "male": row["gender"]}
    age = _hat(row["age"], _AGE_YEARS)
    weight = _hat(0.1 + 0.8 * row["weight"], dict(zip(_WEIGHTS, (0.0, 0.5, 1.0), strict=True)))
    coefficients = {f"race/{r}-{g}-{a}": race[r] * gender[g] * age[a] for r in race for g in gender for a in age} | {
        f"body/{g}-{a}-{w}": gender[g] * age[a] * weight[w] for g in gender for a in age for w in weight
    }

    changes = _local_changes()
    draw = np.clip(rng.standard_normal(len(changes)), -_LIMIT, _LIMIT)
    draw *= min(1.0, _TYPICAL_NORM * np.sqrt(len(changes)) / np.linalg.norm(draw))
    for value, (positive, negative, spread) in zip(draw, changes, strict=True):
        if negative is None:
            coefficients[positive] = max(float(value), 0.0) * spread
        else:
            coefficients[positive if value > 0 else negative] = abs(float(value)) * spread
    for name, full in (_HEAVY if row["weight"] > 0.5 else _SLIM).items():
        coefficients[name] = coefficients.get(name, 0.0) + full * abs(2 * row["weight"] - 1)
    for name in load_head().names:
        if name.startswith("asym/"):
            coefficients[name] = max(rng.normal(0, 0.12), 0.0)
    known = load_head().names  # average weight moves nothing, so it has no shape
    return {name: value for name, value in coefficients.items() if value and name in known}


@functools.cache
def _extreme_vertices() -> tuple[int, int]:
    """The vertices at the top of the head and at the tip of the chin of the average head."""
    head = load_head()
    skin = np.flatnonzero(head.part == head.parts.index("skin"))
    middle = skin[abs(head.average[skin, 0]) < 0.1]
    eye_y, eye_z = head.average[head.joints["l-eye"], 1:]
    below = middle[(head.average[middle, 1] < eye_y - 0.9) & (head.average[middle, 2] > eye_z - 0.05)]
    return int(middle[head.average[middle, 1].argmax()]), int(below[head.average[below, 1].argmin()])


HEAD_HEIGHT_DM = 2.14
"""Chin to top of every head after `align`: children's heads fill the frame as adults' do."""


def align(vertices: FloatArray, neutral: FloatArray) -> FloatArray:
    """Moves the middle between the eyes to the origin and scales the head to HEAD_HEIGHT_DM.

    Both are measured on the person's `neutral` face [V, 3], so that an expression never moves the frame.
    """
    head = load_head()
    top, chin = _extreme_vertices()
    scale = HEAD_HEIGHT_DM / (neutral[top, 1] - neutral[chin, 1])
    eyes = (neutral[head.joints["l-eye"]] + neutral[head.joints["r-eye"]]) / 2
    aligned: FloatArray = (vertices - eyes) * scale
    return aligned
