"""Pages: well-formed, on their own, not to be broken into by names or values, within their size."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantrol import checkpoint
from gantrol.config import to_dict
from gantrol.errors import CheckpointError, ConfigError, DataError
from gantrol.report import comparison_page, report_page, write_report
from gantrol.report.config_section import preset_defaults
from gantrol.report.curves import MAX_POINTS, log_charts, thinned
from gantrol.report.embedded_pictures import embed
from gantrol.report.markup import data_block, duration, number, tag
from gantrol.report.run_record import read_run
from gantrol.report.samples_section import chosen
from gantrol.train.presets import DataShape, preset

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
VOID = {"img", "input", "meta", "br", "link"}


class Page(HTMLParser):
    """A parsed page; fails on elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._open: list[str] = []
        self._script = ""
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes)
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self._open.append(name)
        if name == "script":
            self._script = dict(attributes).get("id") or "code"
            self.scripts.setdefault(self._script, "")

    def handle_endtag(self, name: str) -> None:
        assert self._open.pop() == name

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts[self._script] += data
        elif not self._open or self._open[-1] != "style":
            self.text += data + " "

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == name]

    def data(self, name: str) -> Any:
        return json.loads(self.scripts[name])


def check_stands_alone(text: str) -> Page:
    """Nothing in the page is loaded from anywhere, and only its own script may run."""
    page = Page(text)
    for _name, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("src", "href", "action", "srcset", "data"):
            if attributes.get(key) is not None:
                assert re.match(r"data:image/(webp|jpeg);base64,|#", attributes[key] or ""), attributes
    assert not {"iframe", "object", "embed", "base", "form", "link"} & {name for name, _ in page.elements}
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text)
    assert sorted({a.get("type") for a in page.all("script")}, key=str) == [None, "application/json"]
    assert len([a for a in page.all("script") if "type" not in a]) == 1
    (policy,) = (a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.scripts["code"].encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [a["href"] for a in page.all("a")]
    assert {target[1:] for target in targets if target} <= set(ids)
    return page


MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run folder as a training would, without training."""

    def make(
        name: str = "run",
        *,
        ticks: int = 12,
        grids: int = 6,
        side_px: int = 128,
        pairs: bool = True,
        evaluations: int = 3,
        command: str = "gantrol train --preset stylegan3-t",
        **changes: Any,
    ) -> Path:
        folder = tmp_path / name
        (folder / "samples").mkdir(parents=True)
        config = preset("stylegan3-t", "tiny", DataShape(resolution_px=16))
        data = to_dict(replace(config, kimg=ticks * 1.0, data="faces.zip", **changes))
        around = {"format": "gantrol-run", "format_version": 1, "gantrol_version": "0.1.0", "command": command}
        (folder / "config.json").write_text(json.dumps({**around, "torch_version": "2", "machine": "test", **data}))
        lines = []
        for step in range(1, ticks + 1):
            tick = {"n_img": step * 1000, "kimg": step, "n_step": step, "elapsed_s": 60.5 * step, "img_per_s": 16.0}
            tick |= {"memory_gib": 1.5, "step_s": 50.0, "save_s": 1.0, "outside_share": 0.02, "augment/p": 0.1 * step}
            tick |= {"loss/g": 1 / step, "loss/d": 1.0, "penalty/r1": 0.1, "scores/real": 1.0, "something/new": step}
            tick |= {"control/age/same": 0.2, "control/age/different": 0.9, "control/age/loss": 0.5}
            lines.append(json.dumps(tick))
        (folder / "log.jsonl").write_text("\n".join(lines) + ("\n" if lines else ""))
        rng = np.random.default_rng(0)
        for index in range(grids):
            for kind in ("fakes", "pairs")[: 1 + pairs]:
                pixels = rng.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "samples" / f"{kind}_{index * 2000:09d}.png")
        if grids:
            Image.new("L", (side_px, side_px), 99).save(folder / "samples" / "reals.png")
        scores = [20.0, 10.0, 15.0, 12.0][:evaluations]
        text = ""
        for index, value in enumerate(scores):
            entry = {"value": value, "unit": "squared feature units", "name": "FD-x", "samples": 1000, "seed": 0}
            line = {"n_img": (index + 1) * 4000, "kimg": (index + 1) * 4, "seconds": 5.0, "metrics": {"fid": entry}}
            text += json.dumps(line) + "\n"
        if text:
            (folder / "metrics.jsonl").write_text(text)
            best = {"metric": "fid", "value": 10.0, "better": "lower", "n_img": 8000, "kimg": 8.0}
            (folder / "best.json").write_text(json.dumps(best))
            checkpoint.save(folder / "best.safetensors", {}, {"n_img": 8000})
        return folder

    return make


# ---------------------------------------------------------------------------------------------------------------------
# The page of a run


def test_a_run_on_one_page(make_run: MakeRun) -> None:
    folder = make_run()
    page = check_stands_alone(report_page(folder))
    for text in ("run", "complete", "stylegan3-t, tiny", "16 px RGB", "12 kimg", "12 min 6 s", "fid 10", "FD-x"):
        assert text in page.text, text
    frames = [a for a in page.all("img") if "data-n-img" in a]
    assert [a["data-n-img"] for a in frames] == [str(n) for n in range(0, 12000, 2000)] * 2  # fakes, then pairs
    assert [("hidden" in a) for a in frames] == ([True] * 5 + [False]) * 2
    assert all(a.get("alt") for a in page.all("img"))
    (slider,) = (a for a in page.all("input") if a.get("type") == "range")
    assert slider["aria-label"]
    assert slider["max"] == "5"
    copied = [a["data-copy"] for a in page.all("button") if "data-copy" in a]
    assert copied[0] == "gantrol train --preset stylegan3-t"
    assert f"gantrol generate {folder}/best.safetensors" in page.text
    assert "gantrol train --resume" in page.text


def test_every_number_of_the_log_is_drawn_once(make_run: MakeRun) -> None:
    page = Page(report_page(make_run()))
    charts = page.data("log-charts")
    figures = [a for a in page.all("figure") if a.get("data-source") == "log-charts"]
    assert [a["data-chart"] for a in figures] == [str(index) for index in range(len(charts))]
    assert sum(len(chart["lines"]) for chart in charts) == 14
    by_title = {chart["title"]: chart for chart in charts}
    assert [line["name"] for line in by_title["Generator and discriminator"]["lines"]] == ["g", "d"]
    assert [line["name"] for line in by_title["age"]["lines"]] == ["same", "different"]
    assert by_title["Penalties"]["log"] is True
    assert by_title["something/new"]["lines"][0]["y"] == list(range(1, 13))
    assert by_title["Rate"]["x"] == list(range(1, 13))
    assert set(log_charts(read_run(make_run("bare", ticks=1)))) == {
        "Losses", "Scores of the discriminator", "Control", "Augmentation", "Speed and memory", "Others"
    }  # fmt: skip


def test_metrics_have_their_best_marked(make_run: MakeRun) -> None:
    page = Page(report_page(make_run()))
    (chart,) = page.data("metric-charts")
    assert chart["x"] == [4, 8, 12]
    assert chart["marks"] == [{"x": 8.0, "y": 10.0, "label": "best"}]
    assert "lower is better" in chart["unit"]
    assert "10 at 8 kimg" in page.text
    assert "samples" in page.text
    assert "Nothing was measured" in Page(report_page(make_run("none", evaluations=0))).text


def test_what_differs_from_the_preset_is_marked(make_run: MakeRun) -> None:
    page = Page(report_page(make_run(batch=24, ema_half_life_kimg=7.0)))
    assert "Not as in the preset" in page.text
    changed = [a for a in page.all("tr") if a.get("class") == "changed"]
    assert len(changed) == 3  # with the length
    assert preset_defaults({"preset": "of the future"}) is None


def test_a_run_in_progress(make_run: MakeRun) -> None:
    folder = make_run(ticks=4)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"kimg": 16.0}))
    with open(folder / "log.jsonl", "a") as file:
        file.write('{"n_img": 50')  # being written
    page = check_stands_alone(report_page(folder))
    assert "4 of 16 kimg (25 %)" in page.text
    assert "log.jsonl: 1 of 5 lines cannot be read" in page.text
    assert f"gantrol train --resume {folder}" in page.text


def test_before_the_first_tick(make_run: MakeRun) -> None:
    page = check_stands_alone(report_page(make_run(ticks=0, grids=1, evaluations=0)))
    assert "no ticks yet" in page.text
    assert not [a for a in page.all("input") if a.get("type") == "range"]


def test_no_run_is_one_line(make_run: MakeRun, tmp_path: Path) -> None:
    empty = make_run("empty", ticks=0, grids=0, evaluations=0)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"format": "gantrol-model"}')
    for folder, match in (
        (empty, "no samples yet"),
        (tmp_path / "nothing", "holds no run"),
        (tmp_path / "broken", "cannot read"),
        (tmp_path / "model", "give the folder of a training"),
    ):
        with pytest.raises(CheckpointError, match=match) as caught:
            report_page(folder)
        assert "\n" not in str(caught.value)


def test_warnings_say_what_is_wrong(make_run: MakeRun) -> None:
    folder = make_run()
    with open(folder / "log.jsonl", "a") as file:
        file.write('{"n_img": 13000, "loss/g": NaN, "elapsed_s": 1}\n')
    entry = {"value": None, "note": "too few samples", "name": "IS"}
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"n_img": 13000, "metrics": {"is": entry}}) + "\n")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "000013000.safetensors").write_bytes(b"cut")
    (folder / "best.safetensors").unlink()
    (folder / "samples" / "fakes_000002000.png").write_bytes(b"cut")
    page = check_stands_alone(report_page(folder))
    for text in (
        "loss/g is not finite at 13 kimg",
        "000013000.safetensors is damaged",
        "best.safetensors has gone",
        "is was not measured: too few samples",
        "fakes_000002000.png",
    ):
        assert text in page.text
    assert None in page.data("log-charts")[0]["lines"][0]["y"]
    assert "Warnings" not in Page(report_page(make_run("whole"))).text


def test_findings_of_health_are_shown_with_their_time(make_run: MakeRun) -> None:
    folder = make_run()
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for place, findings in {2: ["mode-collapse"], 3: ["bad-gradients", "mode-collapse"], 7: ["mode-collapse"]}.items():
        lines[place]["health"] = findings
    lines[9]["health"] = HOSTILE  # not a list: nothing is said
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_run(folder).warnings == [
        "mode collapse: from 3 to 4 kimg",
        "bad gradients: from 4 to 4 kimg",
        "mode collapse: from 8 to 8 kimg",
    ]
    assert "mode collapse: from 3 to 4 kimg" in check_stands_alone(report_page(folder)).text


def test_names_and_values_cannot_break_in(make_run: MakeRun) -> None:
    name = HOSTILE.replace("/", "∕")
    folder = make_run(name, command=f"gantrol train --out {HOSTILE}")
    config = json.loads((folder / "config.json").read_text())
    config |= {"data": HOSTILE, "machine": HOSTILE, HOSTILE: HOSTILE, "preset": HOSTILE}
    (folder / "config.json").write_text(json.dumps(config))
    entry = {"value": 1.0, "name": HOSTILE, "unit": HOSTILE, "note": HOSTILE, HOSTILE: HOSTILE}
    with open(folder / "log.jsonl", "a") as file:
        file.write(json.dumps({"n_img": 13000, f"loss/{HOSTILE}": 1.0, "elapsed_s": 1}) + "\n")
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"n_img": 13000, "metrics": {HOSTILE: entry}}) + "\n")
    text = report_page(folder)
    page = check_stands_alone(text)
    assert text.count("<script") == 3
    assert "alert(1)" in page.text
    assert HOSTILE in json.dumps(page.data("log-charts"), ensure_ascii=False).replace('\\"', '"')
    assert name in page.text


def test_the_size_is_kept(make_run: MakeRun) -> None:
    folder = make_run(grids=26, side_px=200, pairs=False)  # noise, which no format makes small
    whole = report_page(folder)
    assert len(whole.encode()) <= 8 * 2**20
    assert len({a["data-n-img"] for a in Page(whole).all("img") if "data-n-img" in a}) == 24
    small = report_page(folder, max_bytes=2**19)
    assert len(small.encode()) <= 2**19
    page = check_stands_alone(small)
    assert page.all("img")
    assert len(report_page(folder, moments=2).encode()) < len(whole.encode())
    with pytest.raises(ConfigError, match="too small"):
        report_page(folder, max_bytes=1000)
    with pytest.raises(ConfigError, match="at least one"):
        report_page(folder, moments=0)


def test_writing_it(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run()
    assert write_report(folder) == folder / "report.html"
    path = write_report(folder, tmp_path / "deep" / "page.html")
    assert path.read_text() == (folder / "report.html").read_text()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        write_report(folder, tmp_path / "file" / "page.html")


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_script_is_javascript() -> None:
    script = Path(__file__).parents[2] / "src" / "gantrol" / "report" / "assets" / "page.js"
    assert subprocess.run(["node", "--check", str(script)], capture_output=True, timeout=60).returncode == 0


# ---------------------------------------------------------------------------------------------------------------------
# Its parts


def test_markup_escapes() -> None:
    assert tag("p", {"title": '"<'}, "<b>", tag("i", None, 3), None, ["&"]) == (
        '<p title="&quot;&lt;">&lt;b&gt;<i>3</i>&amp;</p>'
    )
    assert tag("img", {"hidden": True, "alt": None, "src": "x"}) == '<img hidden src="x">'
    block = data_block("d", {"a": [HOSTILE, float("nan"), "\u2028"], "b": Path("x")})
    assert block.count("<") == 2
    assert json.loads(block.split(">", 1)[1].rsplit("<", 1)[0]) == {"a": [HOSTILE, None, "\u2028"], "b": "x"}


def test_numbers_and_times_read_well() -> None:
    values = (1234567, 0.123456, 12345.6, None, float("nan"), 0)
    assert [number(value) for value in values] == ["1,234,567", "0.1235", "12,346", "–", "–", "0"]
    assert [duration(s) for s in (5, 65, 3258, 12000, 200000)] == [
        "5 s", "1 min 5 s", "54 min 18 s", "3 h 20 min", "2 d 7 h"
    ]  # fmt: skip


def test_long_logs_are_thinned() -> None:
    ticks = [{"n_img": 10 * i, "x": float(i), **({"y": 1.0} if i % 5 == 0 else {})} for i in range(1, 4001)]
    found = thinned(ticks)
    assert len(found) == MAX_POINTS
    assert found[-1]["n_img"] == 40000
    assert found[0]["x"] == 3.0
    assert {tick["y"] for tick in found} == {1.0}
    assert thinned(ticks[:3]) == ticks[:3]


def test_moments_are_spread() -> None:
    assert chosen(list(range(100)), 5) == [0, 25, 50, 74, 99]
    assert chosen([1, 2], 5) == [1, 2]
    assert chosen([1, 2, 3], 1) == [3]


def test_pictures_share_a_budget() -> None:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)) for _ in range(3)]
    for budget in (1_000_000, 500_000):
        found = embed(pictures, budget)
        assert len(found) == 3
        assert sum(len(picture.uri) for picture in found) <= budget
        assert found[0].width_px == 400
    assert embed(pictures, 100) == []
    assert embed([], 100) == []


# ---------------------------------------------------------------------------------------------------------------------
# Several models


def entry(value: float | None, **more: Any) -> dict[str, Any]:
    return {"value": value, "unit": "dB", "name": "EQ-T", "samples": 1000, "seed": 0, **more}


def test_models_are_compared() -> None:
    rows = [
        {"model": "a", "metrics": {"eqt": entry(50.0), "fid": entry(3.0, name="FID")}, "picture": None},
        {"model": "b", "metrics": {"eqt": entry(60.0), "fid": entry(4.0, name="FID", samples=10)},
         "picture": Image.new("RGB", (32, 32))},
        {"model": "c", "metrics": {"eqt": entry(None, note="why")}, "picture": Image.new("L", (64, 32))},
    ]  # fmt: skip
    page = check_stands_alone(comparison_page(rows))
    assert "60 ★" in page.text
    assert "3 ★" in page.text
    assert page.text.count("★") == 3  # two columns, and what it means
    assert "FID: samples is not the same for all models" in page.text
    assert [a["alt"] for a in page.all("img")] == ["Images of b", "Images of c"]
    assert page.data("rows")[2] == {"model": "c", "metrics": {"eqt": entry(None, note="why")}}
    alone = check_stands_alone(comparison_page(rows[:1]))
    assert "★" not in alone.text
    assert "a measured" in alone.text


def test_a_number_of_chance_has_no_best() -> None:
    rows = [{"model": m, "metrics": {"is_std": entry(v)}, "picture": None} for m, v in (("a", 1.0), ("b", 2.0))]
    assert "1 ★" not in Page(comparison_page(rows)).text


def test_a_comparison_cannot_be_broken_into() -> None:
    rows = [{"model": HOSTILE, "metrics": {HOSTILE: entry(1.0, name=HOSTILE, note=HOSTILE)}, "picture": None}] * 2
    text = comparison_page(rows)
    page = check_stands_alone(text)
    assert text.count("<script") == 2
    assert page.data("rows")[0]["model"] == HOSTILE
