"""Fixtures that more than one test module needs."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from head_volumes import heads, repeat  # noqa: F401 (fixtures)
from hypothesis import settings
from mirror_site import make_site, mirror_server, site  # noqa: F401 (fixtures)
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.weights.file import save_weights

MakeNifti = Callable[..., Path]

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread for each worker, not all cores for each
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of programs that tests start

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
    torch.nn.init.normal_(network.condition[-1].weight, std=0.1)
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
