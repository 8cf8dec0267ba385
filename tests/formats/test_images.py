import pickle

import nibabel as nib
import numpy as np
import pytest
from drawn_volumes import STORED, random_stored

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.files import OUTPUT_DTYPES, read_volume, write_volume
from tdafd_cli.formats.images import image_of, volume_of

SLOPES = [(1.0, 0.0), (0.25, -7.0)]


def in_memory(data: np.ndarray, affine: np.ndarray | None = None) -> nib.Nifti1Image:
    return nib.Nifti1Image(data, np.eye(4) if affine is None else affine, dtype=data.dtype)


def ramp(dtype: type) -> np.ndarray:
    return np.arange(24).reshape(2, 3, 4).astype(dtype)


@pytest.mark.parametrize("scaling", SLOPES)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("dtype", STORED)
def test_a_loaded_image_is_the_volume_of_its_file(
    make_nifti, oblique_affine, dtype, endianness, version, scaling
):
    how = {"endianness": endianness, "version": version, "scaling": scaling, "codes": (1, 2)}
    path = make_nifti(random_stored(dtype), oblique_affine, **how)
    volume, expected = volume_of(nib.load(path)), read_volume(path)
    assert volume.data.dtype == expected.data.dtype
    assert np.array_equal(volume.data, expected.data)
    assert np.array_equal(volume.affine, expected.affine)
    assert volume.path == path
    for each in (volume, expected):
        each.header["vox_offset"] = 0
    assert volume.header.binaryblock == expected.header.binaryblock


@pytest.mark.parametrize("scaling", SLOPES)
@pytest.mark.parametrize("dtype", OUTPUT_DTYPES)
def test_image_of_a_volume_is_what_nibabel_loads_of_its_file(make_nifti, tmp_path, dtype, scaling):
    volume = read_volume(make_nifti(random_stored("int16"), scaling=scaling))
    write_volume(tmp_path / "written.nii.gz", volume, dtype=dtype)
    image, loaded = image_of(volume, dtype=dtype), nib.load(tmp_path / "written.nii.gz")
    assert type(image) is type(loaded) is nib.Nifti1Image
    assert image.header == loaded.header
    assert np.array_equal(image.dataobj.get_unscaled(), loaded.dataobj.get_unscaled())
    assert np.array_equal(image.get_fdata(), loaded.get_fdata())
    assert np.array_equal(image.affine, loaded.affine)


def test_nifti_2_stays_nifti_2(make_nifti):
    image = image_of(volume_of(nib.load(make_nifti(random_stored("uint8"), version=2))))
    assert type(image) is nib.Nifti2Image


def test_images_can_be_sent_to_another_process(make_nifti):
    image = image_of(read_volume(make_nifti(random_stored("int16"), scaling=(0.5, 1))))
    assert np.array_equal(pickle.loads(pickle.dumps(image)).get_fdata(), image.get_fdata())


def test_an_array_is_not_rounded_to_the_type_of_a_header_it_was_given(make_nifti):
    loaded = nib.load(make_nifti(random_stored("int16")))
    fractions = np.linspace(0, 1, loaded.get_fdata().size).reshape(loaded.shape)
    image = nib.Nifti1Image(fractions, loaded.affine, loaded.header)
    volume = volume_of(image)
    assert volume.stored_dtype == np.float64
    assert np.array_equal(image_of(volume).get_fdata(), fractions)


@pytest.mark.parametrize(("dtype", "stored"), [(bool, "uint8"), (np.float16, "float32")])
def test_types_that_nifti_has_no_code_for_are_held_exactly(dtype, stored):
    data = (np.arange(24).reshape(2, 3, 4) % 5 / 4).astype(dtype)
    image = nib.Nifti1Image(data, np.eye(4), nib.Nifti1Header())
    volume = volume_of(image)
    assert volume.stored_dtype == stored
    assert np.array_equal(volume.data, data.astype(np.float32))


def test_a_new_affine_counts_although_the_header_has_the_old_one(make_nifti, oblique_affine):
    loaded = nib.load(make_nifti(random_stored("int16")))
    volume = volume_of(nib.Nifti1Image(loaded.dataobj, oblique_affine, loaded.header))
    np.testing.assert_allclose(volume.affine, oblique_affine, rtol=1e-6)


def test_the_image_is_left_as_it_is(make_nifti):
    path = make_nifti(random_stored("int16"), scaling=(0.5, 3.0))
    for image in (nib.load(path), in_memory(ramp(np.float32))):
        header, voxels = image.header.copy(), np.asarray(image.dataobj).copy()
        volume_of(image).data[:] = 0
        assert image.header == header
        assert np.array_equal(image.dataobj, voxels)


def with_(value: float) -> np.ndarray:
    data = ramp(np.float32)
    data[0, 1, 2] = value
    return data


SHEARED_FLAT = np.array([[1.0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
COLOUR = np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    ("data", "affine", "message"),
    [
        (with_(np.nan), None, "image: 1 of 24 voxels are NaN or infinite"),
        (with_(np.inf), None, "image: 1 of 24 voxels are NaN or infinite"),
        (np.ones((2, 3, 4), np.int16), None, "image: all 24 voxels are 1"),
        (np.ones((2, 3), np.int16), None, "image: expected 3 dimensions, got shape"),
        (np.ones((2, 3, 4, 2), np.int16), None, "split it into its 2 volumes"),
        (ramp(np.complex64), None, "expected real numbers, got complex64"),
        (COLOUR, None, "expected one number per voxel, got a colour"),
        (ramp(np.int16), np.zeros((4, 4)), "image: unusable affine"),
        (ramp(np.int16), np.full((4, 4), np.nan), "image: unusable affine"),
        (ramp(np.int16), SHEARED_FLAT, "image: expected an invertible affine"),
    ],
)
def test_images_pass_the_checks_of_files(data, affine, message):
    image = in_memory(data)
    if affine is not None:
        image.affine[:] = affine
    with pytest.raises(VolumeError, match=message) as caught:
        volume_of(image)
    assert "\n" not in str(caught.value)


def test_trailing_dimensions_of_one_are_dropped():
    volume = volume_of(in_memory(ramp(np.int16)[..., None]))
    assert volume.shape == (2, 3, 4)


def test_an_image_whose_file_is_gone_is_told_in_one_line(make_nifti):
    path = make_nifti(random_stored("int16"))
    image = nib.load(path)
    path.unlink()
    with pytest.raises(VolumeError, match=r"volume\.nii: its voxels cannot be read \(") as caught:
        volume_of(image)
    assert "\n" not in str(caught.value)


def test_images_of_other_formats_are_refused_with_advice():
    with pytest.raises(VolumeError, match="image: a MGHImage, not a NIfTI image; convert it with"):
        volume_of(nib.MGHImage(ramp(np.float32), np.eye(4)))
