"""The package as it is imported: `import tdafd_cli as tdafd`."""

import ast
import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

import tdafd_cli as tdafd
from tdafd_cli.cli import app
from tdafd_cli.inference.settings import InferenceSettings

FAST = {"device": "cpu", "precision": "fp32", "threads": 1}
MEASURED = ("seconds", "peak_memory_bytes")  # differ from run to run


@pytest.fixture
def source(make_nifti) -> Path:
    stored = np.random.default_rng(0).integers(0, 900, (9, 8, 7), dtype=np.int16)
    return make_nifti(stored, name="low.nii", scaling=(0.5, -3.0), codes=(1, 2))


def test_importing_the_package_imports_nothing_slow():
    code = "import sys; before = set(sys.modules); import tdafd_cli; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = {name.split(".")[0] for name in ended.stdout.split()}
    assert "tdafd_cli" in names
    assert not names & {"torch", "nibabel", "numpy", "scipy", "typer", "requests", "pooch"}


def test_the_public_names_are_there_and_no_others():
    assert all(hasattr(tdafd, name) for name in tdafd.__all__)
    assert issubclass(tdafd.TdafdError, Exception)
    with pytest.raises(AttributeError, match="no attribute 'upscaled'"):
        tdafd.upscaled  # noqa: B018


def test_file_and_image_become_what_the_command_writes(source, tiny_weights, tmp_path, capsys):
    target = tmp_path / "command.nii"
    options = ["--weights", tiny_weights, "--device", "cpu", "--precision", "fp32", "--json"]
    words = ["upscale", source, target, *options, "--threads", "1"]
    told = json.loads(CliRunner().invoke(app, [str(word) for word in words]).stdout)
    capsys.readouterr()
    for number, given in enumerate((source, str(source), nib.load(source))):
        result = tdafd.upscale(given, scale=2, weights=tiny_weights, **FAST)
        saved = result.save(tmp_path / f"{number}.nii")
        assert (tmp_path / f"{number}.nii").read_bytes() == target.read_bytes()
        assert np.array_equal(result.image.get_fdata(), nib.load(target).get_fdata())
        report = saved.report | {"target": str(target)}
        assert list(report) == list(told)
        assert {k: v for k, v in report.items() if k not in MEASURED} == {
            k: v for k, v in told.items() if k not in MEASURED
        }
    assert capsys.readouterr() == ("", "")


def test_an_image_in_memory_keeps_its_family_and_header(tiny_weights):
    voxels = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)
    image = nib.Nifti2Image(voxels, np.diag([2.0, 2, 3, 1]))
    image.header["descrip"] = b"kept"
    result = tdafd.upscale(image, weights=tiny_weights, **FAST)
    assert type(result.image) is nib.Nifti2Image
    assert result.image.header["descrip"] == b"kept"
    assert result.report["source"] is None
    np.testing.assert_allclose(result.image.header.get_zooms(), (1, 1, 1.5))


def test_settings_are_those_of_the_library():
    parameters = inspect.signature(tdafd.upscale).parameters
    settings = vars(InferenceSettings())
    del settings["slice_share"]  # of the thickness and the scan
    for name, value in settings.items():
        assert parameters[name].default == value
    only_here = {"source", "weights", "dtype", "series", "part", "progress"}
    grid = {"scale", "spacing", "slice_axis", "slice_thickness"}
    assert parameters.keys() - grid - only_here == settings.keys()


def test_settings_reach_the_result(source, tiny_weights):
    seen = []
    options = {"overlap": 5, "batch_size": 2, "tile": 32, "ensemble": 4, "consistency": "average"}
    result = tdafd.upscale(
        source,
        weights=tiny_weights,
        dtype="float32",
        fallback=False,
        labels="no",
        progress=lambda done, total: seen.append((done, total)),
        **options,
        **FAST,
    )
    report = result.report
    assert [report[name] for name in ("overlap", "batch_size", "ensemble")] == [5, 2, 4]
    assert (report["consistency"], report["precision"]) == ("average", "fp32")
    assert result.image.get_data_dtype() == np.float32
    assert seen == [(1, 1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "tdafd-x9"}, "tdafd-x9: unknown weights"),
        ({"scale": 9}, "no weights for scale 9"),
        ({"device": "cuda:99"}, "cuda:99: "),
    ],
)
def test_errors_of_the_library_come_as_they_are(source, options, message):
    with pytest.raises(tdafd.TdafdError, match=message):
        tdafd.upscale(source, **options)


def test_a_source_that_cannot_be_read_is_an_error(tmp_path, tiny_weights):
    with pytest.raises(tdafd.TdafdError, match=r"none\.nii: no such file"):
        tdafd.upscale(tmp_path / "none.nii", weights=tiny_weights)
    with pytest.raises(tdafd.TdafdError, match="image: all 27 voxels are 0"):
        tdafd.upscale(nib.Nifti1Image(np.zeros((3, 3, 3)), np.eye(4)), weights=tiny_weights)


@pytest.mark.parametrize("wrong", [{"overlap": -1}, {"labels": "maybe"}, {"dtype": "complex64"}])
def test_settings_that_cannot_be_break_the_contract(source, tiny_weights, wrong):
    with pytest.raises(ValueError, match="must be"):
        tdafd.upscale(source, weights=tiny_weights, **wrong)


def test_the_readme_s_example_runs(source, tiny_weights, tmp_path, monkeypatch):
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    block = readme.partition("```python\n")[2].partition("```")[0]
    assert "tdafd.upscale(" in block
    shutil.copy(source, tmp_path / "scan.nii.gz")  # told by its content
    monkeypatch.chdir(tmp_path)
    exec(compile(ast.parse(block), "README.md", "exec"), {})
    assert nib.load("finer.nii.gz").shape == (18, 16, 14)


def test_the_magnitude_of_a_complex_file_is_upscaled(make_nifti, tiny_weights):
    real = np.random.default_rng(0).uniform(1, 9, (9, 8, 7)).astype(np.float32)
    path = make_nifti((real * (0.6 + 0.8j)).astype(np.complex64))
    with pytest.raises(tdafd.TdafdError, match="take the magnitude"):
        tdafd.upscale(path, weights=tiny_weights, **FAST)
    result = tdafd.upscale(path, weights=tiny_weights, part="magnitude", **FAST)
    np.testing.assert_allclose(result.low.data, real, rtol=1e-5)


def test_parts_are_of_files(tiny_weights):
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), np.eye(4))
    with pytest.raises(ValueError, match="chosen of files"):
        tdafd.upscale(image, weights=tiny_weights, part="real", **FAST)
