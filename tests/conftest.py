"""Fixtures that more than one test module needs."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from tdafd_cli.model import TDAFD, TDAFDConfig
from tdafd_cli.weights import save_weights

MakeNifti = Callable[..., Path]

settings.register_profile("any machine", deadline=None)  # a busy one is slow, not wrong
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def oblique_affine() -> np.ndarray:
    """Anisotropic voxels of 0.5 x 0.8 x 3 mm, turned about all axes, left-handed."""
    a, b, c = 0.3, -0.5, 1.1
    turn_i = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    turn_j = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    turn_k = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(turn_i) @ turn_j @ turn_k @ np.diag([-0.5, 0.8, 3.0])
    affine[:3, 3] = [91.5, -126.25, -72.125]
    return affine


@pytest.fixture(scope="session")
def make_nifti(tmp_path_factory: pytest.TempPathFactory) -> MakeNifti:
    """Function that writes stored numbers to a new NIfTI file, with nibabel."""

    def make(
        stored: np.ndarray,
        affine: np.ndarray | None = None,
        *,
        name: str = "volume.nii",
        version: int = 1,
        endianness: str = "<",
        codes: tuple[int, int] = (1, 1),
        scaling: tuple[float, float] = (1.0, 0.0),
        edit: Callable[[Nifti1Header], object] = lambda header: None,
    ) -> Path:
        header = (Nifti1Header if version == 1 else Nifti2Header)(endianness=endianness)
        header.set_data_shape(stored.shape)
        header.set_data_dtype(stored.dtype)
        header.set_slope_inter(*scaling)
        affine = np.diag([1.0, 1.5, 2.0, 1.0]) if affine is None else affine
        header.set_qform(affine, code=codes[0])
        header.set_sform(affine, code=codes[1])
        edit(header)
        path = tmp_path_factory.mktemp("nifti") / name
        with path.open("wb") as file:
            header.write_to(file)
            file.write(stored.astype(header.get_data_dtype()).tobytes(order="F"))
        return path

    return make


@pytest.fixture
def tiny_network() -> TDAFD:
    """Small x2 network with random weights, none of them zero."""
    torch.manual_seed(0)
    config = TDAFDConfig(channels=4, modules=2, attention_channels=2, token_channels=4, heads=1)
    network = TDAFD(config)
    torch.nn.init.normal_(network.tail.weight, std=0.02)
    return network.eval()


@pytest.fixture
def tiny_weights(tiny_network: TDAFD, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File with the weights of ``tiny_network``."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, tiny_network, {})
    return path


@pytest.fixture
def users_folder() -> Iterator[Path]:
    """Folder of a user whom permissions bind, even where the tests run as root."""
    if os.name == "nt":
        pytest.skip("needs the permissions of POSIX")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        is_root = os.geteuid() == 0
        if is_root:  # the saved id leads back
            os.setresuid(65534, 65534, 0)
        try:
            yield folder
        finally:
            if is_root:
                os.setresuid(0, 0, 0)
            for path in folder.rglob("*"):
                path.chmod(0o777)


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

    def do_GET(self) -> None:  # noqa: N802 (the base class's name)
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
    """Function that makes a mirror serve bytes as the weights ``tdafd-x3``, which are not bundled."""

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
