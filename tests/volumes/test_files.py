import pytest

from tdafd_cli.errors import DataError
from tdafd_cli.volumes.files import volume_paths


def test_a_folder_without_volumes_is_told(tmp_path):
    with pytest.raises(DataError, match="not a folder"):
        volume_paths(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no \.nii"):
        volume_paths(tmp_path)
