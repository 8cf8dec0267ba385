"""Upscale one file into another: a volume, or a series of them."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.files import check_dtype, check_storage, check_target, open_scan
from tdafd_cli.formats.scan import Scan
from tdafd_cli.formats.selection import Selection
from tdafd_cli.inference.result import Result, seconds_of
from tdafd_cli.inference.series import upscale_series
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.tiling import Progress
from tdafd_cli.inference.upscaling import Obtain, upscale_source
from tdafd_cli.machine.devices import choose_device, choose_precision
from tdafd_cli.sampling.plan import Request
from tdafd_cli.volumes.volume import Volume
from tdafd_cli.weights.file import Weights


def upscale_file(
    source: Path,
    target: Path,
    *,
    weights: Weights | Obtain,
    request: Request | None = None,
    settings: InferenceSettings | None = None,
    selection: Selection | None = None,
    normalise: str = "series",
    dtype: str = "input",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Upscale one file into another, which appears whole or not at all.

    Parameters
    ----------
    source : Path
        File of any format that is read, or folder of DICOM files.
    target : Path
        Its ending tells the format.
    weights, request
        As for `upscale_source`.
    settings : InferenceSettings, optional
    selection : Selection, optional
        Which volumes of the source are meant: all by default.
    normalise : {"series", "volume"}
        As for `upscale_series`.
    dtype, overwrite
        As for `write_volume`.
    progress : callable, optional
        Called after each tile with the number done and the number of all.

    Returns
    -------
    Result
        Of a series, with the first volume alone.

    Raises
    ------
    TdafdError
        In one line, whatever the reason; ``target`` is as it was then.
    """
    settings, selection = settings or InferenceSettings(), selection or Selection()
    check_dtype(dtype)
    check_target(target, overwrite, source=source)
    choose_precision(settings.precision, choose_device(settings.place))  # or fail before reading
    opened = open_source(source, target, selection=selection, dtype=dtype)
    result = upscale_opened(
        opened,
        target,
        weights=weights,
        request=request,
        settings=settings,
        normalise=normalise,
        dtype=dtype,
        overwrite=overwrite,
        progress=progress,
    )
    return result if opened.is_series else result.save(target, overwrite)


@dataclass(frozen=True, eq=False)
class Opened:
    """A source whose target can hold what is made of it.

    Attributes
    ----------
    scan : Scan
    numbers : range
        Of the volumes that are meant.
    volume : Volume, optional
        The only one, where it was read already.
    seconds : float
        That reading took.
    """

    scan: Scan
    numbers: range
    volume: Volume | None = None
    seconds: float = 0.0

    @property
    def is_series(self) -> bool:
        """Whether many volumes are meant, which are read as they are upscaled."""
        return len(self.numbers) > 1


def open_source(
    source: Path, target: Path, *, selection: Selection, dtype: str, read: bool = False
) -> Opened:
    """Open a source, and read its volume at once if asked to and there is but one.

    Raises
    ------
    TdafdError
        It cannot be read, holds none of the volumes that are meant, or the target's format cannot
        hold the result.
    """
    started = time.perf_counter()
    scan = open_scan(source, series=selection.series, part=selection.part)
    try:
        numbers = selection.numbers(scan.count)
    except VolumeError as error:
        raise VolumeError(f"{source}: {error}") from None
    check_storage(target, scan.header, dtype, volumes=len(numbers))
    volume = None
    if read and len(numbers) == 1:
        (volume,) = scan.volumes(numbers)
    return Opened(scan, numbers, volume, time.perf_counter() - started)


def upscale_opened(
    opened: Opened,
    target: Path,
    *,
    weights: Weights | Obtain,
    request: Request | None = None,
    settings: InferenceSettings,
    normalise: str = "series",
    dtype: str = "input",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Upscale what was opened; a series is written, too, as its result is never held as one.

    Parameters and errors are those of `upscale_file`.
    """
    if opened.is_series:
        return upscale_series(
            opened.scan,
            opened.numbers,
            target,
            weights=weights,
            request=request,
            settings=settings,
            normalise=normalise,
            dtype=dtype,
            overwrite=overwrite,
            progress=progress,
        )
    source = opened.volume or (opened.scan, opened.numbers[0])
    result = upscale_source(
        source,
        weights=weights,
        request=request,
        settings=settings,
        dtype=dtype,
        progress=progress,
    )
    if opened.volume is None:
        return result
    seconds = seconds_of(opened.seconds, result.details.seconds["network"], 0.0)
    return replace(result, details=replace(result.details, seconds=seconds))
