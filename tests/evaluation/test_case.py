from dataclasses import replace

import numpy as np
import pytest

from tdafd_cli.errors import VolumeError
from tdafd_cli.evaluation.case import reference
from tdafd_cli.formats.files import read_volume


def test_volumes_too_small_are_refused(heads):
    data = np.random.default_rng(0).random((6, 9, 9), np.float32)
    volume = replace(read_volume(heads / "head0.nii.gz"), data=data, path=None)
    with pytest.raises(VolumeError, match="6 x 9 x 9 voxels are too few at x2"):
        reference("small", volume, 2)
