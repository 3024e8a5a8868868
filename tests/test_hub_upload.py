"""push_to_hub and load against a Hub of our own: the real client of huggingface_hub, talking to a local server."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

import gantrol
from gantrol.errors import CheckpointError
from gantrol.model import Model
from gantrol.models import StyleGAN3Config

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """The part of the Hub's API that uploading and fetching a small model needs; all repositories are of `user`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.tokens: set[str | None] = set()
        self.messages: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.tokens.add(self.headers.get("Authorization"))
        repository = "/".join(self.path.split("/")[3:5])
        if self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'user'}/{asked['name']}"
            if not name.startswith("user/"):
                self.answer({"error": "You don't have the rights to create a model under this namespace"}, status=403)
                return
            self.server.repositories.setdefault(name, {})
            self.server.private[name] = bool(asked.get("private") or asked.get("visibility") == "private")
            self.answer({"url": f"{self.server.address}/{name}", "name": name, "id": name})
        elif "/preupload/" in self.path:
            files = [{"path": each["path"], "uploadMode": "regular"} for each in json.loads(body)["files"]]
            self.answer({"files": [{**each, "shouldIgnore": False, "oid": None} for each in files]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.server.repositories[repository][line["value"]["path"]] = content
                elif line["key"] == "header":
                    self.server.messages.append(line["value"]["summary"])
            address = f"{self.server.address}/{repository}"
            self.answer({"success": True, "commitOid": COMMIT, "commitUrl": f"{address}/commit/{COMMIT}"})
        else:
            self.answer({"error": f"no {self.path}"}, status=404)

    def do_GET(self) -> None:
        if resolved := re.match(r"/([\w-]+/[\w-]+)/resolve/\w+/(.+)", self.path):
            content = self.server.repositories[resolved[1]].get(resolved[2])
            self.answer(content if content is not None else {"error": "no such file"}, 200 if content else 404)
            return
        repository = "/".join(self.path.split("?")[0].split("/")[3:5])
        files = self.server.repositories.get(repository)
        if files is None:
            self.answer({"error": "Repository not found"}, status=404)
        elif "/tree/" in self.path:
            self.answer([{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in files.items()])
        else:
            names = [{"rfilename": name} for name in files]
            self.answer({"_id": "1", "id": repository, "sha": COMMIT, "siblings": names, "tags": [], "private": False})

    do_HEAD = do_GET

    def answer(self, content: Any, status: int = 200) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", f'"{abs(hash(data)):x}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    server = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def model() -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes: dict[str, Any] = {"num_layers": 4, "channel_base": 256, "channel_max": 8, "z_dim": 8, "w_dim": 8}
        g = StyleGAN3Config(resolution_px=32, **sizes).build().eval().requires_grad_(False)
    return Model(g, training={"kimg": 12.5, "data": "faces.zip", "license": "apache-2.0"})


def test_a_pushed_model_is_loaded_by_its_name(
    hub: Hub, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = model.push_to_hub("user/name", private=True, token="hf_secret", message="First model")
    assert address == f"{hub.address}/user/name"
    assert hub.tokens == {"Bearer hf_secret"}
    assert (hub.private["user/name"], hub.messages) == (True, ["First model"])
    files = hub.repositories["user/name"]
    assert set(files) - {".gitattributes"} == {"README.md", "config.json", "generator.safetensors"}
    card = files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: gantrol\n")
    assert 'gantrol.load("user/name")' in card
    assert b"hf_secret" not in b"".join(files.values())

    again = gantrol.load("user/name", device="cpu")
    assert again.training["kimg"] == 12.5
    torch.testing.assert_close(again.generate([3], output="pt"), model.generate([3], output="pt"), rtol=0, atol=0)


def test_pushing_again_replaces_it(hub: Hub, model: Model) -> None:
    model.push_to_hub("user/name")
    hub.repositories["user/name"]["config.json"] = b"older"
    model.push_to_hub("user/name")
    assert json.loads(hub.repositories["user/name"]["config.json"])["format"] == "gantrol-model"


def test_refusals_are_one_line(hub: Hub, model: Model) -> None:
    with pytest.raises(CheckpointError, match=r"^cannot upload to other/name: [^\n]*; check the name[^\n]*$"):
        model.push_to_hub("other/name")
    with pytest.raises(CheckpointError, match=r"^user/absent: neither a local folder nor a model[^\n]*$"):
        gantrol.load("user/absent")
    hub.repositories["user/empty"] = {"README.md": b"# nothing"}
    with pytest.raises(CheckpointError, match=r"^user/empty on huggingface.co is not a gantrol model[^\n]*$"):
        gantrol.load("user/empty")
