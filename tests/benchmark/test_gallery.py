import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Header
from PIL import Image

from tdafd_cli.benchmark.gallery import MOST_VOLUMES, new_panels
from tdafd_cli.evaluation.case import Case, degraded, reference
from tdafd_cli.volumes.volume import Volume


@pytest.fixture
def case() -> Case:
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in (18, 16, 14)), indexing="ij")
    radius = np.sqrt(sum(x**2 for x in axes))
    data = ((np.cos(9 * radius) + 1.5) * (radius < 0.8)).astype(np.float32)
    header = Nifti1Header()
    header.set_data_shape(data.shape)
    header.set_sform(np.diag([1, 1.2, 1.5, 1]), code=1)
    return degraded(reference("a", Volume(data, header.get_best_affine(), header), 2), "average")


def renamed(case: Case, name: str) -> Case:
    return replace(case, reference=replace(case.reference, name=name))


def test_reference_and_low_come_before_a_cases_first_estimate_only(case):
    estimate = case.reference.high.numpy()
    first = new_panels(case, "mine", estimate, ())
    second = new_panels(case, "other", estimate, first)
    assert [panel.method for panel in first[::3]] == ["reference", "low", "mine"]
    assert [panel.method for panel in second] == ["other"] * 3
    assert [panel.plane for panel in second] == ["axial", "coronal", "sagittal"]


def test_of_each_degradation_the_first_volumes_are_shown(case):
    panels = []
    for kind in ("average", "kspace"):
        for name in "abcde":
            other = renamed(replace(case, degradation=kind), name)
            panels += new_panels(other, "mine", case.reference.high.numpy(), panels)
    shown = {(panel.degradation, panel.volume) for panel in panels}
    assert shown == {
        (kind, name) for kind in ("average", "kspace") for name in "abcde"[:MOST_VOLUMES]
    }


def test_without_an_error_its_picture_is_black(case):
    panel = new_panels(case, "mine", case.reference.high.numpy(), ())[-1]
    content = base64.b64decode(panel.error.partition(",")[2])
    assert not np.asarray(Image.open(io.BytesIO(content))).any()
