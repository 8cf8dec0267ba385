"""The mark of tdafd in the files that it writes, by which a result is told from a scan."""

from pathlib import Path

from nibabel.nifti1 import Nifti1Extension, Nifti1Header

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.signatures import START_BYTES, format_name
from tdafd_cli.formats.streams import Stream, reading
from tdafd_cli.volumes.nifti_header import read_header

MARK = "tdafd"
"""Name of the field with the version: a comment among NIfTI's extensions, a field of NRRD and
MetaImage, the command in MGH."""

_TEXT_BYTES = 1 << 16
_TAIL_BYTES = 256
_COMMENT = "comment"


def marked_header(header: Nifti1Header, mark: str) -> Nifti1Header:
    """Header with the mark among its extensions, in place of an older one."""
    header = header.copy()
    others = [each for each in header.extensions if not _is_mark(each)]
    header.extensions.clear()
    header.extensions.extend([*others, Nifti1Extension(_COMMENT, f"{MARK} {mark}".encode())])
    return header


def is_result(path: Path) -> bool:
    """Whether a file bears the mark; false of what cannot be read.

    Of a pair and of a header with its voxels beside it, the header is the file to ask.
    """
    try:
        with reading(path) as stream:
            start = stream.read(START_BYTES)
            kind = format_name(start, path)
            if kind == "mgh":
                return f"{MARK} ".encode() in _tail(stream)
            if kind in ("nrrd", "metaimage"):
                text = start + stream.read(_TEXT_BYTES)
                return any(mark in text for mark in (b"\ntdafd:=", b"\ntdafd = "))
            stream.seek(0)
            return any(map(_is_mark, read_header(stream).extensions))
    except (VolumeError, UnicodeError):
        return False


def _is_mark(extension: Nifti1Extension) -> bool:
    if extension.get_code() != 6:  # a comment: https://nifti.nimh.nih.gov/nifti-1
        return False
    content = extension.get_content()
    text = content if isinstance(content, bytes) else str(content).encode()
    return text.startswith(f"{MARK} ".encode())


def _tail(stream: Stream) -> bytes:
    """What follows the voxels of an MGH file, in the main: its last bytes."""
    tail = b""
    while chunk := stream.read(_TEXT_BYTES):
        tail = (tail + chunk)[-_TAIL_BYTES:]
    return tail
