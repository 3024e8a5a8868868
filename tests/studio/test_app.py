"""The server: what it answers, what it refuses, and how long one step takes."""

from __future__ import annotations

import base64
import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gantrol.errors import ConfigError
from gantrol.model import Model
from gantrol.studio.engine import Engine
from gantrol.studio.explore import handlers, label, opening, pictures, png_bytes
from gantrol.studio.state import Shown, own_controls

pytest.importorskip("gradio")

from gantrol.studio.access import UPLOAD_BYTES
from gantrol.studio.app import TABS, address, build_app, serving

quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
pytestmark = quiet


class Answer:
    """Status, headers and body of one request."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(url: str, path: str = "/", body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    """One request with exactly this path, which no client tidies up first."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        kind = {} if data is None else {"Content-Type": "application/json"}
        connection.request("GET" if data is None else "POST", path, data, {**kind, **(headers or {})})
        return Answer(connection.getresponse())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def url(engine: Engine) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "")
        with serving(engine) as found:
            yield found


@pytest.fixture(scope="module")
def config(url: str) -> Any:
    return ask(url, "/config").json


def component(config: Any, elem_id: str) -> Any:
    (found,) = [entry for entry in config["components"] if entry["props"].get("elem_id") == elem_id]
    return found


def call(url: str, config: Any, name: str, data: Any) -> Any:
    """Calls a function of Explore, as its page does."""
    body = {"data": data, "fn_name": name, "session_hash": "s", "component_id": component(config, "explore")["id"]}
    return ask(url, "/gradio_api/component_server", body).json


# ----------------------------------------------------------------------------------------------------------------------
# The page


def test_the_page_has_its_tabs(config: Any) -> None:
    tabs = [entry["props"] for entry in config["components"] if entry["type"] == "tabitem"]
    named = {tab["elem_id"]: tab["label"] for tab in tabs if str(tab.get("elem_id")).startswith("tab-")}
    assert named == {f"tab-{module}": title for module, title in TABS.items()}
    assert not config["analytics_enabled"]
    assert config["title"] == "gantrol studio"


def test_the_page_loads_nothing_from_elsewhere(url: str) -> None:
    page = ask(url)
    assert page.status == 200
    text = page.body.decode()
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?(https?:)?//", text)
    assert not loaded
    assert not re.search(r"fonts\.(googleapis|gstatic)|cdnjs|jsdelivr|unpkg|google-analytics", text)
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    style = ask(url, "/theme.css").body.decode()
    assert not re.search(r"url\(\s*['\"]?(https?:)?//", style)


def test_what_explore_starts_with(config: Any, engine: Engine) -> None:
    value = component(config, "explore")["props"]["value"]
    assert value == json.loads(json.dumps(opening(engine)))
    assert [model["movable"] for model in value["models"]] == [True, False]
    assert label("runs/first/") == "first"
    assert label("faces") == "faces"


# ----------------------------------------------------------------------------------------------------------------------
# One step


def test_a_step_over_http(url: str, config: Any, engine: Engine, faces: Model) -> None:
    shown = Shown(model="faces", seed=4, controls={"age": 30.0}, rotate=10.0)
    answer = call(url, config, "draw", {"shown": shown.to_json()})
    ours, theirs = answer["pictures"]
    assert (ours["model"], theirs["model"]) == engine.names
    head, data = ours["src"].split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == png_bytes(shown.picture(faces))
    assert ours["command"] == shown.command("seed0004.png")
    assert Shown.from_json(ours["shown"]) == shown
    assert theirs["width"] == theirs["height"] == 16
    assert Shown.from_json(theirs["shown"]) == Shown(model="plain", seed=4, class_index=0)


def test_only_the_control_that_is_moved_changes(engine: Engine) -> None:
    def source(shown: Shown) -> str:
        (drawn,) = pictures(engine, {"shown": shown.to_json(), "models": ["faces"]})["pictures"]
        assert drawn["shown"]["controls"] == shown.to_json()["controls"]
        return str(drawn["src"])

    free = Shown(model="faces", seed=4)
    found = {"": source(free)}
    for name, control in own_controls(engine.model("faces")).items():
        found[name] = source(
            Shown(model="faces", seed=4, controls={name: 9 if control.kind == "seed" else control.high})
        )
    assert len(set(found.values())) == len(found)
    assert source(free) == found[""]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (None, "expected an object"),
        ({}, "no description"),
        ({"shown": {"model": "faces", "seed": -1}}, "seed '-1'"),
        ({"shown": {"model": "faces"}, "models": []}, "models"),
        ({"shown": {"model": "faces"}, "models": ["faces", "faces"]}, "models"),
        ({"shown": {"model": "faces"}, "models": ["nobody"]}, "no model 'nobody'"),
        ({"shown": {"model": "faces"}, "models": [{"a": 1}]}, "no model"),
        ({"shown": {"model": "faces", "controls": {"hair_color": "x.png"}}}, "hair_color"),
    ],
)
def test_nonsense_gets_one_line(url: str, config: Any, request_: Any, message: str) -> None:
    answer = call(url, config, "draw", request_)
    assert message in answer["error"]
    assert "\n" not in answer["error"]
    assert answer["again"] is False


def test_a_file_is_opened_for_a_model_that_is_here(url: str, config: Any) -> None:
    text = json.dumps(Shown(model="elsewhere", seed=5, controls={"age": 30.0}).to_json())
    assert call(url, config, "read", text)["shown"]["model"] == "faces"
    assert "JSON" in call(url, config, "read", "{")["error"]
    assert "expected the text" in call(url, config, "read", {"model": "faces"})["error"]


def test_busy_says_so_and_may_be_tried_again(plain: Model) -> None:
    with Engine({"plain": plain}, waiting=0) as small:
        draw, _ = handlers(small)
        answer = small.quick("plain", lambda model: draw({"shown": {"model": "plain"}}))
    assert answer["again"] is True
    assert "busy" in answer["error"]


def test_large_drafts_travel_as_jpeg(faces: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gantrol.studio.explore._DRAFT_FROM_PX", 16)
    with Engine({"faces": faces}) as one:
        request = {"shown": {"model": "faces"}, "draft": True}
        assert pictures(one, request)["pictures"][0]["src"].startswith("data:image/jpeg")
        exact = pictures(one, {**request, "draft": False})
        assert exact["pictures"][0]["src"].startswith("data:image/png")


def test_a_step_is_quick(engine: Engine) -> None:
    """The processor time of one step of the handler, which other work on the machine leaves alone."""
    request = {"shown": {"model": "faces", "seed": 1, "controls": {"age": 30.0}}, "models": ["faces"]}
    pictures(engine, request)
    times = []
    for _ in range(5):
        before = time.thread_time()
        pictures(engine, request)
        times.append(time.thread_time() - before)
    assert min(times) < 0.08


def test_a_slider_moves_while_slow_work_lasts(url: str, config: Any, engine: Engine) -> None:
    started, finish = threading.Event(), threading.Event()

    def work(model: Model) -> None:
        started.set()
        finish.wait(30)

    thread = threading.Thread(target=engine.slow, args=("faces", work), daemon=True)
    thread.start()
    try:
        assert started.wait(30)
        assert "pictures" in call(url, config, "draw", {"shown": {"model": "faces"}, "models": ["faces"]})
    finally:
        finish.set()
        thread.join(30)


# ----------------------------------------------------------------------------------------------------------------------
# What is refused


def test_nothing_outside_the_folder_can_be_read(url: str, engine: Engine, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    made = engine.new_file("ours.txt")
    made.write_text("ours")
    link = made.with_name("link.txt")
    link.symlink_to(secret)
    assert ask(url, f"/gradio_api/file={made}").body == b"ours"
    climbing = f"{engine.folder}/../{tmp_path.name}/secret.txt"
    tried = [
        str(secret),
        climbing,
        climbing.replace("..", "%2e%2e"),
        climbing.replace("../", "..%2f"),
        f"{made.parent}/../../../../../../../..{secret}",
        f"{engine.folder}/%2e%2e/%2e%2e/%2e%2e/%2e%2e{secret}",
        "/etc/passwd",
        "../../../../etc/passwd",
        str(Path(__file__).resolve()),
        str(Path("pyproject.toml").resolve()),
        "pyproject.toml",
        f"file://{secret}",
        str(link),
    ]
    for path in tried:
        for prefix in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/", "/assets/", "/svelte/"):
            answer = ask(url, prefix + path)
            assert answer.status >= 400 or answer.body not in (b"secret", secret.read_bytes()), prefix + path
            assert b"root:" not in answer.body
            assert b"gantrol" not in answer.body or answer.status >= 400 or answer.body.startswith(b"<!")


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://127.0.0.1:1/x",
        "/gradio_api/file=HTTPS://example.org/x",
        "/gradio_api/file=%68ttp://127.0.0.1:1/x",
        "/gradio_api//file=http://127.0.0.1:1/x",
        "/gradio_api/proxy=https://example.org",
        "/gradio_api/info",
        "/gradio_api/runs",
        "/monitoring",
        "/docs",
        "/openapi.json",
    ],
)
def test_doors_that_are_closed(url: str, path: str) -> None:
    assert ask(url, path).status in (403, 404, 405)


def test_pages_elsewhere_cannot_borrow_the_browser(url: str) -> None:
    """DNS rebinding: a name of somebody else's that points to this machine."""
    assert ask(url, headers={"Host": "evil.example:7860"}).status == 421
    assert ask(url, headers={"Host": f"localhost:{urlsplit(url).port}"}).status == 200


def test_uploads_are_limited(url: str) -> None:
    def upload(size: int) -> int:
        head = (
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        )
        body = head + bytes(size) + b"\r\n--x--\r\n"
        return ask(url, "/gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=x"}).status

    assert upload(1000) == 200
    assert upload(UPLOAD_BYTES + 1000) == 413


def test_uploads_stay_in_the_folder(url: str, engine: Engine) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="../../../b.png"\r\n\r\n'
    body = head + b"1234\r\n--x--\r\n"
    answer = ask(url, "/gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=x"})
    (path,) = answer.json
    assert Path(path).resolve().is_relative_to(engine.folder)
    assert Path(path).read_bytes() == b"1234"


def test_a_password_is_asked_for(engine: Engine, config: Any) -> None:
    with pytest.raises(ConfigError, match="--auth"):
        build_app(engine, host="0.0.0.0")
    with serving(engine, auth=("me", "secret")) as closed:
        assert ask(closed, "/config").status == 401
        body = {"data": {}, "fn_name": "draw", "session_hash": "s", "component_id": component(config, "explore")["id"]}
        assert ask(closed, "/gradio_api/component_server", body).status == 401
        assert ask(closed, f"/gradio_api/file={engine.new_file('x')}").status == 401
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert ask(closed, "/login", b"username=me&password=wrong", form).status == 400
        assert ask(closed, "/login", b"username=me&password=secret", form).status == 200


def test_a_taken_port_is_told(url: str, engine: Engine) -> None:
    port = urlsplit(url).port
    assert port is not None
    with pytest.raises(ConfigError, match=f"port {port}.*another --port"), serving(engine, port=port):
        pass
    with pytest.raises(ConfigError, match="another --port"), serving(engine, port=70000):
        pass
    assert address("::1", 80) == "http://[::1]:80"


# ----------------------------------------------------------------------------------------------------------------------
# The command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "--auth USER:PASSWORD"),
        (["--auth", "me"], "USER:PASSWORD"),
        (["nobody-here"], "no model 'nobody-here'"),
        (["faces", "faces"], "given twice"),
        (["--runs", "nowhere"], "no such folder"),
    ],
)
def test_the_command_refuses(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    from gantrol.cli import main

    with pytest.raises(SystemExit) as end:
        main(["studio", *arguments])
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
