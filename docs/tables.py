"""The tables in these pages that repeat what the code says: attributes, config fields, presets, scales.

`python docs/tables.py` writes them anew between `<!-- table: NAME -->` and `<!-- end of table -->`; a test fails when
one is out of date. They are written into the pages, not made while the site is built, so that they can also be read
where the Markdown is shown as it is.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gantrol.data.card import associations, drawn
from gantrol.data.faces import ATTRIBUTES, sample_row
from gantrol.models import LadderConfig, StyleGAN2Config, StyleGAN2DiscriminatorConfig, StyleGAN3Config
from gantrol.train.augment import AdaConfig, AugmentConfig, DiffAugmentConfig
from gantrol.train.config import AdamConfig, LossConfig, TrainConfig
from gantrol.train.cotrain import CoTrainConfig
from gantrol.train.evaluation import EvaluationConfig
from gantrol.train.locality import LocalityConfig
from gantrol.train.presets import DISCRIMINATOR_PRESETS, PRESETS, SCALES

PAGES = Path(__file__).parent
_BLOCK = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; cells may hold any text."""
    lines = [list(head), ["---"] * len(list(head)), *map(list, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines)


def field_docs(cls: type) -> dict[str, tuple[str, str]]:
    """(type, docstring) of each field of a dataclass, read from its source."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, tuple[str, str]] = {}
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(node.target, ast.Name):
            text = ast.literal_eval(after.value)
            found[node.target.id] = (ast.unparse(node.annotation), " ".join(text.split()))
    return found


def config_fields(cls: type) -> str:
    """One row per field: name, type, default, meaning."""
    docs = field_docs(cls)
    rows = []
    for field in dataclasses.fields(cls):
        kind, text = docs[field.name]
        default = "" if field.default in (dataclasses.MISSING, "") else f"`{plain(field.default)}`"
        rows.append((f"`{field.name}`", kind.replace(" | None", " or null"), default, text))
    return markdown(("field", "type", "default", "meaning"), rows)


def plain(value: Any) -> str:
    """A value as it is written after `field=`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def attributes() -> str:
    """One row per attribute of the built-in portraits."""
    rows = []
    for attribute in ATTRIBUTES.values():
        if attribute.kind == "choice":
            values, default = ", ".join(attribute.choices), str(attribute.default)
        elif attribute.kind == "color":
            values, default = "r,g,b from 0 to 1", ",".join(f"{part:g}" for part in attribute.default)
        elif attribute.kind == "seed":
            values, default = "0 to 2³¹ − 1", str(attribute.default)
        else:
            values, default = f"{attribute.low:g} to {attribute.high:g}", f"{attribute.default:g}"
        unit = attribute.unit or {"scalar": "share", "choice": "name", "seed": "seed"}.get(attribute.kind, "")
        flips = "changes sign" if attribute.mirror == -1 else ""
        how = drawn(attribute.schema())
        rows.append((f"`{attribute.name}`", unit, values, default, attribute.help, how, flips))
    return markdown(("attribute", "unit", "values", "default", "meaning", "drawn", "in a mirrored image"), rows)


def goes_together() -> str:
    """The pairs of portrait attributes that are associated by more than chance."""
    rows = [sample_row(0, index) for index in range(5000)]
    schema = {name: attribute.schema() for name, attribute in ATTRIBUTES.items()}
    # what 5,000 rows just make out, below 0.06, a model cannot use
    pairs = [(f"`{a}`", f"`{b}`", f"{r:.2f}") for a, b, r in associations(rows, list(rows[0]), schema) if r >= 0.06]
    return markdown(("attribute", "with", "correlation"), pairs)


def presets() -> str:
    return markdown(("preset", "reproduces"), ((f"`{name}`", preset.reproduces) for name, preset in PRESETS.items()))


def discriminators() -> str:
    rows = ((f"`{name}`", preset.reproduces) for name, preset in DISCRIMINATOR_PRESETS.items())
    return markdown(("`--d`", "discriminator"), rows)


def scales() -> str:
    head = ("scale", "G channels", "D channels", "z, w", "StyleGAN3 layers", "margin px", "batch", "kimg", "for")
    rows = []
    for name, scale in SCALES.items():
        widths = [
            f"{base}, ≤ {most}"
            for base, most in (
                (scale.channel_base, scale.channel_max),
                (scale.d_channel_base, scale.d_channel_max),
            )
        ]
        sizes = map(str, (scale.latent_dim, scale.sg3_layers, scale.sg3_margin_px, scale.batch))
        rows.append((f"`{name}`", *widths, *sizes, f"{scale.kimg:g}", scale.summary))
    return markdown(head, rows)


def faults() -> str:
    """What `make faults` found when it was last run: one row per subject and kind of fault."""
    record = json.loads((PAGES / "results" / "faults.json").read_text(encoding="utf-8"))
    rows = [
        (row["subject"], row["fault"], str(row["injected"]), str(row["survived"]), str(row["images_lost"]))
        for row in record["rows"]
    ]
    most = max(row["images_lost"] for row in record["rows"])
    rows.append(
        ("**all**", f"{record['kills']} kills and others", str(record["faults"]), str(record["survived"]), str(most))
    )
    lost = "nothing" if record["survived"] == record["faults"] else "see faults.json"
    return markdown(("subject", "fault", "injected", "survived", "shown again"), rows) + f"\n\nLost: {lost}."


def fuzz() -> str:
    """What `make fuzz` has done so far: one row per reader, all recorded runs together, and the finds of the newest."""
    runs = json.loads((PAGES / "results" / "fuzz.json").read_text(encoding="utf-8"))
    sides = ("seconds", "read", "refused", "found", "newest")
    totals: dict[str, dict[str, float]] = {}
    for run in runs:
        for row in run["targets"]:
            sums = totals.setdefault(row["target"], dict.fromkeys(sides, 0))
            for name in ("seconds", "read", "refused"):
                sums[name] += row.get(name, 0)
            sums["found"] += len(row["found"])
            sums["newest"] = len(row["found"])
    totals["**all**"] = {name: sum(row[name] for row in totals.values()) for name in sides}
    rows = [
        (name, f"{row['seconds'] / 60:.1f}", *(f"{row[side]:,.0f}" for side in sides[1:]))
        for name, row in totals.items()
    ]
    head = ("reader", "minutes", "damaged and read", "refused in one line", "anything else", "of it in the newest run")
    return markdown(head, rows)


def soaks() -> str:
    """What an hour of training and an hour of twenty people at a studio did to memory."""
    results = PAGES.parent / "benchmarks" / "results"
    training, studio = (json.loads((results / f"{name}-soak.json").read_text()) for name in ("training", "studio"))
    rows = [
        (
            what,
            f"{minutes:.0f}",
            work,
            f"{record['memory_mib']['after_a_third']:.0f} → {record['memory_mib']['end']:.0f} MiB",
            f"{record['memory_mib']['slope_per_min']:+.2f} MiB/min",
        )
        for what, record, minutes, work in (
            (
                "training",
                training,
                training["minutes"],
                f"{training['ticks']} ticks, each with a checkpoint; {1000 * training['kimg']:.0f} images",
            ),
            (
                "studio",
                studio,
                studio["seconds"] / 60,
                f"{studio['steps']} steps, {studio['visits']} visits, {studio['tables']} mixing tables; "
                f"{studio['errors']} errors",
            ),
        )
    ]
    return markdown(("what", "minutes", "work", "memory", "slope"), rows)


def studio_load() -> str:
    """What `python -m benchmarks.studio_load` found when it was last run."""
    results = PAGES.parent / "benchmarks" / "results"
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("studio-*.json"))]
    head = (
        "users",
        "minutes",
        "load before",
        "steps",
        "median",
        "95 % below",
        "errors",
        "tables mixed",
        "memory",
        "slope",
    )
    rows = []
    for record in found:
        memory = record["memory_mib"]
        rows.append(
            (
                str(record["users"]),
                f"{record['seconds'] / 60:g}",
                f"{record['machine']['load_average_1min']:.1f}",
                str(record["steps"]),
                f"{record['step_median_s']:.2f} s",
                f"{record['step_p95_s']:.2f} s",
                str(record["errors"]),
                str(record["tables"]),
                f"{memory['after_a_third']:.0f} → {memory['end']:.0f} MiB",
                f"{memory['slope_per_min']:.1f} MiB/min",
            )
        )
    return markdown(head, rows)


TABLES: dict[str, Callable[[], str]] = {
    "fuzz": fuzz,
    "attributes": attributes,
    "associations": goes_together,
    "presets": presets,
    "faults": faults,
    "soaks": soaks,
    "studio-load": studio_load,
    "discriminators": discriminators,
    "scales": scales,
    "train-config": lambda: config_fields(TrainConfig),
    "loss-config": lambda: config_fields(LossConfig),
    "cotrain-config": lambda: config_fields(CoTrainConfig),
    "locality-config": lambda: config_fields(LocalityConfig),
    "evaluation-config": lambda: config_fields(EvaluationConfig),
    "augment-config": lambda: config_fields(AugmentConfig),
    "ada-config": lambda: config_fields(AdaConfig),
    "diffaugment-config": lambda: config_fields(DiffAugmentConfig),
    "adam-config": lambda: config_fields(AdamConfig),
    "ladder-config": lambda: config_fields(LadderConfig),
    "stylegan3-config": lambda: config_fields(StyleGAN3Config),
    "stylegan2-config": lambda: config_fields(StyleGAN2Config),
    "discriminator-config": lambda: config_fields(StyleGAN2DiscriminatorConfig),
}


def renew(text: str) -> str:
    """A page with its tables made anew."""
    return _BLOCK.sub(lambda match: f"{match[1]}\n{TABLES[match['name']]()}\n\n{match[3]}", text)


if __name__ == "__main__":
    for page in sorted(PAGES.glob("*.md")):
        old = page.read_text(encoding="utf-8")
        new = renew(old)
        if new != old:
            page.write_text(new, encoding="utf-8")
            print(f"{page.name}: tables renewed")
