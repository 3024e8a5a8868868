"""`gantrol presets`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Presets:
    """List every preset with what it reproduces, and every scale with what it costs.

    Example: gantrol presets
    """

    json: Path | None = None
    """Also write the list to this file."""


def run(options: Presets) -> None:
    from rich.table import Table

    from gantrol import __version__
    from gantrol.atomic import write_json
    from gantrol.cli.tables import print_table
    from gantrol.train.presets import PRESETS, SCALES

    presets = Table("preset", "reproduces", title="--preset", title_justify="left")
    for name, preset in PRESETS.items():
        presets.add_row(name, preset.reproduces)
    scales = Table("scale", "channels", "batch", "kimg", "for", title="--scale", title_justify="left")
    for name, scale in SCALES.items():
        channels = f"{scale.channel_base}, ≤ {scale.channel_max}"
        scales.add_row(name, channels, str(scale.batch), f"{scale.kimg:g}", scale.summary)
    if options.json is not None:
        data = {
            "gantrol_version": __version__,
            "presets": {name: {"reproduces": preset.reproduces} for name, preset in PRESETS.items()},
            "scales": {
                name: {"batch": scale.batch, "kimg": scale.kimg, "summary": scale.summary}
                for name, scale in SCALES.items()
            },
        }
        write_json(options.json, data)
    print_table(presets, is_folded=True)
    print_table(scales, is_folded=True)
