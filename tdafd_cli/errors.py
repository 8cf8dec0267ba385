"""Errors that the user can act on, in one line each, and how such lines write sizes."""

from collections.abc import Sequence
from numbers import Integral


class TdafdError(Exception):
    """Root of every error the user can put right.

    The message is one line that names the thing, what was found, what was wanted and what to
    do. It never quotes the free text of a volume's header, which may identify a person.
    """


class VolumeError(TdafdError):
    """A volume cannot be read, or holds something that cannot be upscaled."""


class OutputError(TdafdError):
    """A result cannot be written where it was asked for."""


class WeightsError(TdafdError):
    """Weights are unknown, damaged, or made for another scale or network."""


class DeviceError(TdafdError):
    """The requested device or precision is not available on this machine."""


class MemoryLimitError(TdafdError):
    """The work does not fit in the memory that is free."""


class DataError(TdafdError):
    """Training or validation data is missing or unusable."""


class RecipeError(TdafdError):
    """A training recipe does not say, or says wrongly, what to do."""


class MethodError(TdafdError):
    """A method under benchmark failed, or gave something else than the volume asked for."""


def size_text(sizes: Sequence[float], *, digits: int = 4) -> str:
    """Sizes along axes as text: counts of voxels in full, lengths to some significant digits.

    >>> size_text((12345, 16, 14)), size_text((1.0, 1.25, 2.0064), digits=3)
    ('12345 x 16 x 14', '1 x 1.25 x 2.01')
    """
    return " x ".join(
        str(size) if isinstance(size, Integral) else f"{size:.{digits}g}" for size in sizes
    )
