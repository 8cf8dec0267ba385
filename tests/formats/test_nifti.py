import gzip
import itertools
import os
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK
from drawn_volumes import SCALES, STORED, affines, outer_corners, random_stored, upscaled
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.nifti1 import Nifti1Extension

from tdafd_cli.errors import OutputError, VolumeError
from tdafd_cli.formats.files import OUTPUT_DTYPES, check_target, read_volume, write_volume
from tdafd_cli.volumes.grid import regridded, upscaled_affine
from tdafd_cli.volumes.volume import Volume

# Reading


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_every_type_is_read_exactly(make_nifti, dtype, endianness, version):
    stored = random_stored(dtype)
    volume = read_volume(make_nifti(stored, endianness=endianness, version=version))
    np.testing.assert_array_equal(volume.data, stored.astype(volume.data.dtype))
    assert volume.shape == stored.shape
    assert volume.stored_dtype == np.dtype(dtype)
    assert volume.data.dtype.isnative
    assert volume.data.flags.writeable
    is_fine = dtype in {"int8", "uint8", "int16", "uint16", "float32"}
    assert volume.data.dtype == (np.float32 if is_fine else np.float64)


@given(
    affine=affines(), slope=st.sampled_from([0.25, -3.5, 133.88]), intercept=st.floats(-1e4, 1e4)
)
@settings(max_examples=25)
def test_reading_agrees_with_nibabel(make_nifti, affine, slope, intercept):
    path = make_nifti(random_stored("int16"), affine, scaling=(slope, intercept))
    volume, reference = read_volume(path), nibabel.load(path)
    expected = reference.get_fdata()
    np.testing.assert_allclose(volume.data, expected, rtol=0, atol=abs(reference.dataobj.slope) / 4)
    np.testing.assert_array_equal(volume.affine, reference.affine)
    np.testing.assert_allclose(volume.voxel_size, reference.header.get_zooms(), rtol=1e-5)


def test_an_intercept_too_large_for_float32_is_read_in_float64(make_nifti):
    stored = random_stored("int16")
    volume = read_volume(make_nifti(stored, scaling=(0.5, 2.0**24)))
    np.testing.assert_array_equal(volume.data, stored * 0.5 + 2.0**24)


@pytest.mark.parametrize("name", ["volume.nii", "volume.nii.gz", "volume", "volume.nii.backup"])
@pytest.mark.parametrize("zipped", [False, True])
def test_the_content_decides_and_not_the_name(make_nifti, name, zipped):
    stored = random_stored("int16")
    path = make_nifti(stored, name=name)
    if zipped:
        path.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_volume(path).data, stored)


@pytest.mark.parametrize("shape", [(5, 4, 3, 1), (5, 4, 3, 1, 1), (5, 4, 1), (1, 1, 2)])
def test_thin_volumes_and_trailing_dimensions_of_one_are_volumes(make_nifti, shape):
    stored = random_stored("uint8", shape)
    volume = read_volume(str(make_nifti(stored)))
    np.testing.assert_array_equal(volume.data, stored.reshape(shape[:3]))


# Bad volumes


def fields(**values):
    """Edit of a header."""

    def edit(header):
        for name, value in values.items():
            header[name] = value

    return edit


SINGULAR = np.diag([1.0, 0.0, 1.0, 1.0])
PARALLEL = np.array([[1.0, 2, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
COLOUR = np.zeros((5, 4, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    ("stored", "edit", "message"),
    [
        (np.ones((5, 4)), None, r"3 dimensions, got shape \(5, 4\); stack the slices"),
        (np.ones((5,)), None, r"3 dimensions, got shape \(5,\)"),
        (np.ones((5, 4, 3, 6)), None, r"got shape \(5, 4, 3, 6\); split it into its 6 volumes"),
        (np.ones((5, 4, 3, 1, 3)), None, "split it into its 3 volumes, .*fslsplit"),
        (np.ones((5, 4, 0)), None, r"no voxels, as its shape is \(5, 4, 0\)"),
        (COLOUR, None, r"one number per voxel, got a colour \(RGB\)"),
        (np.ones((5, 4, 3), "complex64"), None, "real numbers, got complex64; .*magnitude"),
        (np.full((5, 4, 3), 7.5), None, "all 60 voxels are 7.5, so there is nothing to upscale"),
        (
            np.array([[[1, np.nan, np.inf]]]),
            None,
            "2 of 3 voxels are NaN or infinite; .*nan_to_num",
        ),
        (np.array([[[1, 1e300]]]), fields(scl_slope=1e30), "1 of 2 voxels are NaN or infinite"),
        (np.eye(4)[None], fields(pixdim=[1, 1, 0, 1, 0, 0, 0, 0]), "voxel size, got 1, 0, 1"),
        (
            np.eye(4)[None],
            fields(pixdim=[1, 1, np.nan, 1, 0, 0, 0, 0]),
            "voxel size, got 1, nan, 1",
        ),
        (np.eye(4)[None], lambda h: h.set_sform(SINGULAR), r"got the sform \[1, 0, 0, 0; 0, 0"),
        (np.eye(4)[None], lambda h: h.set_sform(PARALLEL), "invertible affine, got the sform"),
        (np.eye(4)[None], fields(srow_x=[1, 0, 0, np.inf]), "sform .*inf.*fslorient"),
        (np.eye(4)[None], fields(sform_code=0, qoffset_x=np.nan), "invertible .* qform .*nan"),
        (np.eye(4)[None], fields(sform_code=0, quatern_b=2), "unusable NIfTI header"),
    ],
)
def test_a_bad_volume_is_one_line_that_names_the_file(make_nifti, stored, edit, message):
    path = make_nifti(stored, **({} if edit is None else {"edit": edit}))
    with pytest.raises(VolumeError, match=message) as caught:
        read_volume(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(VolumeError, match=r"scan\.nii: no such file"):
        read_volume(tmp_path / "scan.nii")


def test_a_file_used_as_a_folder_is_an_error(make_nifti):
    with pytest.raises(VolumeError, match=r"cannot be read: Not a directory|no such file"):
        read_volume(make_nifti(random_stored("int16")) / "scan.nii")


def test_a_forbidden_file_is_an_error(users_folder):
    path = users_folder / "scan.nii"
    path.touch()
    path.chmod(0)
    with pytest.raises(VolumeError, match=r"scan\.nii: no permission to read it"):
        read_volume(path)


def test_a_folder_is_an_error(tmp_path):
    with pytest.raises(VolumeError, match="a folder without DICOM files; name one volume in it"):
        read_volume(tmp_path)


@pytest.mark.parametrize("content", [b"", gzip.compress(b"")])
def test_an_empty_file_is_an_error(tmp_path, content):
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(content)
    with pytest.raises(VolumeError, match=r"scan\.nii\.gz: empty file"):
        read_volume(path)


def test_another_format_in_gzip_is_named(tmp_path):
    path = tmp_path / "brain.mnc"
    path.write_bytes(gzip.compress(b"CDF\x01"))
    with pytest.raises(
        VolumeError, match=r"brain\.mnc: not a volume .* but a MINC volume; .*mnc2nii"
    ):
        read_volume(path)


@pytest.mark.parametrize("length", [3, 15, 100, 450, -9, -1])
def test_gzip_cut_anywhere_is_an_error(make_nifti, length):
    path = make_nifti(random_stored("int16", (9, 8, 7)), name="scan.nii.gz")
    path.write_bytes(gzip.compress(path.read_bytes())[:length])
    with pytest.raises(VolumeError, match="gzip data cut short or damaged; copy the file again"):
        read_volume(path)


def test_gzip_with_another_checksum_is_an_error(make_nifti):
    path = make_nifti(random_stored("int16"), name="scan.nii.gz")
    zipped = bytearray(gzip.compress(path.read_bytes()))
    zipped[-8] ^= 1
    path.write_bytes(zipped)
    with pytest.raises(VolumeError, match="damaged"):
        read_volume(path)


def test_gzip_damaged_inside_is_an_error(make_nifti):
    path = make_nifti(random_stored("int16", (9, 8, 7)), name="scan.nii.gz")
    zipped = bytearray(gzip.compress(path.read_bytes()))
    zipped[10] = 0xFF  # no such kind of block
    path.write_bytes(zipped)
    with pytest.raises(VolumeError, match="damaged"):
        read_volume(path)


def test_voxels_cut_short_are_counted(make_nifti):
    path = make_nifti(random_stored("int16"))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(VolumeError, match="113 of 120 bytes of voxels"):
        read_volume(path)


def test_a_shape_beyond_all_memory_is_an_error(make_nifti):
    path = make_nifti(np.ones((5, 4, 3)), edit=fields(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]))
    with pytest.raises(VolumeError, match=r"needs 5.63e\+05 GB of memory, and .* GB are free"):
        read_volume(path)


# Writing


@given(
    affine=affines(),
    dtype=st.sampled_from(STORED),
    endianness=st.sampled_from("<>"),
    version=st.sampled_from([1, 2]),
    codes=st.sampled_from([(1, 1), (0, 2), (3, 0), (2, 4)]),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
    scale=SCALES,
)
@settings(max_examples=60)
def test_a_volume_written_and_read_is_the_same(
    make_nifti, affine, dtype, endianness, version, codes, suffix, scale
):
    stored = random_stored(dtype, (3, 5, 2))
    source = make_nifti(stored, affine, endianness=endianness, version=version, codes=codes)
    volume = upscaled(read_volume(source), scale)
    target = source.with_name(f"result{suffix}")
    write_volume(target, volume)

    again = nibabel.load(target)
    header = again.header
    assert (header["qform_code"], header["sform_code"]) == codes
    assert header.endianness == endianness
    assert header.sizeof_hdr == {1: 348, 2: 540}[version]
    assert again.get_data_dtype() == np.dtype(dtype).newbyteorder(endianness)
    np.testing.assert_allclose(again.get_fdata(), volume.data, rtol=1e-15)
    for form in (again.affine, again.get_sform(), again.get_qform()):
        corners = outer_corners(form, volume.shape)
        np.testing.assert_allclose(corners, outer_corners(affine, stored.shape), atol=2e-3)
    np.testing.assert_allclose(header.get_zooms(), volume.voxel_size, rtol=1e-5)
    reread = read_volume(target)
    np.testing.assert_allclose(reread.data, volume.data, rtol=1e-15)
    np.testing.assert_allclose(reread.affine, volume.affine, atol=1e-4)


def test_simpleitk_sees_the_same_field_of_view(make_nifti, oblique_affine):
    source = make_nifti(random_stored("int16", (7, 5, 3)), oblique_affine)
    target = source.with_name("result.nii.gz")
    write_volume(target, upscaled(read_volume(source), 3))
    low, high = SimpleITK.ReadImage(str(source)), SimpleITK.ReadImage(str(target))
    assert high.GetSize() == (21, 15, 9)
    np.testing.assert_allclose(high.GetSpacing(), np.divide(low.GetSpacing(), 3), rtol=1e-5)
    for corner in itertools.product((0, 1), repeat=3):
        points = [
            image.TransformContinuousIndexToPhysicalPoint(
                np.multiply(corner, image.GetSize()) - 0.5
            )
            for image in (low, high)
        ]
        np.testing.assert_allclose(*points, atol=1e-4)


def test_without_any_form_the_field_of_view_stays_centred(make_nifti):
    source = make_nifti(random_stored("uint8"), np.diag([2.0, 3, 4, 1]), codes=(0, 0))
    volume = read_volume(source)
    target = source.with_name("result.nii")
    write_volume(target, upscaled(volume))
    again = nibabel.load(target)
    np.testing.assert_allclose(again.affine, upscaled_affine(volume.affine, 2))
    assert (again.header["qform_code"], again.header["sform_code"]) == (0, 0)


def test_description_units_and_extensions_reach_the_file(make_nifti):
    def edit(header):
        header.set_xyzt_units("micron", "msec")
        header["descrip"], header["cal_max"] = b"kept", 900
        header.extensions.append(Nifti1Extension("comment", b"kept too"))

    source = make_nifti(random_stored("int16"), edit=edit)
    target = source.with_name("result.nii.gz")
    write_volume(target, upscaled(read_volume(source)))
    header = nibabel.load(target).header
    assert header.get_xyzt_units() == ("micron", "msec")
    assert (header["descrip"], header["cal_max"]) == (b"kept", 900)
    assert [extension.get_content() for extension in header.extensions] == [b"kept too"]
    np.testing.assert_array_equal(read_volume(target).data[::2, ::2, ::2], read_volume(source).data)


def written(volume: Volume, **options):
    """What nibabel reads of a volume written: intensities and data proxy."""
    assert volume.path is not None
    target = volume.path.with_name("result.nii")
    write_volume(target, volume, overwrite=True, **options)
    image = nibabel.load(target)
    return image.get_fdata(), image.dataobj


def with_data(volume: Volume, data) -> Volume:
    return regridded(volume, np.array(data, dtype=np.float32).reshape(-1, 1, 1), volume.affine)


def test_unscaled_integers_are_rounded_and_clipped_and_never_wrap_round(make_nifti):
    volume = read_volume(make_nifti(random_stored("uint8")))
    data, stored = written(with_data(volume, [-3, 0.4, 0.6, 254.7, 300]))
    assert data.ravel().tolist() == [0, 0, 1, 255, 255]
    assert (stored.slope, stored.inter) == (1, 0)


@given(
    seed=st.integers(0, 99),
    slope=st.sampled_from([0.25, -0.5, 4.988766670227051, 133.88156127929688]),
    intercept=st.sampled_from([0.0, -17.5, 1000.0]),
    endianness=st.sampled_from("<>"),
)
@settings(max_examples=25)
def test_scaled_integers_keep_their_scaling_within_half_a_slope(
    make_nifti, seed, slope, intercept, endianness
):
    path = make_nifti(random_stored("int16"), scaling=(slope, intercept), endianness=endianness)
    rng = np.random.default_rng(seed)
    data = rng.uniform(-32_768, 32_767, 50) * slope + intercept
    again, stored = written(with_data(read_volume(path), data))
    assert (stored.slope, stored.inter) == (slope, intercept)
    np.testing.assert_allclose(again.ravel(), data, rtol=0, atol=0.51 * abs(slope))


def test_scaled_integers_that_would_be_cut_off_get_a_wider_scaling(make_nifti):
    volume = read_volume(make_nifti(random_stored("int16"), scaling=(0.25, 0)))
    again, stored = written(with_data(volume, [-9000, 0, 9000]))
    assert stored.slope == pytest.approx(18_000 / 65_535, rel=1e-3)
    np.testing.assert_allclose(again.ravel(), [-9000, 0, 9000], atol=stored.slope / 2)


def test_a_narrower_type_gets_a_scaling_that_spans_the_intensities(make_nifti):
    volume = read_volume(make_nifti(random_stored("int16")))
    again, stored = written(with_data(volume, np.linspace(-1000, 30_000, 99)), dtype="uint8")
    assert stored.dtype == np.uint8
    np.testing.assert_allclose(
        again.ravel(), np.linspace(-1000, 30_000, 99), atol=0.51 * stored.slope
    )


def test_fractions_survive_as_integers(make_nifti):
    volume = read_volume(make_nifti(random_stored("float32")))
    again, stored = written(with_data(volume, np.linspace(0, 1, 99)), dtype="int16")
    assert stored.dtype == np.int16
    np.testing.assert_allclose(again.ravel(), np.linspace(0, 1, 99), atol=0.51 / 65_535)


def test_a_wider_type_keeps_the_integers_as_they_are(make_nifti):
    path = make_nifti(random_stored("uint8"), scaling=(0.5, -3.0))
    volume = read_volume(path)
    _, stored = written(volume, dtype="int32")
    assert (stored.slope, stored.inter) == (0.5, -3)
    np.testing.assert_array_equal(stored.get_unscaled(), random_stored("uint8"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_hold_the_intensities_themselves(make_nifti, dtype):
    volume = read_volume(make_nifti(random_stored("int16"), scaling=(0.25, -17.5)))
    again, stored = written(volume, dtype=dtype)
    assert stored.dtype == dtype
    assert (stored.slope, stored.inter) == (1, 0)
    np.testing.assert_array_equal(again, volume.data)


@pytest.mark.parametrize("dtype", OUTPUT_DTYPES)
def test_every_output_type_can_be_asked_for(make_nifti, dtype):
    volume = read_volume(make_nifti(random_stored("int8"), endianness=">"))
    again, stored = written(volume, dtype=dtype)
    assert stored.dtype == ("int8" if dtype == "input" else np.dtype(dtype).newbyteorder(">"))
    np.testing.assert_allclose(again, volume.data, atol=stored.slope / 2)


def test_any_memory_order_writes_the_same(make_nifti):
    volume = read_volume(make_nifti(random_stored("int16", (9, 7, 40))))
    ordered = regridded(volume, np.ascontiguousarray(volume.data), volume.affine)
    np.testing.assert_array_equal(written(ordered)[0], written(volume)[0])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
def test_equal_volumes_make_equal_files_that_nibabel_reads(make_nifti, suffix):
    volume = read_volume(make_nifti(random_stored("int16")))
    targets = [volume.path.with_name(f"{name}{suffix}") for name in ("one", "two")]
    for target in targets:
        write_volume(target, volume)
    first, second = (target.read_bytes() for target in targets)
    assert first == second
    assert (first[:2] == b"\x1f\x8b") == suffix.lower().endswith(".gz")
    np.testing.assert_array_equal(nibabel.load(targets[0]).get_fdata(), volume.data)


# Refusals


@pytest.fixture
def volume(make_nifti) -> Volume:
    return read_volume(make_nifti(random_stored("int16")))


@pytest.mark.parametrize("name", ["result", "result.nii.bz2", "result.mnc", "nii"])
def test_an_unknown_suffix_is_refused(volume, tmp_path, name):
    with pytest.raises(OutputError, match=r"unknown kind of file; end its name in \.nii\.gz, "):
        check_target(tmp_path / name)
    with pytest.raises(OutputError, match="unknown kind of file"):
        write_volume(tmp_path / name, volume)
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_replaced_only_on_request(volume, tmp_path):
    target = tmp_path / "result.nii"
    target.write_bytes(b"precious")
    for refused in (check_target, lambda path: write_volume(path, volume)):
        with pytest.raises(OutputError, match="exists; choose another name, or add --overwrite"):
            refused(str(target))
    assert target.read_bytes() == b"precious"
    check_target(target, overwrite=True)
    write_volume(target, volume, overwrite=True)
    np.testing.assert_array_equal(read_volume(target).data, volume.data)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_the_input_is_never_replaced(volume, tmp_path, link):
    target = tmp_path / "link.nii"
    link(volume.path, target)
    content = volume.path.read_bytes()
    for path in (target, volume.path):
        with pytest.raises(OutputError, match="is the input, which is never replaced"):
            check_target(path, overwrite=True, source=volume.path)
        with pytest.raises(OutputError, match="is the input, which is never replaced"):
            write_volume(path, volume, overwrite=True)
    assert volume.path.read_bytes() == content


def test_a_missing_folder_is_refused(volume, tmp_path):
    with pytest.raises(OutputError, match="does not exist; create it first"):
        write_volume(tmp_path / "missing" / "result.nii", volume)


def test_what_is_no_type_or_no_number_is_the_callers_mistake(volume, tmp_path):
    target = tmp_path / "result.nii"
    with pytest.raises(ValueError, match=r"dtype must be one of input, uint8, .*'float16'"):
        write_volume(target, volume, dtype="float16")
    with pytest.raises(ValueError, match="finite"):
        write_volume(target, with_data(volume, [0, np.nan]))
    with pytest.raises(ValueError, match="differ in shape"):
        write_volume(target, replace(volume, data=np.zeros((2, 2, 2))))
    with pytest.raises(ValueError, match="3 dimensions"):
        regridded(volume, np.zeros((2, 2)), volume.affine)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_an_interruption_leaves_no_file(volume, tmp_path, monkeypatch, suffix):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_volume(tmp_path / f"result{suffix}", volume)
    assert not list(tmp_path.iterdir())
