import pytest

from tdafd_cli.errors import VolumeError
from tdafd_cli.volumes.signatures import header_class


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"", "empty file"),
        (bytes(128) + b"DICM", "DICOM file; .*dcm2niix"),
        (b"\0\0\0\x01\0\0\x01\0", "FreeSurfer MGH volume; .*mri_convert"),
        (b"NRRD0004\n", "NRRD volume; .*c3d"),
        (b"ObjectType = Image\n", "MetaImage volume; .*c3d"),
        (b"NDims = 3\n", "MetaImage volume; .*c3d"),
        (b"CDF\x01", "MINC volume; .*mnc2nii"),
        (b"\x89HDF\r\n", "HDF5 file, MINC perhaps; .*mnc2nii"),
        (b"\x5c\x01\0\0" + bytes(344), "Analyze 7.5 header; .*fslchfiletype"),
        (b"\0\0\x01\x5c" + bytes(344), "Analyze 7.5 header; .*fslchfiletype"),
        (b"\x5c\x01\0\0" + bytes(340) + b"ni1\0", "half of a .hdr/.img pair; .*fslchfiletype"),
        (b"\x1c\x02\0\0ni2\0\r\n\x1a\n", "half of a .hdr/.img pair; .*NIFTI2_GZ"),
        (b"PK\x03\x04", "ZIP archive; unpack"),
        (b"BZh9", "bzip2 file; .*bunzip2"),
        (b"\x28\xb5\x2f\xfd", "zstd file; .*unzstd"),
        (b"<!DOCTYPE html>", "web page or XML, a failed download perhaps"),
        (b"JFIF", "not a NIfTI volume, nor any format known here"),
    ],
)
def test_other_formats_are_named_with_what_to_do(start, message):
    with pytest.raises(VolumeError, match=message):
        header_class(start)
