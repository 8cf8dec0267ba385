import numpy as np
import pytest
import SimpleITK
from drawn_volumes import random_stored

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.files import read_volume
from tdafd_cli.formats.itk import current_fields, itk_affine

STORED = random_stored("int16", (5, 4, 3))


@pytest.fixture
def path(tmp_path):
    image = SimpleITK.GetImageFromArray(STORED.T)
    image.SetSpacing((1, 1.5, 2))
    SimpleITK.WriteImage(image, str(tmp_path / "scan.nrrd"))
    return tmp_path / "scan.nrrd"


def edit(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        (b"left-posterior-superior", (-1, -1, 1)),
        (b"right-anterior-superior", (1, 1, 1)),
        (b"left-anterior-superior", (-1, 1, 1)),
    ],
)
def test_spaces_of_nrrd_lead_to_ras(path, space, signs):
    edit(path, b"left-posterior-superior", space)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, STORED)
    np.testing.assert_allclose(volume.affine, np.diag([*np.multiply(signs, (1, 1.5, 2)), 1]))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"sizes: 5 4 3", b"sizes: 5 4 x", "damaged, or of a kind that is not read here"),
        (b"sizes: 5 4 3", b"sizes: 5 4 9", "cut short, with 120 of 360 bytes of voxels"),
        (b"type: short", b"type: block", "damaged, or of a kind"),
        (b"(1,0,0)", b"(nan,0,0)", "space directions or the origin are no numbers"),
        (b"(1,0,0)", b"(inf,0,0)", "space directions or the origin are no numbers"),
        (b"encoding: raw", b"encoding: zstd", "damaged, or of a kind"),
        (b"encoding: raw", b"encoding: raw\ndata file: gone.raw", "voxels, gone.raw, are not"),
        (b"encoding: raw", b"encoding: raw\ndata file: /dev/zero", "voxels, zero, are not"),
    ],
)
def test_a_header_that_makes_no_sense_is_told_in_one_line(path, capfd, old, new, message):
    edit(path, old, new)
    with pytest.raises(VolumeError, match=message) as caught:
        read_volume(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def test_complex_voxels_have_a_magnitude(tmp_path):
    image = SimpleITK.GetImageFromArray((STORED.T * (0.6 + 0.8j)).astype(np.complex64))
    path = tmp_path / "scan.nrrd"
    SimpleITK.WriteImage(image, str(path))
    volume = read_volume(path, part="magnitude")
    np.testing.assert_allclose(volume.data, abs(STORED.astype(np.float32)), rtol=1e-6)


def test_axes_of_an_image_are_columns_in_lps():
    affine = itk_affine((2, 3, 4), (10, 20, 30), (0, 1, 0, 1, 0, 0, 0, 0, 1))
    expected = [[0, -3, 0, -10], [-2, 0, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]]
    np.testing.assert_array_equal(affine, expected)


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("Protocol", True),
        ("Patient", True),
        ("dimension note", True),
        ("description", True),
        ("dim[3]", False),
        ("pixdim[1]", False),
        ("qform_code_name", False),
        ("quatern_b", False),
        ("ITK_FileNotes", False),
        ("NRRD_kinds[0]", False),
        ("0020|0037", False),
    ],
)
def test_fields_of_another_grid_are_dropped(name, holds):
    assert (name in current_fields({name: "value"})) == holds
