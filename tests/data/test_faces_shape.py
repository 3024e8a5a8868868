"""Who it is and what it does: proportions, identity over age, expressions, lids, pose and the 68 landmarks."""

from __future__ import annotations

import numpy as np
import pytest

from gantrol.data.faces import labels, pose, shape
from gantrol.data.faces.head import FloatArray, load_head
from gantrol.data.faces.landmarks import MIRROR, landmark_vertices, landmarks


def person(index: int, **changes: object) -> labels.Row:
    """A random person without expression or pose."""
    drawn = labels.sample_row(3, index)
    of_person = {name: drawn[name] for name, a in labels.ATTRIBUTES.items() if a.of_identity or name == "identity"}
    return labels.complete_row(of_person | changes)


def neutral(row: labels.Row) -> FloatArray:
    return load_head().deform(shape.shape_coefficients(row))


def canonical() -> FloatArray:
    head = load_head()
    return shape.align(head.average, head.average)


# --- proportions and identity ---------------------------------------------------------------------------------------


def test_every_young_adult_keeps_the_proportions_of_people() -> None:
    for index in range(300):
        head = neutral(person(index, age=25, weight=0.5))
        for name, proportion in shape.PROPORTIONS.items():
            assert proportion.low - 1e-3 <= proportion.of(head) <= proportion.high + 1e-3, (index, name)


def test_at_any_age_and_weight_the_proportions_stay_near() -> None:
    """In units of the allowed range: adults leave it by less than half, the old by less than once (their ears grow)."""
    rng = np.random.default_rng(0)
    for index in range(100):
        age = float(rng.uniform(18, 85))
        head = neutral(person(index, age=age, weight=float(rng.random())))
        for name, proportion in shape.PROPORTIONS.items():
            slack = (0.5 if age < 60 else 0.9) * (proportion.high - proportion.low)
            assert proportion.low - slack <= proportion.of(head) <= proportion.high + slack, (index, name)


@pytest.mark.parametrize("ancestry", ["african", "asian", "european"])
@pytest.mark.parametrize("gender", [0.0, 1.0])
def test_the_average_of_every_group_is_plausible(ancestry: str, gender: float) -> None:
    row = labels.complete_row({"african": 0, "asian": 0, "european": 0, ancestry: 1, "gender": gender})
    known = load_head().names
    body = {name: value for name, value in shape._body(row, 25.0, 0.5).items() if name in known}
    head = load_head().deform(body)
    for name, proportion in shape.PROPORTIONS.items():
        assert proportion.low - 0.005 <= proportion.of(head) <= proportion.high + 0.005, name


def test_identity_does_not_know_age_weight_or_expression() -> None:
    for index in range(5):
        young = shape.identity_changes(person(index, age=20))
        assert young == shape.identity_changes(person(index, age=60, weight=0.9, smile=1, yaw=30))
        assert young != shape.identity_changes(person(index + 5, age=20))
        assert young == shape.identity_changes(person(index, age=20))  # repeatable


def test_the_same_person_at_other_ages_is_nearer_than_other_people() -> None:
    """Landmarks of 60-year-olds, each against all 20-year-olds of one group; what age does on average is removed."""
    group = {"gender": 0.0, "african": 0, "asian": 0, "european": 1, "weight": 0.5}

    def faces(age: float) -> np.ndarray:
        rows = [person(index, **group, age=age) for index in range(40)]
        points = np.stack([landmarks(shape.align(neutral(row), neutral(row))).ravel() for row in rows])
        return points - points.mean(0)

    young, old = faces(20), faces(60)
    distance = np.linalg.norm(young[:, None] - old[None], axis=2)
    assert (distance.argmin(0) == np.arange(40)).all()


def test_identities_differ_visibly() -> None:
    points = [landmarks(shape.align(neutral(row), neutral(row))) for row in (person(i, age=30) for i in range(20))]
    apart = [np.linalg.norm(a - b, axis=1).mean() for i, a in enumerate(points) for b in points[:i]]
    assert np.median(apart) > 0.05  # dm, of a head of 2.14 dm
    assert min(apart) > 0.02


def test_age_and_gender_change_what_they_should() -> None:
    for index in range(10):
        eye = {
            age: shape.PROPORTIONS["lid_length"].of(neutral(person(index, age=age, weight=0.5))) for age in (7, 25, 80)
        }
        assert eye[7] > eye[25] > eye[80]
        child, old = neutral(person(index, age=7, weight=0.5)), neutral(person(index, age=80, weight=0.5))
        assert shape.PROPORTIONS["face_height"].of(child) < shape.PROPORTIONS["face_height"].of(old)
        assert shape.PROPORTIONS["ear_length"].of(old) > shape.PROPORTIONS["ear_length"].of(child)
    jaw, neck = (
        [np.mean([p.of(neutral(person(i, age=30, weight=0.5, gender=g))) for i in range(12)]) for g in (0.0, 1.0)]
        for p in (shape.PROPORTIONS["jaw_width"], shape.PROPORTIONS["neck_width"])
    )
    assert jaw[1] > jaw[0]
    assert neck[1] > neck[0] + 0.05


def test_closed_lips_touch_on_everyone() -> None:
    upper, lower = np.array([520, 2996, 2990, 2991]), np.array([523, 2992, 2993, 2958])
    for index in range(30):
        head = neutral(person(index, age=8 + 2.5 * index))
        gap = head[upper, 1] - head[lower, 1]
        assert (gap < 0.0).all()
        assert (gap > -0.02).all()


# --- expressions ----------------------------------------------------------------------------------------------------


def moved(row: labels.Row) -> FloatArray:
    """How far [V] the expression moves each vertex, dm."""
    face = neutral(row)
    at_rest = pose.expressed(face, row | dict.fromkeys([*pose.EXPRESSIONS, "wink", "gaze_yaw", "gaze_pitch"], 0.0))
    distance: FloatArray = np.linalg.norm(pose.expressed(face, row) - at_rest, axis=1)
    return distance


@pytest.mark.parametrize("name", [*pose.EXPRESSIONS, "wink", "gaze_yaw", "gaze_pitch"])
def test_expressions_move_the_face_and_nothing_else(name: str) -> None:
    value = 15.0 if name.startswith("gaze") else 1.0
    distance, at = moved(person(2, **{name: value})), canonical()
    assert distance.max() > 0.005
    back = (at[:, 2] < -0.75) | (at[:, 1] < -1.9) | (at[:, 1] > 0.75)
    assert distance[back].max() < 0.005
    eyeballs = np.flatnonzero(np.isin(load_head().part, [1, 2]))
    assert distance[eyeballs].max() == 0  # gaze turns the painted iris


@pytest.mark.parametrize(
    ("names", "where", "still"),
    [
        (["eyes_closed", "wink", "gaze_pitch", "brow_raise"], (0.8, -0.45), (-0.55, -2)),
        (["pucker", "mouth_open"], (-0.3, -2), (0.8, -0.12)),
    ],
)
def test_expressions_stay_in_their_part_of_the_face(
    names: list[str], where: tuple[float, float], still: tuple[float, float]
) -> None:
    y = canonical()[:, 1]
    for name in names:
        distance = moved(person(4, **{name: 1.0}))
        if name == "wink":  # a wink lifts the mouth's corner on its side, a little
            continue
        assert distance[(y < where[0]) & (y > where[1])].max() > 10 * distance[(y < still[0]) & (y > still[1])].max()


def test_expressions_are_symmetric_and_wink_is_mirrored() -> None:
    head = load_head()
    average, flip = head.average.copy(), np.array([-1, 1, 1], dtype=np.float32)
    twins = head.mirrored

    def of(**weights: float) -> FloatArray:
        return pose.expressed(average, labels.complete_row(weights)) - average

    for name in pose.EXPRESSIONS:
        move = of(**{name: 1.0})
        np.testing.assert_allclose(move[twins] * flip, move, atol=5e-3)
    np.testing.assert_allclose(of(wink=0.8)[twins] * flip, of(wink=-0.8), atol=5e-3)


def opening(face: FloatArray, row: labels.Row) -> tuple[float, float]:
    """How far the eye at the image's left and the one at its right are open, against their length."""
    points = landmarks(pose.expressed(face, row))
    heights = [points[first, 1] + points[first + 1, 1] - points[last, 1] - points[last - 1, 1]
               for first, last in ((37, 41), (43, 47))]  # fmt: skip
    lengths = points[39, 0] - points[36, 0], points[45, 0] - points[42, 0]
    return heights[0] / 2 / lengths[0], heights[1] / 2 / lengths[1]


def test_lids_close_fully_and_a_wink_closes_one_eye() -> None:
    for index in range(20):
        row = person(index, age=8 + 3.5 * index)
        face = neutral(row)
        open_left, open_right = opening(face, row)
        assert min(open_left, open_right) > 0.15
        assert max(map(abs, opening(face, row | {"eyes_closed": 1.0}))) < 0.035
        left, right = opening(face, row | {"wink": 1.0})
        assert abs(right) < 0.035
        assert left > 0.8 * open_left
        left, right = opening(face, row | {"wink": -1.0})
        assert abs(left) < 0.035
        assert right > 0.8 * open_right
        half = opening(face, row | {"eyes_closed": 0.5})
        assert 0.2 * open_left < half[0] < 0.8 * open_left


def test_the_eyeball_never_pokes_through_the_lids() -> None:
    head = load_head()
    upper = np.array(pose._UPPER_LID)
    states: tuple[dict[str, float], ...] = (
        {},
        {"eyes_closed": 0.5},
        {"eyes_closed": 1.0},
        {"smile": 1.0},
        {"laugh": 1.0},
        {"gaze_pitch": -20.0},
    )
    for index in range(10):
        row = person(index, age=8 + 7 * index)
        face = neutral(row)
        center = face[head.joints["l-eye"]]
        radius = np.linalg.norm(face[np.flatnonzero(head.part == 1)] - center, axis=1).max()
        for state in states:
            lids = pose.expressed(face, row | state)[upper]
            assert np.linalg.norm(lids - center, axis=1).min() > 0.995 * radius


def test_lids_follow_the_gaze() -> None:
    row = person(1)
    face = neutral(row)
    openings = [opening(face, row | {"gaze_pitch": gaze})[0] for gaze in (-20.0, 0.0, 20.0)]
    assert openings[0] < openings[1] < openings[2]


def test_blends_are_limited_smoothly() -> None:
    sums = np.linspace(0, 4, 401)
    limited = np.array([pose.soft_limit(value) for value in sums])
    slope = np.diff(limited) / np.diff(sums)
    np.testing.assert_allclose(limited[sums <= 0.9], sums[sums <= 0.9])
    assert (slope >= 0).all()
    assert abs(np.diff(slope)).max() < 0.03  # no corner
    assert limited.max() <= 1.5
    everything = labels.complete_row(dict.fromkeys(labels.EXPRESSIONS, 1.0) | {"mouth_open": 1.0, "pucker": 1.0})
    actions = pose.action_coefficients(everything)
    assert max(actions.values()) <= 1.5
    assert np.isfinite(pose.expressed(load_head().average, everything)).all()


def test_a_neutral_row_has_no_actions() -> None:
    assert pose.action_coefficients(labels.complete_row({})) == {}


# --- pose -----------------------------------------------------------------------------------------------------------


def test_the_neck_blends_between_head_and_shoulders() -> None:
    at = canonical()
    share = pose.head_share(at)
    assert share[at[:, 1] > -0.6].min() == 1
    assert share[at[:, 1] < -2.0].max() == 0
    row = labels.complete_row({"yaw": 45, "pitch": -20, "roll": 20})
    turned, triangles = pose.posed(at, share, row), load_head().part_triangles("skin")

    def lengths(points: FloatArray) -> FloatArray:
        edges: FloatArray = np.linalg.norm(points[triangles[:, 0]] - points[triangles[:, 1]], axis=1)
        return edges

    stretch = lengths(turned) / lengths(at)
    least, most = np.quantile(stretch, [0.001, 0.999])
    assert least > 0.4  # no candy wrapper
    assert most < 2.5
    skull = np.flatnonzero((share == 1)[: len(load_head().part)])
    np.testing.assert_allclose(
        np.linalg.norm(turned[skull] - turned[skull[0]], axis=1),
        np.linalg.norm(at[skull] - at[skull[0]], axis=1),
        atol=1e-4,
    )


# --- landmarks ------------------------------------------------------------------------------------------------------


def test_landmarks_of_the_average_head_are_mirror_images() -> None:
    points = landmarks(canonical())
    np.testing.assert_allclose(points[MIRROR] * [-1, 1, 1], points, atol=1e-5)
    assert sorted(MIRROR) == list(range(68))
    assert len({tuple(sorted(pair)) for pair in landmark_vertices().tolist()}) == 68
    assert set(load_head().part[np.unique(landmark_vertices())]) == {0}  # all on the skin


@pytest.mark.parametrize("index", range(12))
def test_landmarks_are_ordered_as_in_300w_on_everyone(index: int) -> None:
    row = person(index, age=8 + 6 * index)
    x, y, z = landmarks(shape.align(neutral(row), neutral(row))).T
    assert (np.diff(x[1:16]) > 0).all()  # jaw, from the image's left
    assert y[8] < y[:17].min() + 0.02
    assert (np.diff(x[17:27]) > 0).all()  # brows
    assert (np.diff(y[27:31]) < 0).all()  # down the bridge
    assert (np.diff(x[31:36]) > 0).all()  # nostrils
    assert z[30] == z[27:36].max()
    for corner in (36, 42):  # clockwise from the corner at the image's left
        assert x[corner] == x[corner : corner + 6].min()
        assert x[corner + 3] == x[corner : corner + 6].max()
        assert y[[corner + 1, corner + 2]].min() > y[[corner + 4, corner + 5]].max()
    assert (np.diff(x[48:55]) > 0).all()  # outer lips, upper side
    assert (np.diff(x[[54, 55, 56, 57, 58, 59, 48]]) < 0).all()
    assert (np.diff(x[60:65]) > 0).all()
    assert y[17:27].min() > y[36:48].max() > y[30] > y[33] > y[51] > y[57] > y[8]


def test_landmarks_follow_expression_and_pose() -> None:
    row = person(0, age=30)
    face = neutral(row)
    rest = landmarks(shape.align(face, face))
    smiling = landmarks(shape.align(pose.expressed(face, row | {"smile": 1.0}), face))
    assert (smiling[[48, 54], 1] > rest[[48, 54], 1] + 0.03).all()
    assert smiling[54, 0] - smiling[48, 0] > rest[54, 0] - rest[48, 0] + 0.05
    gaping = landmarks(shape.align(pose.expressed(face, row | {"mouth_open": 1.0}), face))
    assert gaping[62, 1] - gaping[66, 1] > 0.1
    turned = row | {"yaw": 30.0}
    aligned = shape.align(face, face)
    points = landmarks(pose.posed(aligned, np.ones(len(aligned), dtype=np.float32), turned))
    np.testing.assert_allclose(points, (rest - pose.HEAD_CENTER_DM) @ pose.rotation(30, 0, 0).T, atol=1e-4)
    assert points[30, 0] > rest[30, 0] + 0.3  # the nose to the image's right
    flat = landmarks(aligned[:, :2])
    np.testing.assert_array_equal(flat, rest[:, :2])
