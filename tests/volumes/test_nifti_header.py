import io
import tracemalloc

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension, Nifti1Header
from nibabel.nifti2 import Nifti2Header

from tdafd_cli.errors import OutputError, VolumeError
from tdafd_cli.volumes.nifti_header import (
    read_header,
    regrid_header,
    slope_intercept,
    spatial_shape,
)

TWICE_AS_FINE = np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 0.5, -0.25], [0, 0, 0, 1]])


@pytest.fixture(params=[Nifti1Header, Nifti2Header], ids=["nifti1", "nifti2"])
def header(request, oblique_affine):
    header = request.param()
    header.set_data_shape((7, 5, 3))
    header.set_data_dtype(np.int16)
    header.set_qform(oblique_affine, code="scanner")
    header.set_sform(oblique_affine, code="scanner")
    return header


def reread(header):
    file = io.BytesIO()
    header.write_to(file)
    file.seek(0)
    return read_header(file)


def test_header_is_read_as_it_was_written(header):
    header.set_slope_inter(0.25, -17.5)
    header.extensions.append(Nifti1Extension("comment", b"kept"))
    again = reread(header)
    assert type(again) is type(header)
    assert again.binaryblock == header.binaryblock
    assert [extension.get_content() for extension in again.extensions] == [b"kept"]
    assert spatial_shape(again) == (7, 5, 3)
    assert slope_intercept(again) == (0.25, -17.5)


@pytest.mark.parametrize("size", [2**31 - 16, -(2**31), 0])
def test_an_extension_that_claims_too_much_is_refused_and_takes_no_memory(header, size):
    file = io.BytesIO()
    header["vox_offset"] = 2**31
    file.write(header.binaryblock + b"\x01\0\0\0" + np.array([size, 6], "<i4").tobytes() + b"text")
    file.seek(0)
    tracemalloc.start()
    with pytest.raises(VolumeError, match="failed to read extension"):
        read_header(file)
    assert tracemalloc.get_traced_memory()[1] < 1e7
    tracemalloc.stop()


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_a_slope_that_is_not_set_is_one(header, slope):
    header["scl_slope"], header["scl_inter"] = slope, 3
    assert slope_intercept(header) == (1, 0)


def test_what_nibabel_mends_is_neither_logged_nor_warned_of(header, caplog, capfd):
    header["pixdim"][0] = 0
    header["bitpix"] = 3
    header["sform_code"] = 77
    assert reread(header)["sform_code"] == 0
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_an_odd_length_of_an_extension_is_no_matter(header):
    file = io.BytesIO()
    header["vox_offset"] = header.single_vox_offset + 24
    file.write(header.binaryblock + b"\x01\0\0\0")
    file.write(np.array([24, 6], dtype="<i4").tobytes() + b"sixteen letters!")
    file.seek(0)
    assert read_header(file).extensions[0].get_content() == b"sixteen letters!"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"datatype": 1}, "data code 1 not supported"),
        ({"datatype": 999}, "data code 999 not recognized"),
        ({"vox_offset": 16}, "vox offset 16 too low"),
        ({"vox_offset": 0}, "voxels cannot start at byte 0"),
        ({"scl_slope": 2, "scl_inter": np.inf}, "invalid intercept inf"),
    ],
)
def test_a_damaged_header_is_told_in_one_line(header, values, message):
    header["vox_offset"] = header.single_vox_offset
    for name, value in values.items():
        header[name] = value
    with pytest.raises(VolumeError, match=rf"^unusable NIfTI header \(.*{message}.*\); repair it"):
        read_header(io.BytesIO(header.binaryblock + bytes(4)))


@pytest.mark.parametrize("length", [100, 347, 348, 351])
def test_a_header_cut_short_is_an_error(length):
    start = Nifti1Header().binaryblock + bytes(4)
    with pytest.raises(VolumeError):
        read_header(io.BytesIO(start[:length]))


@pytest.mark.parametrize("offset", [np.inf, np.nan, 1e30])
def test_an_absurd_offset_is_an_error(oblique_affine, offset):
    header = Nifti1Header()
    header.set_data_shape((2, 2, 2))
    header["vox_offset"] = offset
    with pytest.raises(VolumeError, match="unusable NIfTI header"):
        read_header(io.BytesIO(header.binaryblock + b"\x01\0\0\0" + bytes(64)))


def test_both_forms_are_moved_and_keep_their_codes(header, oblique_affine):
    header.set_qform(oblique_affine, code=2)
    header.set_sform(oblique_affine, code=4)
    finer = reread(regrid_header(header, (14, 10, 6), TWICE_AS_FINE))
    for affine, code, expected_code in (
        (*finer.get_qform(coded=True), 2),
        (*finer.get_sform(True), 4),
    ):
        np.testing.assert_allclose(affine, oblique_affine @ TWICE_AS_FINE, atol=1e-4)
        assert code == expected_code
    assert finer.get_data_shape() == (14, 10, 6)
    np.testing.assert_allclose(finer.get_zooms(), [0.25, 0.4, 1.5], rtol=1e-6)


def test_forms_in_two_worlds_are_moved_each_in_its_own(header, oblique_affine):
    template = np.array([[2.0, 0.3, 0, -90], [0, 2.5, 0, -126], [0, 0.1, 3, -72], [0, 0, 0, 1]])
    header.set_sform(template, code="mni")
    finer = reread(regrid_header(header, (14, 10, 6), TWICE_AS_FINE))
    np.testing.assert_allclose(finer.get_sform(), template @ TWICE_AS_FINE, atol=1e-4)
    np.testing.assert_allclose(finer.get_qform(), oblique_affine @ TWICE_AS_FINE, atol=1e-4)


@pytest.mark.parametrize("codes", [(0, 2), (1, 0)])
def test_a_form_with_code_zero_keeps_it_and_agrees_with_the_other(header, oblique_affine, codes):
    header["qform_code"], header["sform_code"] = codes
    header["pixdim"][1:4] = header["pixdim"][1:4] if codes[0] else 1
    finer = reread(regrid_header(header, (14, 10, 6), TWICE_AS_FINE))
    assert (finer["qform_code"], finer["sform_code"]) == codes
    for affine in (finer.get_sform(), finer.get_qform(), finer.get_best_affine()):
        np.testing.assert_allclose(affine, oblique_affine @ TWICE_AS_FINE, atol=1e-4)
    np.testing.assert_allclose(finer.get_zooms(), [0.25, 0.4, 1.5], rtol=1e-6)


def test_without_any_form_only_the_voxel_size_changes(header):
    header["qform_code"] = header["sform_code"] = 0
    old = header.copy()
    finer = reread(regrid_header(header, (14, 10, 6), TWICE_AS_FINE))
    np.testing.assert_allclose(
        finer.get_best_affine(), old.get_best_affine() @ TWICE_AS_FINE, atol=1e-5
    )
    for name in ("qform_code", "sform_code", "quatern_b", "qoffset_x", "srow_x", "srow_z"):
        assert finer[name].tobytes() == old[name].tobytes()


def test_a_qform_derived_from_a_sheared_sform_keeps_voxel_size_and_origin(header):
    sheared = np.array([[2.0, 0.5, 0, 10], [0, 2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])
    header.set_sform(sheared, code=1)
    header["qform_code"] = 0
    finer = reread(regrid_header(header, (14, 10, 6), TWICE_AS_FINE))
    expected = sheared @ TWICE_AS_FINE
    np.testing.assert_allclose(finer.get_sform(), expected, atol=1e-5)
    np.testing.assert_allclose(finer.get_qform()[:3, 3], expected[:3, 3], atol=1e-5)
    np.testing.assert_allclose(finer.get_zooms(), np.linalg.norm(expected[:3, :3], axis=0))


@pytest.mark.parametrize("quaternion", [2.0, np.nan])
def test_a_qform_that_is_no_rotation_is_replaced_by_the_sform(header, oblique_affine, quaternion):
    header["quatern_b"] = quaternion
    finer = reread(regrid_header(header, (14, 10, 6), TWICE_AS_FINE))
    np.testing.assert_allclose(finer.get_qform(), oblique_affine @ TWICE_AS_FINE, atol=1e-4)


def test_everything_else_is_kept(header):
    header.set_xyzt_units("mm", "sec")
    header.set_intent("t test", (12,), name="effect")
    header.set_dim_info(freq=1, phase=0, slice=2)
    header["descrip"], header["aux_file"] = b"scan", b"none"
    header["cal_max"], header["cal_min"], header["pixdim"][4] = 900, 10, 2.5
    header.extensions.append(Nifti1Extension("comment", b"kept"))
    finer = regrid_header(header, (14, 10, 6), TWICE_AS_FINE)
    changed = {name for name in header if header[name].tobytes() != finer[name].tobytes()}
    forms = {"pixdim", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"}
    assert changed <= forms | {"dim", "quatern_b", "quatern_c", "quatern_d"}
    assert finer["pixdim"][4] == 2.5
    assert finer.extensions == header.extensions


def test_slice_timing_is_dropped(header):
    header["slice_code"], header["slice_end"], header["slice_duration"] = 3, 2, 0.05
    finer = regrid_header(header, (14, 10, 6), TWICE_AS_FINE)
    assert [finer[name] for name in ("slice_code", "slice_end", "slice_duration")] == [0, 0, 0]


def test_the_old_header_is_left_alone(header):
    old = header.binaryblock
    regrid_header(header, (14, 10, 6), TWICE_AS_FINE)
    assert header.binaryblock == old


def test_more_voxels_than_nifti1_counts_are_refused_and_nifti2_takes_them(header):
    shape = (4, 40_000, 4)
    if isinstance(header, Nifti2Header):
        assert regrid_header(header, shape, TWICE_AS_FINE).get_data_shape() == shape
        return
    with pytest.raises(OutputError, match=r"counts to 32767 along an axis; .* NIfTI-2"):
        regrid_header(header, shape, TWICE_AS_FINE)
