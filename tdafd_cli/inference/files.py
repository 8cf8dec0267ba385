"""Upscale one file into another: a volume, or a series of them."""

from pathlib import Path

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.files import check_dtype, check_storage, check_target, open_scan
from tdafd_cli.formats.selection import Selection
from tdafd_cli.inference.result import Result
from tdafd_cli.inference.series import upscale_series
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.inference.tiling import Progress
from tdafd_cli.inference.upscaling import Obtain, upscale_source
from tdafd_cli.machine.devices import choose_device, choose_precision
from tdafd_cli.sampling.plan import Request
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
    scan = open_scan(source, series=selection.series, part=selection.part)
    try:
        numbers = selection.numbers(scan.count)
    except VolumeError as error:
        raise VolumeError(f"{source}: {error}") from None
    check_storage(target, scan.header, dtype, volumes=len(numbers))
    if len(numbers) > 1:
        return upscale_series(
            scan,
            numbers,
            target,
            weights=weights,
            request=request,
            settings=settings,
            normalise=normalise,
            dtype=dtype,
            overwrite=overwrite,
            progress=progress,
        )
    result = upscale_source(
        scan,
        weights=weights,
        request=request,
        settings=settings,
        selection=selection,
        dtype=dtype,
        progress=progress,
    )
    return result.save(target, overwrite)
