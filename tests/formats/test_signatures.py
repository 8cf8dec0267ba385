from pathlib import Path

import pytest

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.signatures import format_name


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (bytes(128) + b"DICM", "dicom"),
        (bytes(344) + b"n+1\0", "nifti"),
        (b"\x1c\x02\0\0n+2\0\r\n\x1a\n", "nifti"),
        (b"\0\0\0\x01\0\0\x01\0", "mgh"),
        (b"NRRD0004\n", "nrrd"),
        (b"ObjectType = Image\n", "metaimage"),
        (b"NDims = 3\n", "metaimage"),
        (b"\x5c\x01\0\0" + bytes(344), "analyze"),
        (b"\0\0\x01\x5c" + bytes(344), "analyze"),
        (b"\x5c\x01\0\0" + bytes(340) + b"ni1\0", "pair"),
        (b"\x1c\x02\0\0ni2\0\r\n\x1a\n", "pair"),
    ],
)
def test_formats_are_told_by_their_first_bytes_whatever_the_name(start, name):
    assert format_name(start, Path("scan.xyz")) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [("a.IMG", "pair"), ("a.img.gz", "pair"), ("a.mhd", "metaimage"), ("a.MHA", "metaimage")],
)
def test_the_name_decides_where_bytes_do_not(path, name):
    assert format_name(b"anything", Path(path)) == name


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.mif", "MRtrix volume; .*`mrconvert IN OUT.nii.gz`"),
        ("a.mif.gz", "MRtrix volume; .*mrconvert"),
        ("a+orig.BRIK", "AFNI volume; .*`3dAFNItoNIFTI"),
        ("a+orig.brik.gz", "AFNI volume; .*3dAFNItoNIFTI"),
        ("a+orig.HEAD", "AFNI header; .*3dAFNItoNIFTI"),
        ("a.PAR", "Philips PAR header; .*dcm2niix"),
        ("a.rec", "voxels of a Philips PAR/REC pair; .*parrec2nii"),
    ],
)
def test_formats_without_a_signature_are_named_with_the_command_that_converts(path, message):
    with pytest.raises(VolumeError, match=message):
        format_name(b"anything", Path(path))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"", "empty file"),
        (b"mrtrix image\ndim: 3", "MRtrix volume; .*mrconvert"),
        (b"# === DATA DESCRIPTION FILE ===", "Philips PAR header; .*dcm2niix"),
        (b"CDF\x01", "MINC volume; .*mnc2nii"),
        (b"\x89HDF\r\n", "HDF5 file, MINC perhaps; .*mnc2nii"),
        (b"PK\x03\x04", "ZIP archive; unpack"),
        (b"BZh9", "bzip2 file; .*bunzip2"),
        (b"\x28\xb5\x2f\xfd", "zstd file; .*unzstd"),
        (b"<!DOCTYPE html>", "web page or XML, a failed download perhaps"),
        (b"JFIF", "not a volume of any format known here"),
    ],
)
def test_other_formats_are_named_with_what_to_do(start, message):
    with pytest.raises(VolumeError, match=message):
        format_name(start, Path("scan.nii"))
