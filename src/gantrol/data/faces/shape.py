"""Who it is: identity seed, gender, ancestry, weight and age -> the coefficients of the head's shape basis.

Four layers are added up:

1. MakeHuman composes a body from products of its factors: ancestry × gender × age, and gender × age × weight. Each
   factor is a set of hat functions that sum to one.
2. Constant changes that bring MakeHuman's average to measured people (wider mouths, longer lids, lower crania), and
   changes that sharpen what tells women from men.
3. *Identity*: local changes of single features, drawn jointly from the identity seed and moved to the nearest point
   where the young adult's face keeps the proportions of `PROPORTIONS`: plausible people only. They depend on seed,
   gender and ancestry alone, not on age, weight or expression: the same seed stays the same person.
4. Age and weight: round cheeks and large eyes of children; jowls, hollow temples, bags, thin lips and long ears of old
   people.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces.attributes import Row
from gantrol.data.faces.head import FloatArray, load_head

Coefficients = dict[str, float]
Array = NDArray[np.float64]

_AGE_YEARS = {"baby": 0.5, "child": 11.0, "young": 25.0, "old": 88.0}  # the ages MakeHuman's shapes stand for
_ANCESTRIES = {"african": "african", "asian": "asian", "caucasian": "european"}  # MakeHuman's name -> label
_WEIGHTS = ("minweight", "averageweight", "maxweight")
_YOUNG_ADULT_YEARS = 25.0

# --- identity -------------------------------------------------------------------------------------------------------

# standard deviation of a local change, by the first part of its name (1 = MakeHuman's slider at its end); the longest
# name that fits counts
_SPREAD = {"cheek": 0.34, "cheek-trans": 0.25, "chin": 0.30, "chin-cleft": 0.2, "chin-height": 0.2, "chin-jaw": 0.15,
           "chin-prognathism": 0.2, "ear": 0.30, "eye": 0.22, "eye-bag": 0.15, "eye-corner": 0.30,
           "eye-epicanthus": 0.25, "eye-height": 0.18, "eye-push": 0.20, "eye-scale": 0.25, "eye-trans": 0.20,
           "eyebrows": 0.24, "eyebrows-angle": 0.2, "eyebrows-trans": 0.2, "forehead": 0.22, "forehead-nubian": 0.12,
           "forehead-scale": 0.14, "head": 0.24, "head-back": 0.2, "head-diamond": 0.15, "head-rectangular": 0.15,
           "head-scale": 0.14, "head-square": 0.12, "measure": 0.15, "mouth": 0.26, "mouth-angles": 0.18,
           "mouth-cupidsbow-width": 0.15, "mouth-dimples": 0.15, "mouth-laugh": 0.15, "mouth-scale-depth": 0.15,
           "mouth-trans": 0.2, "neck": 0.15, "nose": 0.28, "nose-base": 0.2, "nose-compression": 0.12,
           "nose-curve": 0.25, "nose-greek": 0.25, "nose-septumangle": 0.12, "nose-trans": 0.18}  # fmt: skip
_NOT_IDENTITY = ("head-age", "head-fat", "neck-double")  # age and weight have their own labels
_OPPOSITES = [("incr", "decr"), ("up", "down"), ("out", "in"), ("forward", "backward"), ("convex", "concave"),
              ("uncompress", "compress")]  # fmt: skip
_LIMIT = 2.2  # standard deviations: the largest single change
_TYPICAL_NORM = 1.1  # × the expected norm of the whole draw: the farthest a person may lie from the average
_ASYMMETRY = 0.12


@dataclass(frozen=True, kw_only=True)
class Proportion:
    """A ratio of two lengths of the face, each a sum of (axis, vertex, factor) terms, and where people's values lie."""

    over: tuple[tuple[int, int, float], ...]
    under: tuple[tuple[int, int, float], ...]
    low: float
    high: float

    def of(self, vertices: FloatArray) -> float:
        """The ratio on a head [V, 3]."""
        top, bottom = (sum(float(vertices[v, axis]) * f for axis, v, f in terms) for terms in (self.over, self.under))
        return top / bottom


def _width(vertex: int) -> tuple[tuple[int, int, float], ...]:
    return ((0, vertex, 2.0),)


def _between(axis: int, first: int, second: int) -> tuple[tuple[int, int, float], ...]:
    return ((axis, first, 1.0), (axis, second, -1.0))


_FACE_WIDTH, _FACE_HEIGHT = _width(4507), _between(1, 132, 2009)  # cheekbone to cheekbone; nasion to chin
_MOUTH_WIDTH, _LID_LENGTH = _width(2977), _between(0, 2533, 4878)
PROPORTIONS: dict[str, Proportion] = {
    name: Proportion(over=over, under=under, low=low, high=high)
    for name, over, under, low, high in [
        # name, length, its unit, bounds; beside them rounded guide values (mean ± sd) of
        # young adults after published face tables such as Farkas et al. (2005), where the measures are comparable
        ("face_height", _FACE_HEIGHT, _FACE_WIDTH, 0.75, 0.91),  # 0.87 ± 0.05, with the nasion 4 mm higher
        ("jaw_width", _width(3325), _FACE_WIDTH, 0.72, 0.885),  # silhouette at the mouth's height, wider than the bone
        ("chin_width", _width(4028), _FACE_WIDTH, 0.46, 0.64),
        ("head_width", _width(3402), _FACE_WIDTH, 0.96, 1.10),  # 1.10 ± 0.05
        ("cranium_height", _between(1, 881, 132), _FACE_HEIGHT, 0.87, 1.02),  # 0.92 ± 0.07
        ("eye_spacing", _width(4878), _FACE_WIDTH, 0.220, 0.285),  # 0.24 ± 0.02
        ("lid_length", _LID_LENGTH, _FACE_WIDTH, 0.182, 0.240),  # 0.225 ± 0.012
        ("eye_opening", _between(1, 2513, 2556), _LID_LENGTH, 0.22, 0.42),  # 0.34 ± 0.04
        ("nose_width", _width(2808), _FACE_WIDTH, 0.185, 0.31),  # 0.24 to 0.32 ± 0.02, by ancestry
        ("nose_length", _between(1, 132, 343), _FACE_HEIGHT, 0.41, 0.50),  # 0.45 ± 0.03
        ("nose_depth", _between(2, 1767, 2785), _FACE_HEIGHT, 0.11, 0.30),  # 0.17 ± 0.02 from the wing's base
        ("nose_droop", _between(1, 302, 2816), _FACE_HEIGHT, -0.010, 0.075),  # the tip hangs or shows the nostrils
        ("mouth_width", _MOUTH_WIDTH, _FACE_WIDTH, 0.345, 0.44),  # 0.39 ± 0.025
        ("lip_height", _between(1, 455, 492), _MOUTH_WIDTH, 0.22, 0.53),  # 0.33 to 0.45 ± 0.06, by ancestry
        ("upper_lip", _between(1, 343, 455), _FACE_HEIGHT, 0.065, 0.145),  # 0.12 ± 0.02
        ("chin_height", _between(1, 492, 2009), _FACE_HEIGHT, 0.21, 0.33),  # 0.28 ± 0.03
        ("chin_depth", _between(2, 1924, 495), _FACE_HEIGHT, -0.15, -0.02),  # neither receding nor a nutcracker
        ("neck_width", _width(3201), _FACE_WIDTH, 0.62, 0.90),
        ("ear_length", _between(1, 4509, 4837), _FACE_HEIGHT, 0.42, 0.60),  # 0.51 ± 0.04
        ("brow_height", _between(1, 2730, 2513), _FACE_HEIGHT, 0.15, 0.26),
    ]
}
"""What every young adult of average weight fulfils; lengths are named after what they measure."""


@functools.cache
def _local_changes() -> tuple[list[str], list[str | None], Array]:
    """Of each local change: the shape for positive values, for negative values (or None), and its spread [n]."""
    names = [name.removeprefix("local/") for name in load_head().names if name.startswith("local/")]
    positives: list[str] = []
    negatives: list[str | None] = []
    spreads: list[float] = []
    for name in names:
        if name.startswith(_NOT_IDENTITY):
            continue
        stem, _, ending = name.rpartition("-")
        opposite = dict(_OPPOSITES) | {second: first for first, second in _OPPOSITES}
        partner = f"{stem}-{opposite[ending]}" if ending in opposite else ""
        if partner in names and ending not in dict(_OPPOSITES):
            continue  # comes with its partner
        positives.append(f"local/{name}")
        negatives.append(f"local/{partner}" if partner in names else None)  # None: one-sided, such as a round head
        spreads.append(_SPREAD[max((start for start in _SPREAD if name.startswith(start)), key=len)])
    return positives, negatives, np.array(spreads)


@functools.cache
def _limits() -> tuple[Array, Array, Array, Array]:
    """The bounds of `PROPORTIONS` as C linear inequalities, constant + slope · coefficients <= 0.

    Returns constant [C], slope [C, K], and the slopes along positive and along negative draws of local changes [C, n].
    """
    head = load_head()
    rows = head.basis.tocsr()

    def length(terms: tuple[tuple[int, int, float], ...]) -> tuple[float, Array]:
        placed = [(3 * v + axis, factor) for axis, v, factor in terms]
        constant = sum(float(head.template.flat[row]) * factor for row, factor in placed)
        return constant, np.sum([rows[row].toarray()[0].astype(np.float64) * f for row, f in placed], axis=0)

    constants, slopes = [], []
    for proportion in PROPORTIONS.values():
        (over, over_slope), (under, under_slope) = length(proportion.over), length(proportion.under)
        constants += [over - proportion.high * under, proportion.low * under - over]
        slopes += [over_slope - proportion.high * under_slope, proportion.low * under_slope - over_slope]
    slope = np.array(slopes)
    positives, negatives, spread = _local_changes()
    up = slope[:, [head.names[name] for name in positives]] * spread
    down = np.stack([slope[:, head.names[n]] if n else np.zeros(len(slope)) for n in negatives], axis=1) * -spread
    return np.array(constants), slope, up, down


# --- the layers -----------------------------------------------------------------------------------------------------

# what MakeHuman's average lacks against measured people
_CONSTANT = {"own/eye-size": 0.6, "own/cranium-low": 0.15, "own/cranium-wide": 0.15, "local/eye-trans-out": 0.3,
             "local/mouth-scale-horiz-incr": 0.75, "local/chin-height-incr": 0.06}  # fmt: skip
_ASIAN = {"own/eye-size": 0.25}
_FEMININE = {"own/jaw-corner": -0.5, "own/brow-ridge": -0.4, "own/eye-size": 0.25, "own/cheek-round": 0.15,
             "local/mouth-lowerlip-volume-incr": 0.25, "local/mouth-upperlip-volume-incr": 0.25,
             "local/eyebrows-trans-up": 0.15, "local/neck-scale-horiz-decr": 0.2, "local/chin-width-decr": 0.35,
             "local/nose-scale-horiz-decr": 0.2, "local/nose-point-up": 0.15, "local/nose-width1-decr": 0.2,
             "local/cheek-bones-incr": 0.2, "local/chin-bones-decr": 0.2}  # fmt: skip
_MASCULINE = {"own/jaw-corner": 0.2, "own/brow-ridge": 0.4, "local/chin-width-incr": 0.3,
              "local/mouth-upperlip-volume-decr": 0.2, "local/eyebrows-trans-down": 0.12,
              "local/measure-neck-circ-incr": 0.12, "local/nose-hump-incr": 0.08}  # fmt: skip
_CHILD = {"own/eye-size": 0.45, "own/cheek-round": 0.7, "local/cheek-volume-incr": 0.2,
          "local/nose-scale-depth-decr": 0.15, "local/neck-scale-horiz-decr": 0.25}  # fmt: skip
_OLD = {"own/jowls": 0.75, "own/hollow": 0.6, "own/eye-size": -0.35, "local/head-age-incr": 0.45,
        "local/eye-bag-incr": 0.55, "local/mouth-upperlip-volume-decr": 0.55, "local/mouth-lowerlip-volume-decr": 0.45,
        "local/mouth-upperlip-height-decr": 0.25, "local/mouth-angles-down": 0.15, "local/mouth-laugh-lines-in": 0.4,
        "local/ear-scale-vert-incr": 0.3, "local/ear-lobe-incr": 0.5, "local/nose-point-up": 0.15,
        "local/nose-scale-vert-incr": 0.08, "local/eye-height2-decr": 0.2, "local/eye-eyefold-down": 0.3,
        "local/eyebrows-trans-down": 0.2, "local/neck-double-incr": 0.25}  # fmt: skip
_HEAVY = {"local/head-fat-incr": 0.4, "local/neck-double-incr": 0.5, "local/cheek-volume-incr": 0.2}
_SLIM = {"local/head-fat-decr": 0.55, "local/neck-double-decr": 0.4, "local/cheek-volume-decr": 0.2, "own/hollow": 0.25}


def _hat(value: float, anchors: dict[str, float]) -> Coefficients:
    """Linear interpolation weights over named anchors in rising order; they sum to one."""
    names, places = list(anchors), list(anchors.values())
    value = min(max(value, places[0]), places[-1])
    upper = next(i for i, place in enumerate(places) if i and value <= place)
    share = (value - places[upper - 1]) / (places[upper] - places[upper - 1])
    return dict.fromkeys(names, 0.0) | {names[upper - 1]: 1 - share, names[upper]: share}


def _add(total: Coefficients, shapes: Coefficients, weight: float) -> None:
    if not weight:
        return
    for name, value in shapes.items():
        total[name] = total.get(name, 0.0) + value * weight


def _body(row: Row, age_years: float, weight: float) -> Coefficients:
    """Layers 1 and 2: MakeHuman's composition, and what corrects and sharpens it."""
    total = max(row["african"] + row["asian"] + row["european"], 1e-6)
    race = {shape: row[label] / total for shape, label in _ANCESTRIES.items()}
    gender = {"female": 1 - row["gender"], "male": row["gender"]}
    age = _hat(age_years, _AGE_YEARS)
    build = _hat(0.1 + 0.8 * weight, dict(zip(_WEIGHTS, (0.0, 0.5, 1.0), strict=True)))
    coefficients: Coefficients = {}
    for (g, of_gender), (a, of_age) in itertools.product(gender.items(), age.items()):
        if of_gender and of_age:
            coefficients |= {f"race/{r}-{g}-{a}": of_race * of_gender * of_age for r, of_race in race.items()}
            coefficients |= {f"body/{g}-{a}-{w}": of_gender * of_age * of_build for w, of_build in build.items()}
    _add(coefficients, _CONSTANT, 1.0)
    _add(coefficients, _ASIAN, race["asian"])
    grown = min(max((age_years - 8) / 9, 0.1), 1.0)  # women and men part at puberty
    _add(coefficients, _FEMININE, grown * max(1 - 2 * row["gender"], 0.0))
    _add(coefficients, _MASCULINE, grown * max(2 * row["gender"] - 1, 0.0))
    return coefficients


def identity_rng(identity: int, purpose: int) -> np.random.Generator:
    """The random stream of one purpose (0 shape, 1 materials, …) of an identity."""
    return np.random.default_rng([identity, purpose])


def _plausible(draw: Array, base: Array) -> Array:
    """The draw [n] moved onto the nearest faces that fulfil `PROPORTIONS`, from the body's coefficients `base` [K].

    Every bound is a half-space of coefficients; the draw is projected onto the one most violated until none is
    (Kaczmarz' method). Lengths are in standard deviations, so the least unlikely change is made.
    """
    constant, slope, up, down = _limits()
    start = constant + np.einsum("ck,k->c", slope, base)
    rising = draw > 0
    active = np.where(rising, up, down)
    size = np.sqrt((active * active).sum(1))
    for _ in range(80):
        before, rising = rising, draw > 0
        if (rising != before).any():  # a change that swaps its shape has another slope
            active = np.where(rising, up, down)
            size = np.sqrt((active * active).sum(1))
        excess = start + np.einsum("cn,n->c", active, draw)
        worst = int((excess / size).argmax())
        if excess[worst] <= 0:
            break
        draw = draw - active[worst] * ((excess[worst] + 1e-4) / size[worst] ** 2)
    return draw


@functools.cache
def _asymmetries() -> list[str]:
    return [name for name in load_head().names if name.startswith("asym/")]


def identity_changes(row: Row) -> Coefficients:
    """Layer 3: the local changes of a person, from identity, gender and ancestry alone."""
    group = row["gender"], row["african"], row["asian"], row["european"]
    return dict(_identity_changes(row["identity"], *group))


@functools.lru_cache(maxsize=64)  # sweeps and counterfactuals show one person many times
def _identity_changes(identity: int, gender: float, african: float, asian: float, european: float) -> Coefficients:
    rng, names = identity_rng(identity, 0), load_head().names
    positives, negatives, spread = _local_changes()
    draw = np.clip(rng.standard_normal(len(spread)), -_LIMIT, _LIMIT)
    draw *= min(1.0, _TYPICAL_NORM * np.sqrt(len(spread)) / np.linalg.norm(draw))
    sides = _asymmetries()
    changes = dict(zip(sides, np.maximum(rng.normal(0, _ASYMMETRY, len(sides)), 0).tolist(), strict=True))
    group = {"gender": gender, "african": african, "asian": asian, "european": european}
    average = _body(group, _YOUNG_ADULT_YEARS, 0.5) | changes
    known = {names[name]: value for name, value in average.items() if name in names}
    base = np.zeros(len(names))
    base[list(known)] = list(known.values())
    draw = _plausible(draw, base)
    for rising, size, positive, negative in zip(
        (draw > 0).tolist(), (abs(draw) * spread).tolist(), positives, negatives, strict=True
    ):
        moved = positive if rising else negative
        if moved is not None:
            changes[moved] = size
    return changes


def shape_coefficients(row: Row) -> Coefficients:
    """Basis coefficients of a person without expression, from identity, gender, ancestry, weight and age."""
    coefficients = _body(row, row["age"], row["weight"])
    _add(coefficients, identity_changes(row), 1.0)
    _add(coefficients, _CHILD, min(max((15 - row["age"]) / 9, 0.0), 1.0))
    _add(coefficients, _OLD, min(max((row["age"] - 35) / 45, 0.0), 1.1) ** 1.1)
    _add(coefficients, _HEAVY if row["weight"] > 0.5 else _SLIM, abs(2 * row["weight"] - 1))
    known = load_head().names  # average weight moves nothing, so it has no shape
    return {name: value for name, value in coefficients.items() if value and name in known}


HEAD_HEIGHT_DM = 2.14
"""Chin to top of every head after `align`: children's heads fill the frame as adults' do."""


def align(vertices: FloatArray, neutral: FloatArray) -> FloatArray:
    """Moves the middle between the eyes to the origin and scales the head to HEAD_HEIGHT_DM.

    Both are measured on the person's `neutral` face [V, 3], so that an expression never moves the frame.
    """
    head = load_head()
    scale = HEAD_HEIGHT_DM / head.size(neutral)
    eyes = (neutral[head.joints["l-eye"]] + neutral[head.joints["r-eye"]]) / 2
    aligned: FloatArray = vertices * scale
    for axis, middle in enumerate(eyes * scale):
        aligned[:, axis] -= middle
    return aligned
