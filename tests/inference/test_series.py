import gzip
import json
import tracemalloc
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tdafd_cli.cli import app
from tdafd_cli.errors import OutputError, VolumeError
from tdafd_cli.formats.files import open_scan, read_volume
from tdafd_cli.formats.folders import example_path
from tdafd_cli.formats.selection import Selection
from tdafd_cli.inference.files import upscale_file
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.sampling.degradation import degrade
from tdafd_cli.sampling.plan import Request
from tdafd_cli.weights.file import save_weights
from tdafd_cli.weights.store import load_weights

EXACT = InferenceSettings("cpu", "fp32", ensemble=1, consistency="none", threads=1)


@pytest.fixture
def weights(tiny_weights):
    return load_weights(str(tiny_weights))


def series(count=4, shape=(12, 10, 9), dtype=np.int16) -> np.ndarray:
    """Volumes of a textured ball, each brighter than the one before."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    ball = 400.0 * (sum(x**2 for x in axes) < 0.7)
    rng = np.random.default_rng(0)
    volumes = [(1 + t) * ball + rng.uniform(0, 60, shape) for t in range(count)]
    return np.stack(volumes, axis=-1).astype(dtype)


@pytest.fixture
def source(make_nifti, oblique_affine):
    def timed(header):
        header["pixdim"][4] = 2.5
        header["toffset"] = 0.5
        header.set_xyzt_units("mm", "sec")

    return make_nifti(series(), oblique_affine, name="bold.nii.gz", edit=timed)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".hdr", ".mgz"])
def test_time_and_place_are_kept(source, weights, tmp_path, suffix):
    target = tmp_path / f"high{suffix}"
    result = upscale_file(source, target, weights=weights, settings=EXACT)
    scan = open_scan(target)
    assert (scan.count, scan.shape) == (4, (24, 20, 18))
    assert scan.header["pixdim"][4] == 2.5
    assert scan.header.get_xyzt_units() == ("mm", "sec")
    np.testing.assert_allclose(scan.affine, result.high.affine, atol=1e-4)
    assert result.details.input_shape == (12, 10, 9, 4)
    assert result.details.output_shape == (24, 20, 18, 4)
    if suffix.startswith(".nii"):
        image = nibabel.load(target)
        assert image.header["toffset"] == 0.5
        assert image.shape == (24, 20, 18, 4)
        assert image.get_data_dtype() == np.int16


def test_volumes_with_a_range_of_their_own_are_as_if_alone(source, weights, tmp_path, make_nifti):
    target, alone = tmp_path / "high.nii", tmp_path / "alone.nii"
    options = {"weights": weights, "settings": EXACT, "dtype": "float32"}
    upscale_file(source, target, normalise="volume", **options)
    for number, volume in enumerate(open_scan(target).volumes()):
        upscale_file(
            source, alone, selection=Selection(volumes=str(number)), overwrite=True, **options
        )
        np.testing.assert_array_equal(volume.data, read_volume(alone).data)


def test_one_range_stands_for_the_series_unless_told_otherwise(source, weights, tmp_path):
    common, own = tmp_path / "common.nii", tmp_path / "own.nii"
    options = {"weights": weights, "settings": EXACT, "dtype": "float32"}
    upscale_file(source, common, **options)
    upscale_file(source, own, normalise="volume", **options)
    first, *_, last = zip(open_scan(common).volumes(), open_scan(own).volumes(), strict=True)
    assert not np.array_equal(first[0].data, first[1].data)
    # The last volume is nearly the whole range, and the first a quarter of it.
    apart = [np.abs(a.data - b.data).max() / np.ptp(b.data) for a, b in (first, last)]
    assert apart[1] < apart[0]


def test_some_volumes_are_taken_with_their_columns(source, weights, tmp_path):
    source.with_name("bold.bval").write_text("0 1000 2000 3000\n")
    source.with_name("bold.bvec").write_text("0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    source.with_name("bold.json").write_text('{"RepetitionTime": 2.5}')
    target = tmp_path / "high.nii.gz"
    options = {"weights": weights, "settings": EXACT}
    upscale_file(source, target, selection=Selection(volumes="1::2"), **options)
    assert open_scan(target).count == 2
    assert (tmp_path / "high.bval").read_text() == "1000 3000\n"
    assert (tmp_path / "high.bvec").read_text() == "1 0\n0 0\n0 1\n"
    assert json.loads((tmp_path / "high.json").read_text()) == {"RepetitionTime": 2.5}


def test_a_table_that_does_not_fit_is_told_before_anything_is_computed(source, weights, tmp_path):
    source.with_name("bold.bval").write_text("0 1000 2000\n")
    told = []
    with pytest.raises(VolumeError, match=r"bold\.bval: expected 4 columns, one for each volume"):
        upscale_file(
            source,
            tmp_path / "high.nii.gz",
            weights=weights,
            settings=EXACT,
            selection=Selection(volumes="0:2"),
            progress=lambda done, total: told.append(done),
        )
    assert told == []
    assert list(tmp_path.iterdir()) == []


def test_what_lies_beside_is_copied_untouched_and_never_over_what_exists(source, weights, tmp_path):
    odd = b"0  1000\t2000 3000"
    source.with_name("bold.bval").write_bytes(odd)
    target, copy = tmp_path / "high.nii", tmp_path / "high.bval"
    copy.write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"high\.bval: exists"):
        upscale_file(source, target, weights=weights, settings=EXACT)
    assert list(tmp_path.iterdir()) == [copy]
    assert copy.read_bytes() == b"precious"
    result = upscale_file(source, target, weights=weights, settings=EXACT, overwrite=True)
    assert copy.read_bytes() == odd
    assert result.details.sidecars == (str(copy),)


def test_a_result_beside_its_source_leaves_the_sidecars_alone(source, weights):
    beside = source.with_name("bold.bval")
    beside.write_bytes(b"0 1 2 3")
    result = upscale_file(source, source.with_name("bold.mgz"), weights=weights, settings=EXACT)
    assert beside.read_bytes() == b"0 1 2 3"
    assert result.details.sidecars == ()


def test_a_series_of_one_volume_is_a_volume(make_nifti, weights, tmp_path):
    source = make_nifti(series(1), name="one.nii")
    target = tmp_path / "high.nii"
    upscale_file(source, target, weights=weights, settings=EXACT)
    assert read_volume(target).shape == (24, 20, 18)
    assert nibabel.load(target).shape == (24, 20, 18)


@pytest.mark.slow
def test_volumes_are_not_made_consistent_where_the_first_is_not(make_nifti, tmp_path):
    head = read_volume(example_path()).data[8:72, 20:84, 20:84]
    high = torch.from_numpy(head.astype(np.float32))
    average, kspace = (degrade(high, 2, kind).numpy() for kind in ("average", "kspace"))
    options = {
        "weights": load_weights("tdafd-x2"),
        "settings": replace(EXACT, consistency="auto"),
        "normalise": "volume",
    }
    told = []
    for name, volumes in (("plain", [average, kspace]), ("kept", [kspace, kspace])):
        source = make_nifti(np.stack(volumes, axis=-1), 2 * np.eye(4))
        result = upscale_file(source, tmp_path / f"{name}.nii", **options)
        told.append(result.details.execution.consistency)
    assert told == ["none", "kspace"]
    plain, kept = (
        list(open_scan(tmp_path / f"{name}.nii").volumes())[1] for name in ("plain", "kept")
    )
    assert not np.array_equal(plain.data, kept.data)


def test_integers_do_not_wrap_round_and_scaled_ones_share_a_slope(make_nifti, weights, tmp_path):
    stored = series(3)
    source = make_nifti(stored, scaling=(0.5, -3.0))
    target = tmp_path / "high.nii"
    upscale_file(source, target, weights=weights, settings=EXACT)
    image = nibabel.load(target)
    assert (image.dataobj.slope, image.dataobj.inter) == (0.5, -3.0)
    low, high = open_scan(source), open_scan(target)
    for before, after in zip(low.volumes(), high.volumes(), strict=True):
        assert after.data.max() < before.data.max() + 0.2 * np.ptp(before.data)
        assert abs(after.data.mean() - before.data.mean()) < 0.1 * np.ptp(before.data)


def test_a_series_of_labels_keeps_to_them_and_says_so_once(make_nifti, weights, tmp_path):
    labels = np.zeros((20, 18, 17, 3), np.int16)
    labels[3:15, 4:11, 2:13], labels[6:12, 5:9, 4:8] = 41, 17
    target = tmp_path / "high.nii"
    result = upscale_file(make_nifti(labels), target, weights=weights, settings=EXACT)
    assert [finding.code for finding in result.details.warnings] == ["labels"]
    for volume in open_scan(target).volumes():
        assert set(np.unique(volume.data)) == {0, 17, 41}


def test_labels_that_were_asked_for_are_no_news(source, weights, tmp_path):
    target, settings = tmp_path / "high.nii", replace(EXACT, labels="yes")
    result = upscale_file(source, target, weights=weights, settings=settings)
    assert result.details.warnings == ()
    for low, high in zip(open_scan(source).volumes(), open_scan(target).volumes(), strict=True):
        np.testing.assert_array_equal(high.data[::2, 1::2, ::2], low.data)


def test_a_warning_is_told_once_with_its_volumes(make_nifti, weights, tmp_path):
    stored = series(3, shape=(20, 20, 20), dtype=np.float32)
    stored[10, 10, 10, 1] = 1e6
    result = upscale_file(
        make_nifti(stored, np.eye(4)), tmp_path / "high.nii", weights=weights, settings=EXACT
    )
    codes = [finding.code for finding in result.details.warnings]
    assert len(set(codes)) == len(codes)
    (defects,) = (finding for finding in result.details.warnings if finding.code == "defects")
    assert defects.figures["volumes"] == [1]
    assert defects.sentence.startswith("1 of 3 volumes, 1 first: 1 stray voxel found")


def test_a_bad_volume_is_named_before_anything_is_computed(make_nifti, weights, tmp_path):
    stored = series(3, dtype=np.float32)
    stored[0, 0, 0, 2] = np.nan
    told = []
    with pytest.raises(VolumeError, match=r"volume\.nii, volume 2: 1 of 1080 voxels are NaN"):
        upscale_file(
            make_nifti(stored),
            tmp_path / "high.nii",
            weights=weights,
            settings=EXACT,
            progress=lambda done, total: told.append(done),
        )
    assert told == []
    assert list(tmp_path.iterdir()) == []


def test_a_series_cut_short_leaves_no_file(source, weights, tmp_path):
    source.write_bytes(gzip.compress(source.read_bytes()[:-99]))
    with pytest.raises(VolumeError, match=r"cut short, with \d+ of \d+ bytes"):
        upscale_file(source, tmp_path / "high.nii", weights=weights, settings=EXACT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".nii.gz", ".hdr", ".mgz"])
def test_an_interruption_between_volumes_leaves_no_file(source, weights, tmp_path, suffix):
    source.with_name("bold.bval").write_text("0 1 2 3")

    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upscale_file(
            source,
            tmp_path / f"high{suffix}",
            weights=weights,
            settings=EXACT,
            progress=interrupt,
        )
    assert list(tmp_path.iterdir()) == []


def test_progress_goes_over_all_volumes(source, weights, tmp_path):
    told = []
    upscale_file(
        source,
        tmp_path / "high.nii",
        weights=weights,
        settings=EXACT,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (4, 4)
    assert told == sorted(told)


def test_memory_does_not_grow_with_the_number_of_volumes(make_nifti, weights, tmp_path):
    labels = np.zeros((32, 32, 32, 40), np.uint8)
    labels[4:20, 4:20, 4:20] = 1
    source, settings = make_nifti(labels), replace(EXACT, labels="yes")
    peaks = []
    for name, volumes in (("few", "0:4"), ("many", ":")):
        tracemalloc.start()
        upscale_file(
            source,
            tmp_path / f"{name}.nii.gz",
            weights=weights,
            settings=settings,
            selection=Selection(volumes=volumes),
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_the_command_takes_volumes_and_a_range_for_each(source, tiny_weights, tmp_path):
    target = tmp_path / "high.nii.gz"
    words = ["upscale", source, target, "--weights", tiny_weights, "--device", "cpu"]
    words += ["--precision", "fp32", "--threads", 1, "--ensemble", 1]
    words += [
        "--volumes",
        "-2:",
        "--normalise",
        "volume",
        "--json",
        "--preview",
        tmp_path / "a.png",
    ]
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    told = json.loads(result.stdout)
    assert told["output_shape"] == [24, 20, 18, 2]
    assert (tmp_path / "a.png").is_file()
    wrong = [*words[:-6], "--volumes", "x"]
    result = CliRunner().invoke(app, [str(word) for word in wrong], catch_exceptions=False)
    assert result.exit_code == 2
    assert "--volumes" in result.stderr


def test_slices_of_a_series_are_made_thinner_to_a_spacing(make_nifti, tmp_path):
    config = TDAFDConfig(
        scale=3, channels=4, modules=2, attention_channels=2, token_channels=4, heads=1, axes=1
    )
    save_weights(tmp_path / "thick.safetensors", TDAFD(config), {})
    source = make_nifti(series(2, (12, 10, 9)), np.diag([1.0, 1.0, 3.3, 1.0]), name="fmri.nii")
    result = upscale_file(
        source,
        tmp_path / "high.nii",
        weights=load_weights(tmp_path / "thick.safetensors"),
        request=Request(spacing_mm=(1.0, 1.0, 1.0)),
        settings=InferenceSettings(device="cpu", precision="fp32", ensemble=1),
    )
    made = nibabel.load(tmp_path / "high.nii")
    assert made.shape == tuple(result.report["output_shape"]) == (12, 10, 30, 2)
    assert made.header.get_zooms()[:3] == pytest.approx((1, 1, 1))
    middles = [
        image.affine @ [*((np.array(image.shape[:3]) - 1) / 2), 1]
        for image in (made, nibabel.load(source))
    ]
    np.testing.assert_allclose(*middles, atol=1e-4)
    assert result.report["factors"] == [1, 1, 3]
