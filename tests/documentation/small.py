"""Commands of the documentation made small: the same command, with sizes that take a moment on one processor core.

Only numbers that say how much and how large are changed, and devices; what a command does stays as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Words = list[str]

PIXELS, IMAGES = 32, 24


def shrunk(command: str, words: Words) -> Words:
    """The arguments of `gantrol command` (without it) in small."""
    shrink = SMALLER.get(command)
    return shrink(list(words)) if shrink else list(words)


def shrunk_code(code: str) -> str:
    """A Python block with `samples=` and `steps=` of three digits and more brought down to 64, many seeds to 16."""
    return re.sub(r'"(\d+)-\d{4,}"', r'"\1-15"', re.sub(r"\b(samples|steps)=[1-9][\d_]{2,}", r"\1=64", code))


def put(words: Words, **options: str | None) -> Words:
    """Sets options (`seeds="0-3"` is --seeds 0-3), added where they are missing; None takes one away."""
    words = list(words)
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if option in words:
            place = words.index(option)
            del words[place : place + 2]
        if value is not None:
            words += [option, value]
    return words


def cap(words: Words, **most: int) -> Words:
    """Lowers the numbers of options that are given, where they are above a limit."""
    words = list(words)
    for name, limit in most.items():
        option = f"--{name.replace('_', '-')}"
        if option in words:
            place = words.index(option) + 1
            words[place] = str(min(int(words[place]), limit))
    return words


def _faces(words: Words) -> Words:
    words = cap(words, count=IMAGES, size=PIXELS, steps=3)
    return words if words[words.index("--out") + 1].endswith((".png", ".jpg")) else put(words, workers="1")


def _train(words: Words) -> Words:
    controlled, resumed = "--control" in words, "--resume" in words
    if resumed:
        return put(words, minutes=None, kimg="0.008", device="cpu")
    words = put(words, minutes=None, kimg="0.004", batch="4", device="cpu", devices=None, nodes=None)
    preset = words[words.index("--preset") + 1] if "--preset" in words else ""
    if "--init" not in words or "--scale" in words:
        words = put(words, scale="tiny")
    if "--metrics" in words:
        words = put(words, metrics_every="0.004")
    base = "generator.base" if controlled else "generator"
    more = ["workers=1", "tick_kimg=0.004", "evaluation.samples=8"]
    if preset.startswith(("stylegan", "ladder")) and "--init" not in words:
        more += [f"{base}.channel_max=8", "discriminator.channel_max=8"]
    given = {word.split("=")[0] for word in words if "=" in word and not word.startswith("-")}
    kept = [word for word in words if not word.startswith(("evaluation.samples=", "evaluation.every_kimg="))]
    return kept + [word for word in more if word.split("=")[0] not in given or word.startswith("evaluation.")]


def _predictors(words: Words) -> Words:
    words = put(words, epochs="1", minutes=None)
    # One epoch of a few portraits teaches nothing; what the bundled readers know lets the next commands do their work.
    is_portraits = words[words.index("--data") + 1] in ("faces.zip", "painted.zip", "pictures.zip")
    return words if "--init" in words or not is_portraits else put(words, init="portraits")


def _generate(words: Words) -> Words:
    words = put(words, device="cpu", devices=None)
    seeds = re.compile(r"(\d+)-(\d{3,})")  # hundreds and more of them
    return [seeds.sub(lambda found: f"{found[1]}-{int(found[1]) + 15}", word) for word in words]


def _evaluate(words: Words) -> Words:
    least = "60" if any("sticking" in word for word in words) else "20"
    return put(words, samples=least, batch="10", device="cpu", devices=None)


def _video(words: Words) -> Words:
    words = put(words, seconds=None, device="cpu", min_side="64")
    return put(words, frames="2" if "--kind" not in words else "4")


SMALLER: dict[str, Callable[[Words], Words]] = {
    "data faces": _faces,
    "data avatars": lambda words: cap(words, count=IMAGES, size=PIXELS),
    "data import": lambda words: put(cap(words, size=PIXELS, max=IMAGES), workers="1"),
    "train": _train,
    "control predictors": _predictors,
    "control fit": lambda words: put(words, samples="100", batch="50", steps="2", refine="1", hidden="8", device="cpu"),
    "control directions": lambda words: put(words, samples="64", least_fit="-9", device="cpu"),
    "generate": _generate,
    "video": _video,
    "mix": lambda words: put(words, device="cpu"),
    "project": lambda words: put(cap(words, tune=2), steps="2", starts="4", device="cpu"),
    "evaluate": _evaluate,
    "spectra": lambda words: put(words, samples="8", device="cpu"),
}
