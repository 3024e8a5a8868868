"""The page: its tabs, its look, and the server around it.

What keeps it safe to leave open:

    who asks      the loopback interface alone, and only under its own name (a page elsewhere cannot borrow the browser:
                  `Host` is checked); any other address takes a password
    what comes    uploads up to `UPLOAD_BYTES`, at most `QUEUE` requests waiting
    what goes     files from `Engine.folder` and nowhere else; the server fetches nothing for anybody, and the page
                  loads nothing from anywhere else (`Content-Security-Policy`)
"""

from __future__ import annotations

import importlib
import os
import queue
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from gantrol.errors import ConfigError
from gantrol.studio.access import LOOPBACK, UPLOAD_BYTES, check_host, is_loopback
from gantrol.studio.engine import Engine
from gantrol.studio.guard import asset, gradio

TABS = {
    "explore": "Explore",
    "mix": "Mix",
    "inside": "Look inside",
    "control": "Control",
    "real": "Real picture",
    "runs": "Runs",
}
"""Module and title of each tab; the tab's element is `tab-MODULE`."""
QUEUE = 64
"""Requests that may wait, over all tabs."""
SESSIONS = 128
"""Pages that gradio remembers, 0.4 MiB each; whoever comes then replaces the one that was idle longest."""
KEEP_ALIVE_S = 75
"""How long an idle connection stays open. Longer than people hesitate: a request on one that closes is lost."""
KEPT_S = 3600
"""How long uploads and files made for download are kept."""

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-src 'none'; object-src 'none'; base-uri 'self'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
# Routes of gradio that make the server fetch, forward or record something, and those that describe it.
_CLOSED = re.compile(
    r"/(gradio_api/)?(file=\s*https?:|proxy=|process_recording|vibe|reload|runs|mcp|openapi|monitoring|info|deep_link)",
    re.IGNORECASE,
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def build_page(engine: Engine) -> Any:
    """The page as `gradio.Blocks`, with every tab."""
    gr = gradio()
    with gr.Blocks(
        title="gantrol studio", analytics_enabled=False, delete_cache=(600, KEPT_S), fill_width=True
    ) as page:
        gr.HTML(
            value=", ".join(engine.names),
            html_template='<div class="gs-title-bar"><h1>gantrol studio</h1><p title="${value}">${value}</p>'
            '<button type="button" class="gs-button" id="dark-mode" title="light or dark" '
            'aria-label="light or dark">◐</button></div>',
            js_on_load="element.querySelector('#dark-mode').addEventListener('click', "
            "() => document.body.classList.toggle('dark'));",
            apply_default_css=False,
            elem_id="title",
        )
        with gr.Tabs(elem_id="tabs"):
            for module, title in TABS.items():
                with gr.Tab(title, elem_id=f"tab-{module}", id=module):
                    importlib.import_module(f"gantrol.studio.{module}").build(engine)
    page.queue(max_size=QUEUE, default_concurrency_limit=4, api_open=False)
    page.state_session_capacity = SESSIONS
    return page


def build_app(
    engine: Engine, *, host: str = LOOPBACK, port: int = 7860, auth: tuple[str, str] | None = None
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The server's application (ASGI) around the page.

    Uploads and everything that gradio keeps go to `engine.folder`, by way of gradio's environment variable.

    Args:
        engine: the models.
        host: the address that it will listen on; anything but loopback takes `auth`.
        port: the port, which is part of the name that browsers ask for.
        auth: user and password.

    Raises:
        ConfigError: a network is to be served without a password.
        MissingExtraError: the extra `studio` is not installed.
    """
    check_host(host, auth)
    os.environ["GRADIO_TEMP_DIR"] = str(engine.folder / "gradio")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    gr = gradio()
    from fastapi import FastAPI

    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        build_page(engine),
        path="/",
        server_name=host,
        server_port=port,
        auth=auth,
        auth_message="gantrol studio",
        allowed_paths=[str(engine.folder)],
        max_file_size=UPLOAD_BYTES,
        show_error=False,
        ssr_mode=False,
        run_history=False,
        footer_links=[],
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=asset("studio.css"),
        head=f"<style>{asset('page.css')}</style>",
    )
    return Door(app, only_loopback=is_loopback(host))


def theme() -> Any:
    """A calm look: grey with one blue-green, the fonts of the system."""
    gr = gradio()
    system = ("ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif")
    mono = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_lg,
        font=system,
        font_mono=mono,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="#141514",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="#252725",
        block_background_fill="white",
        block_background_fill_dark="#1c1e1d",
        border_color_primary="*neutral_200",
        border_color_primary_dark="#3a3d3b",
        color_accent="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_text_color="white",
        button_secondary_background_fill="white",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="#252725",
        button_secondary_background_fill_hover_dark="#303330",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="#3a3d3b",
        button_border_width="1px",
        button_large_text_size="*text_md",
        button_large_text_weight="550",
        button_large_padding="*spacing_sm *spacing_lg",
        block_shadow="none",
    )


class Door:
    """Lets through what the studio is for, and puts a policy on every answer.

    Args:
        app: the application behind it.
        only_loopback: refuse requests under a name that is not this machine's own, as pages elsewhere make them after
            pointing their name here (DNS rebinding).
    """

    def __init__(self, app: Any, *, only_loopback: bool) -> None:
        self.app = app
        self._only_loopback = only_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection (ASGI)."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        if self._only_loopback and not is_loopback(_host(scope)):
            await _refuse(send, 421, b"this studio answers on this machine only")
            return
        if _CLOSED.match(scope["path"]):
            await _refuse(send, 404, b"not found")
            return

        async def with_policy(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        await self.app(scope, receive, with_policy)


def serve(
    engine: Engine,
    *,
    host: str = LOOPBACK,
    port: int = 7860,
    auth: tuple[str, str] | None = None,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serves the studio until it is interrupted.

    Args:
        engine: the models.
        host: the address to listen on.
        port: the port; 0 takes a free one.
        auth: user and password, needed where `host` is not loopback.
        ready: called with the address once the studio answers.

    Raises:
        ConfigError: the port is taken, the address is not this machine's, or a network has no password.
        MissingExtraError: the extra `studio` is not installed.
    """
    with _listening(host, port, auth) as listener:
        _server(engine, listener, host, auth, ready).run(sockets=[listener])


@contextmanager
def serving(
    engine: Engine, *, host: str = LOOPBACK, port: int = 0, auth: tuple[str, str] | None = None
) -> Iterator[str]:
    """Serves the studio from a thread while the block lasts, which gets the address; for notebooks and tests.

    Raises:
        ConfigError: as `serve`.
        MissingExtraError: as `serve`.
    """
    urls: queue.SimpleQueue[str] = queue.SimpleQueue()
    with _listening(host, port, auth) as listener:
        server = _server(engine, listener, host, auth, urls.put)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield urls.get(timeout=60)
        finally:
            server.should_exit = True
            thread.join(timeout=10)


def _server(
    engine: Engine,
    listener: socket.socket,
    host: str,
    auth: tuple[str, str] | None,
    ready: Callable[[str], None],
) -> Any:
    """A `uvicorn.Server` for the studio that says when it answers."""
    import uvicorn

    port = int(listener.getsockname()[1])
    app = build_app(engine, host=host, port=port, auth=auth)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            ready(address(host, port))

    return Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=2,
            timeout_keep_alive=KEEP_ALIVE_S,
            server_header=False,
            ws="none",
        )
    )


def address(host: str, port: int) -> str:
    """What to open in a browser."""
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"


def _listening(host: str, port: int, auth: tuple[str, str] | None) -> socket.socket:
    """The socket of a server that may be started: refused early, before the page is built."""
    check_host(host, auth)
    gradio()
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {getattr(error, 'strerror', None) or error}; choose another --port"
        ) from error
    return listener


def _host(scope: Scope) -> str:
    """The name that the browser asked for, without the port."""
    for name, value in scope["headers"]:
        if name == b"host":
            text = str(value.decode("latin-1"))
            return text.rsplit("]", 1)[0].lstrip("[") if text.startswith("[") else text.rsplit(":", 1)[0]
    return ""


async def _refuse(send: Send, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
