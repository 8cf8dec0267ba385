"""File formats, recognised by a file's first bytes, and others with advice on conversion."""

from pathlib import Path

from tdafd_cli.errors import VolumeError

START_BYTES = 540
"""Of a file, decompressed, that `format_name` wants to see."""

_C3D_CONVERT = "convert it with `c3d IN -o OUT.nii.gz` or 3D Slicer"
_MINC_CONVERT = "convert it with `mnc2nii IN OUT.nii`"
_MRTRIX_CONVERT = "convert it with `mrconvert IN OUT.nii.gz`"
_AFNI_CONVERT = "convert it with `3dAFNItoNIFTI -prefix OUT.nii.gz IN+orig`"
_PHILIPS_CONVERT = "convert it with `dcm2niix FOLDER` or `parrec2nii IN.PAR`"
# Offset, signature, name. DICOM comes first: its first 128 bytes are anything.
_FORMATS = (
    (128, b"DICM", "dicom"),
    (344, b"n+1\0", "nifti"),
    (4, b"n+2\0", "nifti"),
    (344, b"ni1\0", "pair"),
    (4, b"ni2\0", "pair"),
    (0, b"\x5c\x01\x00\x00", "analyze"),
    (0, b"\x00\x00\x01\x5c", "analyze"),
    (0, b"\x00\x00\x00\x01", "mgh"),
    (0, b"NRRD", "nrrd"),
    (0, b"ObjectType", "metaimage"),
    (0, b"NDims", "metaimage"),
    (0, b"Comment", "metaimage"),
)
# Offset, signature, name, what to do.
_OTHER_FORMATS = (
    (0, b"CDF", "a MINC volume", _MINC_CONVERT),
    (0, b"\x89HDF", "an HDF5 file, MINC perhaps", _MINC_CONVERT),
    (0, b"mrtrix image", "an MRtrix volume", _MRTRIX_CONVERT),
    (0, b"# === DATA DESCRIPTION FILE", "a Philips PAR header", _PHILIPS_CONVERT),
    (0, b"\ntype", "an AFNI header", _AFNI_CONVERT),
    (0, b"\x89PNG", "a PNG picture", "give the scan that it shows"),
    (0, b"\xff\xd8\xff", "a JPEG picture", "give the scan that it shows"),
    (0, b"{", "JSON, a scan's sidecar perhaps", "give the scan beside it"),
    (0, b"PK\x03\x04", "a ZIP archive", "unpack it"),
    (0, b"BZh", "a bzip2 file", "decompress it with `bunzip2 IN`"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", "decompress it with `unzstd IN`"),
    (0, b"<", "a web page or XML, a failed download perhaps", "download it again"),
)
# Formats without a signature, or whose files it is not in, by suffix in lower case.
_OTHER_SUFFIXES = (
    (".mif", "an MRtrix volume", _MRTRIX_CONVERT),
    (".mif.gz", "an MRtrix volume", _MRTRIX_CONVERT),
    (".mih", "an MRtrix header", _MRTRIX_CONVERT),
    (".brik", "an AFNI volume", _AFNI_CONVERT),
    (".brik.gz", "an AFNI volume", _AFNI_CONVERT),
    (".head", "an AFNI header", _AFNI_CONVERT),
    (".par", "a Philips PAR header", _PHILIPS_CONVERT),
    (".rec", "the voxels of a Philips PAR/REC pair", _PHILIPS_CONVERT),
    (".xml", "an XML file", _C3D_CONVERT),
)


def format_name(start: bytes, path: Path) -> str:
    """Name of the format of a file, as in `formats.FORMATS`.

    Parameters
    ----------
    start : bytes
        Its first `START_BYTES`, or all of a shorter one.
    path : Path
        Its name, which decides only where the bytes do not.

    Raises
    ------
    VolumeError
        The file is empty or of another format. The message names the format but no file.
    """
    if not start:
        raise VolumeError("empty file; copy or download it again")
    name = path.name.lower()
    found = [each for offset, signature, each in _FORMATS if start.startswith(signature, offset)]
    if name.endswith((".img", ".img.gz")) and not {"nifti", "dicom"} & set(found):
        return "pair"  # or Analyze, as its header will tell; voxels may start like anything
    if found:
        return found[0]
    if name.endswith((".mha", ".mhd")):
        return "metaimage"  # which may start with any of its fields
    for offset, signature, other, advice in _OTHER_FORMATS:
        if start.startswith(signature, offset):
            raise VolumeError(f"not a volume that is read here but {other}; {advice}")
    for suffix, other, advice in _OTHER_SUFFIXES:
        if name.endswith(suffix):
            raise VolumeError(f"not a volume that is read here but {other}; {advice}")
    raise VolumeError("not a volume of any format known here; convert it to NIfTI")
