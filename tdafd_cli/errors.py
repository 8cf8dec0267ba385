"""Errors that the user can act on: each message is one line, ready to print."""


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
