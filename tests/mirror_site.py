"""Fixtures of weights on a mirror: a web server on 127.0.0.1 and a machine that knows of it."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import tomli_w

from tdafd_cli.weights.registry import Entry, read_registry


class MirrorServer(ThreadingHTTPServer):
    """Static web server on 127.0.0.1 whose next answers can be scripted."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _MirrorHandler)
        self.files: dict[str, bytes] = {}  # by path, from the root
        self.script: list[Callable[[_MirrorHandler, bytes], None]] = []
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are part of the tests."""


class _MirrorHandler(BaseHTTPRequestHandler):
    server: MirrorServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content = self.server.files.get(urlsplit(self.path).path)
        if self.server.script:
            self.server.script.pop(0)(self, content or b"")
        elif content is None:
            self.send_error(404)
        else:
            self.answer(content)

    def answer(self, content: bytes, *, length: int | None = None) -> None:
        """Send a body, and how long it says it is."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *values: object) -> None:
        """Log nothing."""


@pytest.fixture
def mirror_server() -> Iterator[MirrorServer]:
    """Web server that serves nothing yet."""
    server = MirrorServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class Site:
    """What a machine has that knows one set of weights: registry, empty cache, mirror."""

    entry: Entry
    content: bytes
    registry: Path
    cache: Path
    server: MirrorServer

    @property
    def cached(self) -> Path:
        return self.cache / self.entry.place

    @property
    def bundled(self) -> Path:
        return self.registry.with_name(self.entry.file)


@pytest.fixture
def make_site(
    tmp_path: Path, mirror_server: MirrorServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[[bytes], Site]:
    """Function that makes a mirror serve bytes as the weights ``tdafd-x3``, not bundled."""

    def make(content: bytes) -> Site:
        name = "tdafd-x3"
        about = {
            "version": "1.2",
            "scale": 3,
            "file": f"{name}.safetensors",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "licence": "CC0-1.0",
            "sources": [f"{name}/1.2/{name}.safetensors"],
            "scores": {"validation_gains_db": {"kspace": 1.5}},
        }
        registry, cache = tmp_path / "bundle" / "registry.toml", tmp_path / "cache"
        registry.parent.mkdir()
        registry.write_text(tomli_w.dumps({name: about}))
        monkeypatch.setenv("TDAFD_REGISTRY", str(registry))
        monkeypatch.setenv("TDAFD_CACHE", str(cache))
        monkeypatch.setenv("TDAFD_WEIGHTS_URL", mirror_server.url)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("TDAFD_OFFLINE", raising=False)
        entry = read_registry()[name]
        mirror_server.files[f"/{entry.place}"] = content
        return Site(entry, content, registry, cache, mirror_server)

    return make


@pytest.fixture
def site(make_site: Callable[[bytes], Site]) -> Site:
    """Site whose weights are mere bytes: enough to be fetched, not to be loaded."""
    return make_site(random.Random(0).randbytes(300_000))
