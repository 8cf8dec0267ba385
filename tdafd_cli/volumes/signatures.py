"""File formats, recognised by a file's first bytes: NIfTI, and others with advice on conversion."""

from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from tdafd_cli.errors import VolumeError

_FSL_CONVERT = "convert it with `fslchfiletype NIFTI_GZ IN`"
_C3D_CONVERT = "convert it with `c3d IN -o OUT.nii.gz` or 3D Slicer"
_MINC_CONVERT = "convert it with `mnc2nii IN OUT.nii`"
# Offset, signature, class: https://nifti.nimh.nih.gov/nifti-1 and nifti-2.
_NIFTI_FORMATS = ((344, b"n+1\0", Nifti1Header), (4, b"n+2\0", Nifti2Header))
# Offset, signature, name, what to do. DICOM comes first: its first 128 bytes are anything.
_OTHER_FORMATS = (
    (128, b"DICM", "a DICOM file", "convert its folder with `dcm2niix FOLDER`"),
    (0, b"\x00\x00\x00\x01", "a FreeSurfer MGH volume", "convert it with `mri_convert IN OUT.nii`"),
    (0, b"NRRD", "an NRRD volume", _C3D_CONVERT),
    (0, b"ObjectType", "a MetaImage volume", _C3D_CONVERT),
    (0, b"NDims", "a MetaImage volume", _C3D_CONVERT),
    (0, b"CDF", "a MINC volume", _MINC_CONVERT),
    (0, b"\x89HDF", "an HDF5 file, MINC perhaps", _MINC_CONVERT),
    (344, b"ni1\0", "half of a .hdr/.img pair", _FSL_CONVERT),
    (4, b"ni2\0", "half of a .hdr/.img pair", "convert it with `fslchfiletype NIFTI2_GZ IN`"),
    (0, b"\x5c\x01\x00\x00", "an Analyze 7.5 header", _FSL_CONVERT),
    (0, b"\x00\x00\x01\x5c", "an Analyze 7.5 header", _FSL_CONVERT),
    (0, b"mrtrix image", "an MRtrix image", "convert it with `mrconvert IN OUT.nii.gz`"),
    (0, b"\ntype", "an AFNI header", "convert it with `3dAFNItoNIFTI IN`"),
    (0, b"\x89PNG", "a PNG picture", "give the scan that it shows"),
    (0, b"\xff\xd8\xff", "a JPEG picture", "give the scan that it shows"),
    (0, b"{", "JSON, a scan's sidecar perhaps", "give the scan beside it"),
    (0, b"PK\x03\x04", "a ZIP archive", "unpack it"),
    (0, b"BZh", "a bzip2 file", "decompress it with `bunzip2 IN`"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", "decompress it with `unzstd IN`"),
    (0, b"<", "a web page or XML, a failed download perhaps", "download it again"),
)


def header_class(start: bytes) -> type[Nifti1Header]:
    """Class of the NIfTI header that a file starts with.

    Parameters
    ----------
    start : bytes
        The first 540 of the file, or all of a shorter one.

    Raises
    ------
    VolumeError
        The file is empty or of another format. The message names the format but no file.
    """
    if not start:
        raise VolumeError("empty file; copy or download it again")
    for offset, signature, kind in _NIFTI_FORMATS:
        if start.startswith(signature, offset):
            return kind
    for offset, signature, name, advice in _OTHER_FORMATS:
        if start.startswith(signature, offset):
            raise VolumeError(f"not a NIfTI volume but {name}; {advice}")
    raise VolumeError("not a NIfTI volume, nor any format known here; convert it to NIfTI")
