import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tdafd_cli.errors import OutputError
from tdafd_cli.inference.result import Result
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.upscaling import upscale_source
from tdafd_cli.weights.store import load_weights


@pytest.fixture
def source(make_nifti) -> Path:
    stored = np.random.default_rng(0).integers(0, 900, (9, 8, 7), dtype=np.int16)
    return make_nifti(stored, name="low.nii", scaling=(0.5, 3.0))


@pytest.fixture
def result(source, tiny_weights) -> Result:
    settings = InferenceSettings("cpu", "fp32", ensemble=1)
    return upscale_source(source, weights=load_weights(tiny_weights), settings=settings)


def test_image_is_that_of_the_saved_file(result, tmp_path):
    result.save(tmp_path / "high.nii.gz")
    saved, image = nib.load(tmp_path / "high.nii.gz"), result.image
    assert np.array_equal(image.get_fdata(), saved.get_fdata())
    assert np.array_equal(image.affine, saved.affine)
    assert image.header == saved.header
    assert (image.dataobj.slope, image.dataobj.inter) == (0.5, 3.0)


def test_report_is_made_of_what_json_has(result):
    report = result.report
    assert report == json.loads(json.dumps(report))
    assert report["input_shape"] == [9, 8, 7]
    assert report["trust"]["resolution"] == [1.0, 1.0, 1.0]


def test_saving_gives_a_report_of_its_own(result, source, tmp_path):
    target = tmp_path / "high.nii"
    saved = result.save(str(target))
    assert (result.report["target"], saved.report["target"]) == (None, str(target))
    seconds = saved.report["seconds"]
    assert seconds["write"] > result.report["seconds"]["write"] == 0
    steps = sum(seconds[name] for name in ("read", "network", "write"))
    assert seconds["total"] == pytest.approx(steps, abs=0.002)
    assert saved.high is result.high


def test_existing_files_are_replaced_only_when_asked(result, source, tmp_path):
    target = tmp_path / "high.nii"
    target.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        result.save(target)
    assert target.read_bytes() == b"precious"
    result.save(target, overwrite=True)
    assert nib.load(target).shape == (18, 16, 14)
    with pytest.raises(OutputError, match="is the input"):
        result.save(source, overwrite=True)
