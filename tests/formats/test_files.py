"""Round trips through every format, seen by the library that each format belongs to."""

import gzip
import itertools
import os

import nibabel
import numpy as np
import pytest
import SimpleITK
from drawn_volumes import SCALES, affines, outer_corners, random_stored, upscaled
from hypothesis import given, settings
from hypothesis import strategies as st

from tdafd_cli.errors import OutputError, VolumeError
from tdafd_cli.formats.files import (
    FORMATS,
    SUFFIXES,
    check_storage,
    check_target,
    open_scan,
    read_volume,
    write_volume,
)

ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
NIBABEL_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".mgh", ".mgz")
EXACT = ("uint8", "int16", "float32")  # types that every format holds
LPS = np.diag([-1.0, -1, 1, 1])


def itk_affine(image: SimpleITK.Image) -> np.ndarray:
    """Affine to RAS by what SimpleITK says of some indices."""
    affine = np.eye(4)
    origin = np.array(image.TransformIndexToPhysicalPoint((0, 0, 0)))
    for axis, unit in enumerate(np.eye(3, dtype=int).tolist()):
        affine[:3, axis] = np.array(image.TransformIndexToPhysicalPoint(unit)) - origin
    affine[:3, 3] = origin
    return LPS @ affine


def seen(path):
    """Affine and numbers (I, J, K) of a file, by the library whose format it has."""
    if path.name.lower().endswith(ITK_SUFFIXES):
        image = SimpleITK.ReadImage(str(path))
        return itk_affine(image), SimpleITK.GetArrayFromImage(image).T
    image = loaded_mgh(path) if path.suffix in (".mgh", ".mgz") else nibabel.load(path)
    return image.affine, np.asanyarray(image.dataobj)


def loaded_mgh(path) -> nibabel.MGHImage:
    """As nibabel reads it, which leaves the file open if it is given the name alone."""
    content = path.read_bytes()
    return nibabel.MGHImage.from_bytes(
        gzip.decompress(content) if path.suffix == ".mgz" else content
    )


@given(
    affine=affines(),
    shape=st.tuples(*[st.integers(1, 6)] * 3).filter(lambda shape: np.prod(shape) > 1),
    dtype=st.sampled_from(EXACT),
    suffix=st.sampled_from(SUFFIXES),
    back=st.sampled_from([".nii.gz", ".mgz", ".nrrd", ".mha"]),
    scale=SCALES,
)
@settings(max_examples=60)
def test_any_volume_survives_any_format_and_the_next(
    make_nifti, affine, shape, dtype, suffix, back, scale
):
    volume = upscaled(read_volume(make_nifti(random_stored(dtype, shape), affine)), scale)
    first = volume.path.with_name(f"first{suffix}")
    write_volume(first, volume)
    seen_affine, numbers = seen(first)
    np.testing.assert_array_equal(numbers, volume.data)
    corners = outer_corners(volume.affine, volume.shape)
    np.testing.assert_allclose(outer_corners(seen_affine, volume.shape), corners, atol=2e-3)
    second = volume.path.with_name(f"second{back}")
    write_volume(second, read_volume(first))
    again = read_volume(second)
    np.testing.assert_array_equal(again.data, volume.data)
    assert again.stored_dtype == np.dtype(dtype)
    np.testing.assert_allclose(again.affine[:3, :3], volume.affine[:3, :3], atol=1e-5)
    np.testing.assert_allclose(again.affine[:3, 3], volume.affine[:3, 3], atol=1e-4)


@pytest.mark.parametrize("suffix", [*ITK_SUFFIXES, ".nii.gz", ".mgz"])
def test_nibabel_and_simpleitk_agree_on_an_oblique_volume(make_nifti, oblique_affine, suffix):
    stored = random_stored("int16", (7, 5, 3))
    source = make_nifti(stored, oblique_affine)
    target = source.with_name(f"other{suffix}")
    write_volume(target, read_volume(source))
    image = SimpleITK.ReadImage(str(source))
    by_nibabel = nibabel.load(source).affine
    affine, numbers = seen(target)
    np.testing.assert_array_equal(numbers, SimpleITK.GetArrayFromImage(image).T)
    for index in itertools.product((0, 4), (0, 3), (0, 2)):
        point = LPS[:3, :3] @ image.TransformIndexToPhysicalPoint(index)
        for each in (affine, by_nibabel, read_volume(target).affine):
            np.testing.assert_allclose((each @ (*index, 1))[:3], point, atol=1e-4)


@pytest.mark.parametrize("suffix", ITK_SUFFIXES)
@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "uint32", "int64", "float64"])
def test_what_simpleitk_writes_is_read_alike(tmp_path, oblique_affine, dtype, suffix):
    stored = random_stored(dtype, (6, 5, 4))
    image = SimpleITK.GetImageFromArray(stored.T)
    lps = LPS @ oblique_affine
    sizes = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(sizes.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / sizes).ravel().tolist())
    for compressed in (False, True):
        path = tmp_path / f"{compressed}{suffix}"
        SimpleITK.WriteImage(image, str(path), useCompression=compressed)
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.data, stored.astype(volume.data.dtype))
        assert volume.stored_dtype == np.dtype(dtype)
        np.testing.assert_allclose(volume.affine, oblique_affine, atol=1e-9)


@pytest.mark.parametrize("suffix", [".mgh", ".mgz"])
def test_what_nibabel_writes_as_mgh_is_read_alike(tmp_path, oblique_affine, suffix):
    stored = random_stored("int16", (6, 5, 4))
    image = nibabel.MGHImage(stored, oblique_affine)
    image.header["tr"], image.header["te"], image.header["flip_angle"] = 2300, 2.98, 0.157
    path = tmp_path / f"scan{suffix}"
    nibabel.save(image, path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, stored)
    np.testing.assert_allclose(volume.affine, oblique_affine, atol=1e-4)
    target = tmp_path / f"high{suffix}"
    write_volume(target, upscaled(volume))
    header = loaded_mgh(target).header
    for name in ("tr", "te", "flip_angle"):
        assert header[name] == image.header[name]


def test_sheared_axes_survive_where_the_format_holds_them(make_nifti):
    affine = np.diag([1.0, 2, 3, 1])
    affine[0, 1] = 0.5
    volume = read_volume(make_nifti(random_stored("int16"), affine, codes=(0, 1)))
    for suffix in (".nii", ".mgz", ".nrrd", ".mha"):
        target = volume.path.with_name(f"sheared{suffix}")
        write_volume(target, volume)
        np.testing.assert_allclose(read_volume(target).affine, affine, atol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_suffixes_count_in_any_case(make_nifti, suffix):
    volume = read_volume(make_nifti(random_stored("int16")))
    for name in (f"A{suffix.upper()}", f"B{suffix.title()}"):
        target = volume.path.with_name(name)
        write_volume(target, volume)
        assert target.is_file()
        again = read_volume(target)
        np.testing.assert_array_equal(again.data, volume.data)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_fields_that_still_hold_are_kept_within_a_format(make_nifti, suffix):
    volume = read_volume(make_nifti(random_stored("int16")))
    image = SimpleITK.GetImageFromArray(volume.data.T.astype(np.int16))
    fields = {"Protocol": "T1 space", "dim[1]": "5", "srow_x": "1 0 0 0", "0020|0032": "1\\2\\3"}
    for name, value in fields.items():
        image.SetMetaData(name, value)
    source = volume.path.with_name(f"source{suffix}")
    SimpleITK.WriteImage(image, str(source))
    target = volume.path.with_name(f"target{suffix}")
    write_volume(target, upscaled(read_volume(source)))
    again = SimpleITK.ReadImage(str(target))
    assert again.GetMetaData("Protocol") == "T1 space"
    assert not {"dim[1]", "srow_x", "0020|0032"} & set(again.GetMetaDataKeys())
    elsewhere = volume.path.with_name("elsewhere.mgz")
    write_volume(elsewhere, read_volume(source))
    assert b"T1 space" not in elsewhere.read_bytes()


@pytest.mark.parametrize("suffix", [".mgz", ".nrrd", ".mha", ".hdr"])
def test_equal_volumes_make_equal_files(make_nifti, suffix):
    volume = read_volume(make_nifti(random_stored("int16")))
    targets = [volume.path.with_name(f"{name}{suffix}") for name in ("one", "two")]
    for target in targets:
        write_volume(target, volume)
    assert targets[0].read_bytes() == targets[1].read_bytes()


@pytest.mark.parametrize("suffix", [".mgz", ".nrrd", ".mha"])
def test_scaled_integers_become_floats_where_there_is_no_slope(make_nifti, suffix):
    source = make_nifti(random_stored("int16"), scaling=(0.25, -17.5))
    target = source.with_name(f"target{suffix}")
    write_volume(target, read_volume(source))
    again = read_volume(target)
    assert again.stored_dtype == np.float32
    np.testing.assert_array_equal(again.data, read_volume(source).data)


@pytest.mark.parametrize(("dtype", "wider"), [("int8", "int16"), ("uint32", "float32")])
def test_a_type_that_a_format_lacks_is_widened(make_nifti, dtype, wider):
    source = make_nifti(np.arange(60, dtype=dtype).reshape(5, 4, 3))
    target = source.with_name("target.mgz")
    write_volume(target, read_volume(source))
    assert loaded_mgh(target).get_data_dtype() == np.dtype(wider).newbyteorder(">")
    np.testing.assert_array_equal(read_volume(target).data, read_volume(source).data)


@pytest.mark.parametrize(
    ("stored", "name", "dtype", "message"),
    [
        ("float32", "a.nrrd", "int16", "NRRD has no slope, .* int16 .* float32; choose --dtype"),
        ("int16", "a.mha", "uint8", "MetaImage has no slope, .* uint8 .* was int16"),
        ("int16", "a.mgz", "float64", "MGH does not hold float64; choose one of float32, int16"),
    ],
)
def test_a_type_that_would_spoil_the_intensities_is_refused(
    make_nifti, stored, name, dtype, message
):
    volume = read_volume(make_nifti(random_stored(stored)))
    target = volume.path.with_name(name)
    for refused in (
        lambda: check_storage(target, volume.header, dtype),
        lambda: write_volume(target, volume, dtype=dtype),
    ):
        with pytest.raises(OutputError, match=message):
            refused()
    assert not target.exists()


@pytest.mark.parametrize("name", ["a.dcm", "a.IMA", "b.dicom"])
def test_dicom_is_not_written(tmp_path, name):
    with pytest.raises(OutputError, match=r"DICOM is not written, .*; end its name in \.nii\.gz"):
        check_target(tmp_path / name)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_formats_of_one_volume_refuse_a_series(make_nifti, suffix):
    header = read_volume(make_nifti(random_stored("int16"))).header
    with pytest.raises(OutputError, match=r"one volume, and there are 3; .*--volumes"):
        check_storage(f"a{suffix}", header, volumes=3)
    check_storage("a.mgz", header, volumes=3)


@pytest.mark.parametrize(
    ("target", "beside"), [("a.hdr", "a.img"), ("a.mhd", "a.zraw"), ("a.nhdr", "a.raw.gz")]
)
def test_a_file_that_goes_with_another_is_as_safe(make_nifti, target, beside):
    volume = read_volume(make_nifti(random_stored("int16")))
    target, beside = volume.path.with_name(target), volume.path.with_name(beside)
    beside.write_bytes(b"precious")
    for refused in (check_target, lambda path: write_volume(path, volume)):
        with pytest.raises(OutputError, match="exists; choose another name"):
            refused(target)
    assert beside.read_bytes() == b"precious"
    assert not target.exists()
    write_volume(target, volume, overwrite=True)
    source = read_volume(target)
    before = beside.read_bytes()
    link = target.with_name("link.nii.gz")
    link.symlink_to(beside.name)
    for path in (target, link):
        with pytest.raises(OutputError, match="is the input, which is never replaced"):
            check_target(path, True, source=target)
        with pytest.raises(OutputError, match="is the input, which is never replaced"):
            write_volume(path, source, overwrite=True)
    assert beside.read_bytes() == before


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interruption_leaves_no_file_of_any_format(make_nifti, tmp_path, monkeypatch, suffix):
    volume = read_volume(make_nifti(random_stored("int16")))

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_volume(tmp_path / f"result{suffix}", volume)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".mgh", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr"])
def test_voxels_cut_short_are_told_in_one_line(make_nifti, suffix):
    volume = read_volume(make_nifti(random_stored("int16")))
    path = volume.path.with_name(f"cut{suffix}")
    if suffix in (".hdr", ".mgh"):
        write_volume(path, volume)
    else:
        image = SimpleITK.GetImageFromArray(volume.data.T.astype(np.int16))
        SimpleITK.WriteImage(image, str(path))
    voxels = {".nhdr": ".raw", ".mhd": ".raw", ".hdr": ".img"}.get(suffix, suffix)
    voxels = path.with_suffix(voxels)
    voxels.write_bytes(voxels.read_bytes()[:-30])
    with pytest.raises(VolumeError, match=r"cut short, with \d+ of 120 bytes of voxels") as caught:
        read_volume(path)
    assert len(str(caught.value).splitlines()) == 1


HUGE = 1 << 40


@pytest.mark.parametrize("suffix", [".nii", ".hdr", ".mgz", ".nrrd", ".mha"])
def test_a_claim_of_a_terabyte_is_refused_before_anything_is_allocated(
    make_nifti, monkeypatch, suffix
):
    volume = read_volume(make_nifti(random_stored("uint8")))
    path = volume.path.with_name(f"huge{suffix}")
    write_volume(path, volume)
    content = path.read_bytes()
    if suffix in (".nii", ".hdr"):
        header = bytearray(content)
        header[40:50] = np.array([3, 10240, 10240, 10240, 1], "<i2").tobytes()
        path.write_bytes(header)
    elif suffix == ".mgz":
        image = loaded_mgh(path)
        image.header["dims"] = [10240, 10240, 10240, 1]
        path.write_bytes(image.header.binaryblock[:90] + bytes(300))
    else:
        path.write_bytes(content.replace(b" 5 4 3", b" 10240 10240 10240"))
    # However much memory there is: the file is too small for it.
    for free in (1 << 60, 1 << 20):
        monkeypatch.setattr("tdafd_cli.machine.memory.free_main_memory", lambda free=free: free)
        message = "GB of memory, and .* are free" if free < HUGE else "cut short|more than a compr"
        with pytest.raises(VolumeError, match=message):
            open_scan(path)


def test_the_magnitude_of_complex_numbers_is_a_volume(make_nifti):
    stored = np.arange(60).reshape(5, 4, 3).astype("complex64") * (3 - 4j)
    path = make_nifti(stored)
    with pytest.raises(VolumeError, match="got complex64; take the magnitude with `--part magn"):
        read_volume(path)
    volume = read_volume(path, part="magnitude")
    np.testing.assert_allclose(volume.data, 5 * np.arange(60).reshape(5, 4, 3))
    assert volume.stored_dtype == np.float32
    np.testing.assert_allclose(read_volume(path, part="imaginary").data, stored.imag)
    with pytest.raises(VolumeError, match="holds real numbers, int16, and no real part"):
        read_volume(make_nifti(random_stored("int16")), part="real")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_colours_and_flat_images_are_refused(tmp_path, suffix):
    colour = SimpleITK.GetImageFromArray(np.ones((3, 4, 5, 3), np.uint8), isVector=True)
    flat = SimpleITK.GetImageFromArray(np.eye(4, dtype=np.int16))
    for image, message in ((colour, "one number per voxel"), (flat, "3 dimensions, got shape")):
        path = tmp_path / f"scan{suffix}"
        SimpleITK.WriteImage(image, str(path))
        with pytest.raises(VolumeError, match=message):
            read_volume(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_nan_is_refused_in_any_format(tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.full((3, 4, 5), np.nan)), str(path))
    with pytest.raises(VolumeError, match="60 of 60 voxels are NaN or infinite"):
        read_volume(path)


@pytest.mark.parametrize("unit", ["micron", "meter"])
def test_lengths_are_millimetres_where_a_format_has_no_units(make_nifti, unit):
    factor = {"micron": 1e-3, "meter": 1e3}[unit]
    source = make_nifti(
        random_stored("int16"),
        np.diag([2, 3, 4, 1]) / factor,
        edit=lambda header: header.set_xyzt_units(unit, "sec"),
    )
    target = source.with_name("target.nrrd")
    write_volume(target, read_volume(source))
    np.testing.assert_allclose(read_volume(target).affine, np.diag([2, 3, 4, 1]), atol=1e-4)


def test_formats_have_suffixes_of_their_own():
    assert len(set(SUFFIXES)) == len(SUFFIXES)
    assert all(each.suffixes for each in FORMATS.values() if each.write is not None)
