import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import tdafd_cli
from tdafd_cli.cli import app
from tdafd_cli.commands.options import (
    BackendName,
    ConsistencyName,
    LabelsName,
    OutputDtype,
    PassesName,
    Precision,
    preset,
)
from tdafd_cli.commands.upscale import upscale
from tdafd_cli.formats.files import OUTPUT_DTYPES, read_volume
from tdafd_cli.formats.folders import example_path
from tdafd_cli.inference.ensemble import PASSES
from tdafd_cli.inference.settings import BACKENDS, LABELS, InferenceSettings
from tdafd_cli.machine.precision_names import PRECISIONS
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.sampling.kinds import CONSISTENCIES
from tdafd_cli.weights.file import save_weights

REPOSITORY = Path(tdafd_cli.__file__).parent.parent
FAST = ("--device", "cpu", "--precision", "fp32")


@pytest.fixture
def source(make_nifti) -> Path:
    stored = np.random.default_rng(0).integers(0, 900, (9, 8, 7), dtype=np.int16)
    return make_nifti(stored, name="low.nii.gz")


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "high.nii.gz"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in arguments], catch_exceptions=False)


def run_upscale(source: Path, target: Path, weights: Path, *options: object) -> Result:
    return run("upscale", source, target, "--weights", weights, *FAST, *options)


def assert_failed(result: Result, *, message: str, left: Path) -> None:
    """One line on stderr, exit code 1, and no files."""
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(left.iterdir()) == []


def test_upscaled_file_is_written_and_told_in_one_line(source, target, tiny_weights):
    result = run_upscale(source, target, tiny_weights)
    assert result.exit_code == 0
    assert read_volume(target).shape == (18, 16, 14)
    assert result.stdout.startswith(f"{target}: 18 x 16 x 14 voxels of 0.5 x 0.75 x 1 mm by tiny")
    assert result.stdout.count("\n") == 1


def test_json_is_one_line_that_tells_everything(source, target, tiny_weights, tmp_path):
    preview = tmp_path / "preview.png"
    result = run_upscale(source, target, tiny_weights, "--json", "--preview", preview)
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    told = json.loads(result.stdout)
    assert told["source"] == str(source)
    assert told["target"] == str(target)
    assert told["preview"] == str(preview)
    assert told["input_shape"] == [9, 8, 7]
    assert told["output_shape"] == [18, 16, 14]
    assert told["input_voxel_size"] == [1.0, 1.5, 2.0]
    assert told["output_voxel_size"] == [0.5, 0.75, 1.0]
    assert (told["scale"], told["weights"], len(told["weights_sha256"])) == (2, "tiny", 64)
    assert (told["device"], told["precision"]) == ("cpu", "fp32")
    assert (told["tile"], told["tiles"], told["overlap"]) == ([16, 16, 16], 1, 48)
    assert (told["ensemble"], told["consistency"]) == (2, "none")
    assert (told["batch_size"], told["notes"]) == (1, [])
    assert set(told["seconds"]) == {"read", "network", "write", "total"}
    assert told["peak_memory_bytes"] > 10**7
    assert told["version"] == tdafd_cli.__version__


def test_an_ordinary_scan_is_upscaled_without_a_word_on_stderr(make_nifti, target, tiny_weights):
    head = read_volume(example_path()).data[24:56, 36:68, 36:68]
    result = run_upscale(make_nifti(head, 2 * np.eye(4)), target, tiny_weights)
    assert (result.exit_code, result.stderr) == (0, "")


def test_warnings_are_three_lines_at_most_and_all_of_them_in_json(source, target, tiny_weights):
    result = run_upscale(source, target, tiny_weights, "--json")
    warnings = json.loads(result.stdout)["warnings"]
    assert [each["code"] for each in warnings] == ["noise", "thick-slices", "small-field"]
    told = [f"warning: {each['sentence']}" for each in warnings[:3]]
    assert result.stderr.splitlines() == told


def test_a_label_map_keeps_to_its_labels(make_nifti, target, tiny_weights):
    labels = np.zeros((20, 18, 17), np.int16)
    labels[3:15, 4:11, 2:13], labels[6:12, 5:9, 4:8] = 41, 17
    path = make_nifti(labels, np.eye(4))
    result = run_upscale(path, target, tiny_weights)
    repeated = labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    assert np.array_equal(read_volume(target).data, repeated)
    assert result.stderr.startswith("warning: 3 values in regions, as in a mask or label map: ")
    assert "by interpolation alone in " in result.stdout
    run_upscale(path, target, tiny_weights, "--labels", "no", "--overwrite")
    assert not np.array_equal(read_volume(target).data, repeated)


def test_labels_that_were_asked_for_are_no_news(source, target, tiny_weights):
    result = run_upscale(source, target, tiny_weights, "--labels", "yes", "--json")
    assert (result.stderr, json.loads(result.stdout)["warnings"]) == ("", [])
    data = read_volume(source).data
    assert np.array_equal(read_volume(target).data[::2, 1::2, ::2], data)


def test_a_smooth_scan_is_interpolated_unless_told_otherwise(make_nifti, target, tiny_weights):
    edge = np.linspace(-1, 1, 24)
    radius = np.linalg.norm(np.meshgrid(edge, edge, edge), axis=0)
    path = make_nifti((1000 / (1 + np.exp(12 * (radius - 0.6)))).astype(np.float32), np.eye(4))
    result = run_upscale(path, target, tiny_weights)
    interpolated, fallback = result.stderr.splitlines()
    assert interpolated.startswith("warning: the scan holds about ")
    assert fallback.startswith("warning: 100% of the result is sinc interpolation")
    before = read_volume(target).data
    result = run_upscale(path, target, tiny_weights, "--no-fallback", "--overwrite")
    assert "sinc interpolation" not in result.stderr
    assert not np.array_equal(read_volume(target).data, before)


def test_quiet_prints_nothing(source, target, tiny_weights):
    result = run_upscale(source, target, tiny_weights, "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert target.exists()


def test_quiet_json_still_prints_its_line(source, target, tiny_weights):
    result = run_upscale(source, target, tiny_weights, "--quiet", "--json")
    assert json.loads(result.stdout)["target"] == str(target)


def test_options_reach_the_result(source, target, tiny_weights):
    options = ("--overlap", 5, "--batch-size", 2, "--threads", 1, "--dtype", "float32")
    options += ("--ensemble", 4, "--consistency", "average")
    result = run_upscale(source, target, tiny_weights, "--json", "--tile", 32, *options)
    told = json.loads(result.stdout)
    assert (told["overlap"], told["batch_size"]) == (5, 2)
    assert (told["ensemble"], told["consistency"]) == (4, "average")
    assert read_volume(target).stored_dtype == np.float32


def test_truncated_scan_is_said_to_be_kept(source, target, tiny_weights):
    options = ("--weights", tiny_weights, *FAST, "--consistency", "kspace", "--ensemble", "1")
    result = run("upscale", source, target, *options)
    assert result.exit_code == 0
    assert result.stdout.rstrip().endswith("(cpu, fp32, 1 pass, consistent with kspace)")


def test_fall_back_to_fp32_is_noted_on_stderr(source, target, tiny_network, tmp_path):
    torch.nn.init.normal_(tiny_network.tail.weight, std=100)  # far from anything trained
    wild = tmp_path / "wild.safetensors"
    save_weights(wild, tiny_network, {})
    arguments = ("upscale", source, target, "--weights", wild, "--device", "cpu")
    result = run(*arguments, "--precision", "bf16")
    assert result.exit_code == 0
    assert result.stderr.startswith("note: bf16 differed from fp32 by ")
    assert result.stdout.rstrip().endswith("(cpu, fp32, 2 passes)")


def test_scale_is_that_of_the_weights_unless_given(source, target, tiny_network, tmp_path):
    torch.manual_seed(0)
    config = type(tiny_network.config)(**{**tiny_network.config.to_dict(), "scale": 3})
    triple = tmp_path / "triple.safetensors"
    save_weights(triple, TDAFD(config), {})
    assert run_upscale(source, target, triple).exit_code == 0
    assert read_volume(target).shape == (27, 24, 21)
    result = run_upscale(source, target, triple, "--scale", 2, "--overwrite")
    assert result.exit_code == 1
    assert "made for scale 3, not 2" in result.stderr


def test_preview_is_drawn(source, target, tiny_weights, tmp_path):
    preview = tmp_path / "preview.png"
    assert run_upscale(source, target, tiny_weights, "--preview", preview).exit_code == 0
    with Image.open(preview) as picture:
        assert min(picture.size) > 300


def test_preview_shows_the_result_before_it_is_rounded(source, target, tiny_weights, tmp_path):
    pictures = []
    for dtype in ("float32", "uint8"):
        preview = tmp_path / f"{dtype}.png"
        options = ("--preview", preview, "--dtype", dtype, "--overwrite")
        assert run_upscale(source, target, tiny_weights, *options).exit_code == 0
        pictures.append(preview.read_bytes())
    assert pictures[0] == pictures[1]


def test_existing_files_are_replaced_only_when_asked(source, target, tiny_weights, tmp_path):
    preview = tmp_path / "preview.png"
    target.write_bytes(b"precious")
    result = run_upscale(source, target, tiny_weights)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: {target}: exists; choose another name, or add --overwrite\n"
    assert target.read_bytes() == b"precious"
    target.rename(preview)
    result = run_upscale(source, target, tiny_weights, "--preview", preview)
    assert result.exit_code == 1
    assert not target.exists()  # told before the work, not after
    both = run_upscale(source, target, tiny_weights, "--preview", preview, "--overwrite")
    assert both.exit_code == 0
    assert preview.read_bytes().startswith(b"\x89PNG")


def test_the_input_is_never_replaced(source, tiny_weights):
    before = source.read_bytes()
    result = run_upscale(source, source, tiny_weights, "--overwrite")
    assert result.exit_code == 1
    assert "is the input" in result.stderr
    assert source.read_bytes() == before


def test_input_that_is_no_volume_is_an_error(target, tiny_weights, make_nifti, tmp_path_factory):
    text = tmp_path_factory.mktemp("text") / "text.nii"
    text.write_text("no volume")
    result = run_upscale(text, target, tiny_weights)
    assert_failed(result, message="text.nii: not a volume of any format", left=target.parent)
    flat = make_nifti(np.ones((4, 4), np.int16))
    result = run_upscale(flat, target, tiny_weights)
    assert_failed(result, message="expected 3 dimensions", left=target.parent)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "tdafd-x9"], "tdafd-x9: unknown weights"),
        (["--weights", "net.pth"], "can run code"),
        (["--scale", "4"], "made for scale 2, not 4"),
        (["--device", "cuda:99"], "cuda:99: "),
    ],
)
def test_what_is_not_to_be_had_is_an_error(source, target, tiny_weights, options, message):
    result = run_upscale(source, target, tiny_weights, *options)
    assert_failed(result, message=message, left=target.parent)


def test_target_of_another_kind_is_an_error(source, tmp_path, tiny_weights):
    result = run_upscale(source, tmp_path / "high.mnc", tiny_weights)
    assert_failed(result, message="end its name in .nii.gz, ", left=tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        ["--scale", "1"],
        ["--scale", "5"],
        ["--tile", "large"],
        ["--tile", "0"],
        ["--tile", "16", "--overlap", "16"],
        ["--overlap", "-1"],
        ["--batch-size", "0"],
        ["--threads", "0"],
        ["--device", "tpu"],
        ["--device", "cuda:x"],
        ["--precision", "fp64"],
        ["--dtype", "complex64"],
        ["--preview", "picture.jpg"],
        ["--colour"],
    ],
)
def test_values_that_cannot_be_are_usage_errors(source, target, tiny_weights, options):
    result = run_upscale(source, target, tiny_weights, *options)
    assert result.exit_code == 2
    assert options[0] in result.stderr
    assert list(target.parent.iterdir()) == []


def test_fast_is_one_pass(source, target, tiny_weights):
    result = run_upscale(source, target, tiny_weights, "--fast", "--no-fallback", "--json")
    assert json.loads(result.stdout)["ensemble"] == 1


def test_presets_set_what_is_not_given():
    auto, exact = Precision.AUTO, Precision.FP32
    assert preset(False, False, PassesName.AUTO, auto) == (PassesName.AUTO, auto)
    assert preset(True, False, PassesName.AUTO, exact) == (PassesName.ONE, exact)
    assert preset(True, False, PassesName.FOUR, auto) == (PassesName.FOUR, auto)
    assert preset(False, True, PassesName.AUTO, auto) == (PassesName.EIGHT, exact)
    assert preset(False, True, PassesName.TWO, Precision.BF16) == (PassesName.TWO, Precision.BF16)


def test_presets_exclude_each_other(source, target):
    assert run("upscale", source, target, "--fast", "--best").exit_code == 2


def test_missing_input_is_told_in_one_line(tmp_path):
    result = run("upscale", tmp_path / "none.nii", tmp_path / "high.nii")
    assert_failed(result, message="none.nii: no such file; check the name", left=tmp_path)


def test_choices_are_those_of_the_library():
    assert tuple(name.value for name in LabelsName) == LABELS
    assert [choice.value for choice in Precision] == ["auto", *PRECISIONS]
    assert [choice.value for choice in BackendName] == list(BACKENDS)
    assert [choice.value for choice in OutputDtype] == list(OUTPUT_DTYPES)
    assert [choice.value for choice in ConsistencyName] == list(CONSISTENCIES)
    assert [choice.passes for choice in PassesName] == ["auto", *PASSES]


def test_defaults_are_those_of_the_library():
    assert upscale.__defaults__ is not None
    names = upscale.__code__.co_varnames[: upscale.__code__.co_argcount]
    defaults = dict(zip(names[-len(upscale.__defaults__) :], upscale.__defaults__, strict=True))
    library = InferenceSettings()
    for name in vars(library).keys() - {"slice_share"}:  # of the thickness and the scan
        assert defaults[name] == getattr(library, name)


def test_a_watching_person_sees_a_bar_of_tiles(source, target, tiny_weights):
    with started(source, target, "--weights", tiny_weights, *FAST) as (process, terminal):
        seen = read_until(terminal, b"1/1")
        assert process.wait(timeout=60) == 0
    assert b"Upscaling" in seen
    assert b"tiles" in seen


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_leaves_nothing_half_written(
    make_nifti, target, tiny_weights, tmp_path, number, code
):
    stored = np.random.default_rng(0).integers(0, 900, (120, 120, 120), dtype=np.int16)
    source, options = (
        make_nifti(stored),
        ("--weights", tiny_weights, *FAST, "--tile", 32, "--overlap", 8, "--no-fallback"),
    )
    with started(source, target, *options) as (process, terminal):
        read_until(terminal, b"1/")  # of many tiles
        process.send_signal(number)
        assert process.wait(timeout=60) == code
        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert list(tmp_path.iterdir()) == []


def test_reader_that_goes_away_causes_no_traceback(source, target, tiny_weights):
    with started(source, target, "--weights", tiny_weights, *FAST, "--json", "--quiet") as (
        process,
        terminal,
    ):
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=60) in (0, 1)
        os.set_blocking(terminal, False)
        with pytest.raises(BlockingIOError):  # nothing was printed
            os.read(terminal, 1)
    assert target.exists()


@contextmanager
def started(*arguments: object) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`tdafd upscale` as a process of its own, and the terminal that its stderr is."""
    pty = pytest.importorskip("pty")  # not on Windows
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tdafd_cli", "upscale", *map(str, arguments)]
    # A test run in the background ignores SIGINT, and so would its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=theirs
        ) as process:
            try:
                yield process, ours
            finally:
                process.kill()
    finally:
        signal.signal(signal.SIGINT, before)
        os.close(theirs)
        os.close(ours)


def read_until(terminal: int, wanted: bytes) -> bytes:
    seen, deadline = b"", time.monotonic() + 60
    while wanted not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 4096)
    return seen


@pytest.fixture(scope="module")
def thick_weights(tmp_path_factory) -> Path:
    config = TDAFDConfig(
        scale=3, channels=4, modules=2, attention_channels=2, token_channels=4, heads=1, axes=1
    )
    path = tmp_path_factory.mktemp("weights") / "thick.safetensors"
    save_weights(path, TDAFD(config), {})
    return path


@pytest.fixture
def thick(make_nifti, oblique_affine) -> Path:
    """Sagittal slices, 3.3 mm apart, of a field of view turned about all axes."""
    stored = np.random.default_rng(0).integers(300, 900, (8, 17, 16), dtype=np.int16)
    turn = oblique_affine[:3, :3] / np.linalg.norm(oblique_affine[:3, :3], axis=0)
    affine = oblique_affine.copy()
    affine[:3, :3] = turn * (3.3, 0.9, 0.9)
    return make_nifti(stored, affine, name="thick.nii")


def middle(path: Path) -> np.ndarray:
    image = nib.load(path)
    middle: np.ndarray = image.affine @ [*((np.array(image.shape) - 1) / 2), 1]
    return middle[:3]


@pytest.mark.parametrize(
    ("options", "shape", "size"),
    [
        (["--scale", "3x1x1"], (24, 17, 16), (1.1, 0.9, 0.9)),
        (["--scale", "3", "--slice-axis", "auto"], (24, 17, 16), (1.1, 0.9, 0.9)),
        (["--scale", "3", "--slice-axis", "k"], (8, 17, 48), (3.3, 0.9, 0.3)),
        (["--spacing", "1.1"], (24, 17, 16), (1.1, 0.9, 0.9)),
        (["--spacing", "1"], (26, 17, 16), (1.0, 0.9, 0.9)),
        (["--spacing", "1x0.9x0.45"], (26, 17, 32), (1.0, 0.9, 0.45)),
        ([], (24, 17, 16), (1.1, 0.9, 0.9)),
    ],
)
def test_slices_are_made_thinner_over_the_same_place(
    thick, target, thick_weights, options, shape, size
):
    result = run_upscale(thick, target, thick_weights, *options, "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    made = nib.load(target)
    assert made.shape == tuple(told["output_shape"]) == shape
    assert made.header.get_zooms() == pytest.approx(size, rel=1e-5)
    np.testing.assert_allclose(middle(target), middle(thick), atol=1e-4)
    steps = np.array(size) / np.array([3.3, 0.9, 0.9]) * told["factors"]
    assert told["resampling"] == pytest.approx(steps, abs=1e-5)
    assert sum("by resampling" in note for note in told["notes"]) == np.count_nonzero(
        np.abs(steps - 1) > 1e-3
    )


def test_missing_weights_for_slices_are_told_in_one_line(
    thick, target, tmp_path_factory, monkeypatch
):
    registry = tmp_path_factory.mktemp("empty") / "registry.toml"
    registry.touch()
    monkeypatch.setenv("TDAFD_REGISTRY", str(registry))
    message = "no weights for scale 3x1x1 (tdafd-thick-x3) come with this version"
    for options in (["--spacing", "1"], ["--scale", "3x1x1"]):
        result = run("upscale", thick, target, *options, *FAST)
        assert_failed(result, message=message, left=target.parent)


def test_slice_thickness_is_read_beside_the_scan_or_told(thick, target, thick_weights):
    options = ["--spacing", "1.1", "--json", "--overwrite"]
    sidecar = thick.with_name("thick.json")
    sidecar.write_text('{"SliceThickness": 2.64}')
    told = json.loads(run_upscale(thick, target, thick_weights, *options).stdout)
    assert "20% of the anatomy lies in gaps" in told["warnings"][0]["sentence"]
    options += ["--slice-thickness", "4"]
    told = json.loads(run_upscale(thick, target, thick_weights, *options).stdout)
    assert told["warnings"][0]["code"] == "slice-overlap"


def test_labels_reach_the_grid_that_was_asked_for(make_nifti, target, thick_weights):
    stored = np.zeros((10, 20, 20), np.int16)
    stored[2:8, 4:16, 5:14] = 7
    stored[4:6, 8:12, 8:12] = 3
    source = make_nifti(stored, np.diag([3.3, 0.9, 0.9, 1.0]), name="labels.nii.gz")
    result = run_upscale(source, target, thick_weights, "--spacing", "1")
    assert result.exit_code == 0, result.stderr
    made = np.asarray(nib.load(target).dataobj)
    assert made.shape == (33, 20, 20)
    assert set(np.unique(made)) == {0, 3, 7}
    nearest = np.ceil((np.arange(33) - 16) / 3.3 + 4.5 - 0.5 - 1e-9).astype(int)
    np.testing.assert_array_equal(made[:, 9, 9], stored[nearest, 9, 9])


@pytest.mark.parametrize(
    "options",
    [
        ["--scale", "1x2x4"],
        ["--scale", "1x1x7"],
        ["--scale", "1x1x1"],
        ["--scale", "2x2"],
        ["--scale", "6"],
        ["--spacing", "0"],
        ["--spacing", "1x2"],
        ["--spacing", "1", "--scale", "2"],
        ["--slice-axis", "K", "--scale", "1x1x4"],
        ["--slice-thickness", "0"],
        ["--slice-axis", "L", "--scale", "2"],
    ],
)
def test_grids_that_cannot_be_are_usage_errors(source, target, thick_weights, options):
    result = run_upscale(source, target, thick_weights, *options)
    assert result.exit_code == 2
    assert options[0] in result.stderr
    assert list(target.parent.iterdir()) == []


def test_spacing_no_finer_than_the_scan_is_refused(thick, target, thick_weights):
    result = run_upscale(thick, target, thick_weights, "--spacing", "4")
    assert_failed(result, message="no coarser than the 4 x 4 x 4 mm asked", left=target.parent)


def test_weights_for_all_axes_do_not_serve_slices(thick, target, tiny_weights):
    result = run_upscale(thick, target, tiny_weights, "--spacing", "1")
    assert_failed(result, message="made for scale 2, not 1x1x3", left=target.parent)


def test_preview_shows_thinner_slices(thick, target, thick_weights, tmp_path):
    picture = tmp_path / "preview.png"
    options = ["--spacing", "1", "--preview", picture]
    assert run_upscale(thick, target, thick_weights, *options).exit_code == 0
    assert picture.stat().st_size > 1000
