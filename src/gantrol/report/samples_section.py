"""Samples over time: the same latents at up to two dozen moments of the training, moved through with a slider."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from gantrol.pictures import opaque
from gantrol.report.embedded_pictures import Embedded, embed
from gantrol.report.markup import Markup, tag
from gantrol.report.page import Section
from gantrol.report.run_record import RunRecord

MAX_MOMENTS = 24
"""Grids on the page."""
_DECODED_PIXELS = 300_000_000  # of all grids that are read: a page must not take minutes
_SHARES = {"fakes": 0.6, "pairs": 0.3, "reals": 0.1}  # of the budget


class Moment(NamedTuple):
    """A picture and when it was made."""

    n_img: int
    picture: Embedded


def samples_section(record: RunRecord, budget_bytes: int, moments: int = MAX_MOMENTS) -> Section:
    """The samples, beside real images, and the matrices of pairs of a controllable run."""
    lost: list[str] = []
    share = dict(_SHARES) if record.pairs else {"fakes": 0.85, "reals": 0.15}
    fakes = _read(record.fakes, round(budget_bytes * share["fakes"]), moments, lost)
    pairs = _read(record.pairs, round(budget_bytes * share["pairs"]), moments, lost) if record.pairs else []
    reals = _read({0: record.reals}, round(budget_bytes * share["reals"]), 1, lost) if record.reals else []
    if not fakes and not reals:
        return Section("samples", "Samples", tag("p", None, "There are no samples yet."))
    parts: list[Markup] = []
    times = sorted({moment.n_img for moment in (*fakes, *pairs)})
    if len(times) > 1:
        parts.append(_slider(times))
    pictures = [_frames("Generated", fakes, "the same latents each time")] if fakes else []
    if reals:
        pictures.append(_frames("Real", reals, "from the dataset, to compare with", is_timed=False))
    parts.append(tag("div", {"class": "pictures"}, pictures))
    if pairs:
        parts.append(tag("h3", None, "Pairs"))
        text = (
            "In each row, all images share one part of the latent and nothing else: only what it names should be alike."
        )
        parts.append(tag("p", {"class": "note"}, text))
        parts.append(tag("div", {"class": "pictures"}, _frames("Pairs of", pairs, "", is_headed=False)))
    if lost:
        parts.append(tag("p", {"class": "note"}, f"Not shown, because they cannot be read: {', '.join(lost)}."))
    return Section("samples", "Samples over time", parts)


def chosen(n_imgs: list[int], count: int) -> list[int]:
    """At most `count` moments, evenly spread, the first and the last among them."""
    if len(n_imgs) <= count:
        return n_imgs
    if count <= 1:
        return n_imgs[-1:]
    return [n_imgs[round(index * (len(n_imgs) - 1) / (count - 1))] for index in range(count)]


def _read(paths: dict[int, Path], budget_bytes: int, count: int, lost: list[str]) -> list[Moment]:
    """Pictures within a budget; fewer moments where even the smallest would not fit."""
    if not paths or budget_bytes <= 0:
        return []
    pixels = 1
    with suppress(OSError, Image.DecompressionBombError), Image.open(paths[max(paths)]) as newest:
        pixels = newest.width * newest.height
    count = max(1, min(count, _DECODED_PIXELS // pixels))
    read: dict[int, Image.Image] = {}
    for n_img in chosen(sorted(paths), count):
        try:
            with Image.open(paths[n_img]) as picture:
                read[n_img] = opaque(picture).convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError):
            lost.append(paths[n_img].name)
    while read:
        embedded = embed(list(read.values()), budget_bytes)
        if embedded:
            return [Moment(n_img, picture) for n_img, picture in zip(read, embedded, strict=True)]
        fewer = chosen(sorted(read), len(read) // 2)
        read = {n_img: read[n_img] for n_img in fewer} if len(read) > 1 else {}
    return []


def _slider(times: list[int]) -> Markup:
    last = len(times) - 1
    slider = tag(
        "input",
        {
            "type": "range",
            "id": "moment",
            "min": 0,
            "max": last,
            "value": last,
            "step": 1,
            "aria-label": "Moment of the training",
            "data-times": " ".join(map(str, times)),
        },
    )
    play = tag("button", {"type": "button", "id": "play", "aria-pressed": "false"}, "▶ Play")
    output = tag("output", {"id": "when", "for": "moment"}, f"{times[last] / 1000:g} kimg")
    return tag("p", {"class": "slider"}, play, slider, output)


def _frames(title: str, moments: list[Moment], note: str, *, is_timed: bool = True, is_headed: bool = True) -> Markup:
    """A figure in which one of several pictures is shown: the last one, until the slider is moved."""
    images = []
    for index, moment in enumerate(moments):
        picture = moment.picture
        images.append(
            tag(
                "img",
                {
                    "src": picture.uri,
                    "width": picture.width_px * picture.enlargement,
                    "height": picture.height_px * picture.enlargement,
                    "class": "pixels" if picture.enlargement > 1 else None,
                    "alt": f"{title} images" + (f" after {moment.n_img / 1000:g} kimg" if is_timed else ""),
                    "data-n-img": moment.n_img if is_timed else None,
                    "hidden": index < len(moments) - 1,
                },
            )
        )
    caption = tag("figcaption", None, tag("b", None, title), f" {note}" if note else None) if is_headed else None
    return tag("figure", {"class": "frames"}, caption, images)
