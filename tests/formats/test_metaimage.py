import gzip
import zlib

import numpy as np
import pytest
import SimpleITK
from drawn_volumes import random_stored

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.files import open_scan, read_volume

STORED = random_stored("int16", (5, 4, 3))
HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 1 2 3
ElementSpacing = 1 1.5 2
DimSize = 5 4 3
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""


def write(folder, old="", new="", *, voxels=None, name="scan.mha"):
    path = folder / name
    header = HEADER.replace(old, new) if old else HEADER
    content = STORED.astype("<i2").tobytes(order="F") if voxels is None else voxels
    path.write_bytes(header.encode() + content)
    return path


def test_the_header_s_words_are_understood(tmp_path):
    volume = read_volume(write(tmp_path))
    np.testing.assert_array_equal(volume.data, STORED)
    expected = np.diag([-1, -1.5, 2, 1])
    expected[:3, 3] = -1, -2, 3
    np.testing.assert_array_equal(volume.affine, expected)


@pytest.mark.parametrize(
    ("old", "new", "voxels"),
    [
        ("\n", "\r\n", None),
        ("ObjectType = Image\n", "Comment = first\n", None),
        ("ElementSpacing", "ElementSize", None),
        ("Offset", "Position", None),
        ("NDims", "ndims", None),
        ("MSB = False", "MSB = True", STORED.astype(">i2").tobytes(order="F")),
        ("CompressedData = False", "CompressedData = True", zlib.compress(STORED.tobytes("F"))),
        ("CompressedData = False", "CompressedData = True", gzip.compress(STORED.tobytes("F"))),
    ],
)
def test_other_ways_to_say_the_same(tmp_path, old, new, voxels):
    volume = read_volume(write(tmp_path, old, new, voxels=voxels))
    np.testing.assert_array_equal(volume.data, STORED)
    np.testing.assert_allclose(volume.voxel_size, (1, 1.5, 2))


@pytest.mark.parametrize("size", ["HeaderSize = 7\n", "HeaderSize = -1\n"])
def test_voxels_beside_the_header_may_have_one_of_their_own(tmp_path, size):
    path = write(
        tmp_path, "ElementDataFile = LOCAL", size + "ElementDataFile = a b.raw", voxels=b""
    )
    (tmp_path / "a b.raw").write_bytes(b"7 bytes" + STORED.tobytes("F"))
    np.testing.assert_array_equal(read_volume(path).data, STORED)


def test_four_dimensions_are_a_series_as_simpleitk_sees_it(tmp_path):
    stored = random_stored("int16", (5, 4, 3, 6))
    image = SimpleITK.GetImageFromArray(stored.T, isVector=False)
    for compressed in (False, True):
        path = tmp_path / f"{compressed}.mha"
        SimpleITK.WriteImage(image, str(path), useCompression=compressed)
        scan = open_scan(path)
        assert (scan.count, scan.shape) == (6, (5, 4, 3))
        for number, volume in zip((1, 2, 5), scan.volumes([1, 2, 5]), strict=True):
            np.testing.assert_array_equal(volume.data, stored[..., number])
        path = tmp_path / f"{compressed}.nrrd"
        SimpleITK.WriteImage(image, str(path), useCompression=compressed)
        (last,) = open_scan(path).volumes([5])
        np.testing.assert_array_equal(last.data, stored[..., 5])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("NDims = 3", "NDims = 2", "DimSize holds 3 numbers, where 2 were expected"),
        ("NDims = 3", "NDims = many", "NDims is missing or no number"),
        ("NDims = 3", "NDims = ²", "NDims is missing or no number"),
        ("5 4 3", "5 4 3.5", "DimSize is missing or no size"),
        ("5 4 3", "5 4 nan", "DimSize is missing or no size"),
        ("5 4 3", "5 4 1e308", "DimSize is missing or no size"),
        ("5 4 3", "5 4 x", "DimSize holds what is no number"),
        ("5 4 3", "5 4 0", r"no voxels, as its shape is \(5, 4, 0\)"),
        ("5 4 3", "5 4 -3", "no voxels"),
        ("5 4 3", "5 4 9", "cut short, with 120 of 360 bytes of voxels"),
        ("MET_SHORT", "MET_STRING", "ElementType is missing or of a kind that is not read"),
        ("BinaryData = True", "BinaryData = False", "voxels are written as text; convert"),
        ("DimSize", "ElementNumberOfChannels = 3\nDimSize", "one number per voxel"),
        ("ElementSpacing = 1 1.5 2", "ElementSpacing = 1 0 2", "invertible affine"),
        ("= 1 0 0 0 1 0 0 0 1", "= 1 0 0 1 0 0 0 0 1", "invertible affine, got the TransformM"),
        ("LOCAL", "LIST", "voxels are in several files"),
        ("LOCAL", "slice%03d.raw 1 9 1", "voxels are in several files"),
        ("LOCAL", "gone.raw", r"its voxels, gone\.raw, are not beside it"),
        ("LOCAL", "/dev/zero", "its voxels, zero, are not beside it"),
        ("LOCAL", "x" * 3000, "are not beside it"),
        ("ElementDataFile = LOCAL\n", "", "ElementDataFile is missing"),
        ("= Image", "= Tube", "another MetaIO object"),
    ],
)
def test_a_header_that_makes_no_sense_is_told_in_one_line(tmp_path, old, new, message):
    path = write(tmp_path, old, new)
    with pytest.raises(VolumeError, match=message) as caught:
        read_volume(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kept", [1, 5, -1])
def test_compressed_voxels_cut_short_are_told(tmp_path, kept):
    packed = zlib.compress(STORED.tobytes("F"))[:kept]
    path = write(tmp_path, "CompressedData = False", "CompressedData = True", voxels=packed)
    with pytest.raises(VolumeError, match=r"cut short|damaged"):
        read_volume(path)


def test_compressed_voxels_of_another_kind_are_damaged(tmp_path):
    path = write(tmp_path, "CompressedData = False", "CompressedData = True", voxels=b"\xff" * 99)
    with pytest.raises(VolumeError, match="gzip data cut short or damaged"):
        read_volume(path)
