import re

import numpy as np
import pytest
import SimpleITK

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.files import open_scan, read_volume

LPS = np.diag([-1.0, -1, 1, 1])


def write_slices(folder, stored, affine, *, number=1, first=1, step=1, tags=(), skip=()):
    """Write volumes (I, J, K[, T]) as a DICOM series with an affine to RAS."""
    folder.mkdir(exist_ok=True)
    stored = stored if stored.ndim == 4 else stored[..., None]
    lps = LPS @ affine
    sizes = np.linalg.norm(lps[:3, :3], axis=0)
    axes = lps[:3, :3] / sizes
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    instance = first
    for volume in range(stored.shape[3]):
        for index in range(stored.shape[2]):
            image = SimpleITK.GetImageFromArray(stored[:, :, index, volume].T)
            image.SetSpacing(sizes[:2].tolist())
            position = lps[:3, 3] + index * lps[:3, 2]
            values = {
                "0008|0060": "MR",
                "0020|000d": "1.2.3",
                "0020|000e": f"1.2.3.{number}",
                "0008|0018": f"1.2.3.{number}.{instance}",
                "0020|0011": str(number),
                "0020|0013": str(instance),
                "0020|0032": "\\".join(f"{value:.8g}" for value in position),
                "0020|0037": "\\".join(f"{value:.10g}" for value in axes[:, :2].T.ravel()),
                "0018|0080": "2500",
                **dict(tags),
            }
            for tag, value in values.items():
                image.SetMetaData(tag, value)
            if index not in skip:
                writer.SetFileName(str(folder / f"{number}-{(instance * 7919) % 10007}.dcm"))
                writer.Execute(image)
            instance += step
    return folder


@pytest.fixture
def right_handed(oblique_affine):
    """Slices in the order of their positions along the normal of rows and columns."""
    affine = oblique_affine.copy()
    affine[:3, 0] *= -1
    return affine


STORED = np.random.default_rng(0).integers(-900, 900, (6, 5, 4), np.int16)


def test_an_oblique_series_is_read_in_its_place(tmp_path, right_handed):
    volume = read_volume(write_slices(tmp_path, STORED, right_handed))
    np.testing.assert_array_equal(volume.data, STORED)
    np.testing.assert_allclose(volume.affine, right_handed, atol=1e-4)
    assert volume.stored_dtype == np.int16
    files = [str(path) for path in tmp_path.iterdir()]
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    assert sorted(names) == sorted(files)
    image = SimpleITK.ReadImage(names)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image).T, volume.data)
    for index in ((0, 0, 0), (5, 4, 3)):
        point = LPS[:3, :3] @ image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((volume.affine @ (*index, 1))[:3], point, atol=1e-4)


def test_slices_stored_backwards_are_put_in_order_of_space(tmp_path, right_handed):
    volume = read_volume(write_slices(tmp_path, STORED, right_handed, first=100, step=-1))
    np.testing.assert_array_equal(volume.data, STORED)


def test_images_in_one_place_are_a_series_of_volumes(tmp_path, right_handed):
    stored = np.stack([STORED, STORED + 1, STORED + 2], axis=-1)
    scan = open_scan(write_slices(tmp_path, stored, right_handed))
    assert (scan.count, scan.header["pixdim"][4]) == (3, 2.5)
    for number, volume in enumerate(scan.volumes()):
        np.testing.assert_array_equal(volume.data, stored[..., number])


def test_several_series_are_listed_and_one_is_named(tmp_path, right_handed):
    write_slices(tmp_path, STORED, right_handed, number=3)
    write_slices(tmp_path, STORED + 1, right_handed, number=12)
    listed = r"several series: 3 \(MR, 4 images of 6 x 5\), 12 \(MR, 4 .*\); name one with --series"
    with pytest.raises(VolumeError, match=listed):
        read_volume(tmp_path)
    for name in ("12", "1.2.3.12"):
        assert np.array_equal(read_volume(tmp_path, series=name).data, STORED + 1)
    with pytest.raises(VolumeError, match=r"no series 4 among 3 \(MR"):
        read_volume(tmp_path, series="4")


def test_files_in_folders_below_and_of_other_kinds_are_no_matter(tmp_path, right_handed):
    (tmp_path / "notes.txt").write_text("notes")
    write_slices(tmp_path / "deep", STORED, right_handed)
    assert read_volume(tmp_path).shape == STORED.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": (1,)}, "slices are up to .* off even spacing"),
        ({"tags": {"0008|0008": "ORIGINAL\\PRIMARY\\M\\ND\\MOSAIC"}}, "many slices .*dcm2niix"),
        ({"tags": {"0020|0032": "1\\2\\3"}}, "images lie in one place"),
    ],
)
def test_what_makes_no_volume_is_told(tmp_path, right_handed, options, message):
    write_slices(tmp_path, STORED, right_handed, **options)
    with pytest.raises(VolumeError, match=message) as caught:
        read_volume(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_volumes_that_lack_a_slice_are_told(tmp_path, right_handed):
    stored = np.stack([STORED] * 3, axis=-1)
    write_slices(tmp_path, stored, right_handed)
    sorted(tmp_path.iterdir())[0].unlink()
    with pytest.raises(VolumeError, match="2 to 3 images at each of 4 places"):
        read_volume(tmp_path)


def test_several_orientations_are_told(tmp_path, right_handed):
    write_slices(tmp_path, STORED, right_handed)
    turned = right_handed[:, [1, 2, 0, 3]]
    tags = {"0020|000e": "1.2.3.1", "0020|0011": "1"}
    write_slices(tmp_path, STORED, turned, number=2, first=50, tags=tags)
    with pytest.raises(VolumeError, match=r"several orientations|several pixel sizes"):
        read_volume(tmp_path)


def test_magnitude_and_phase_in_one_series_are_told(tmp_path, right_handed):
    write_slices(tmp_path, STORED, right_handed, tags={"0008|0008": "ORIGINAL\\PRIMARY\\M\\ND"})
    tags = {"0008|0008": "ORIGINAL\\PRIMARY\\P\\ND", "0020|000e": "1.2.3.1", "0020|0011": "1"}
    write_slices(tmp_path, STORED, right_handed, number=2, first=50, tags=tags)
    with pytest.raises(VolumeError, match=r"several kinds, as magnitude and phase.*dcm2niix"):
        open_scan(tmp_path)


def test_one_file_of_a_series_is_told_to_be_so(tmp_path, right_handed):
    write_slices(tmp_path, STORED, right_handed)
    with pytest.raises(VolumeError, match="one image of a DICOM series; name its folder"):
        read_volume(next(tmp_path.iterdir()))


def test_a_damaged_file_is_named(tmp_path, right_handed, capfd):
    write_slices(tmp_path, STORED, right_handed)
    path = sorted(tmp_path.iterdir())[1]
    path.write_bytes(path.read_bytes()[:200])
    message = re.escape(f"{path.name} is damaged")
    with pytest.raises(VolumeError, match=message) as caught:
        read_volume(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")
