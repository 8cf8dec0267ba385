"""Lightweight 3D MRI super-resolution with TDAFD, from Python as from the command line.

`upscale` does what ``tdafd upscale`` does, for a file or a nibabel image, and gives a `Result`. All
that is slow to import is imported when it is needed: importing this package takes no time.

Examples
--------
>>> import nibabel, numpy
>>> import tdafd_cli as tdafd
>>> voxels = numpy.random.default_rng(0).normal(100, 20, (12, 12, 9)).astype("int16")
>>> scan = nibabel.Nifti1Image(voxels, numpy.diag([2.0, 2.0, 2.0, 1.0]))
>>> result = tdafd.upscale(scan, scale=2, device="cpu", ensemble=1)
>>> result.image.shape, result.image.get_data_dtype().name
((24, 24, 18), 'int16')
>>> result.report["weights"], result.report["output_voxel_size"]
('tdafd-x2', [1.0, 1.0, 1.0])
>>> [each["code"] for each in result.report["warnings"]]  # it is noise, after all
['noise', 'small-field']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdafd_cli.errors import TdafdError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nibabel.spatialimages import SpatialImage

    from tdafd_cli.inference.result import Result
    from tdafd_cli.weights.file import Weights

__version__ = "0.1.0"
__all__ = ["Result", "TdafdError", "__version__", "upscale"]


def upscale(
    source: str | Path | SpatialImage,
    scale: int | tuple[int, int, int] | None = None,
    *,
    spacing: float | tuple[float, float, float] | None = None,
    slice_axis: str | None = None,
    slice_thickness: float | None = None,
    weights: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    backend: str = "auto",
    tile: int | str = "auto",
    overlap: int = 48,
    batch_size: int = 1,
    threads: int | None = None,
    ensemble: int | str = "auto",
    consistency: str = "auto",
    fallback: bool = True,
    labels: str = "auto",
    dtype: str = "input",
    series: str | None = None,
    part: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Upscale one MRI volume, as ``tdafd upscale`` does, and write nothing.

    Parameters
    ----------
    source : str, Path or nibabel image
        A file of any format that the command reads, or a NIfTI image in memory, which is left as
        it is. Both pass the same checks. Of a series the command takes all volumes.
    scale : int or (i, j, k), optional
        New voxels per voxel along each axis: that of the weights by default, or 2.
    spacing : float or (i, j, k), optional
        Edges of the voxels wanted in mm, in place of a scale.
    slice_axis : {"auto", "I", "J", "K"}, optional
        Axis to make finer alone, by the scale or to the spacing.
    slice_thickness : float, optional
        Of slices in mm; by default what the JSON file beside the scan says, or their distance.
    weights : str or Path, optional
        Weights known by name, or a ``.safetensors`` file; ``tdafd-xSCALE`` by default. They are
        read once and kept, and read again only if their file has changed.
    device, precision, backend, tile, overlap, batch_size, threads, ensemble, consistency, fallback
    labels
        As the options of the same names, see `tdafd_cli.inference.settings.InferenceSettings`.
    dtype : str
        Type of the numbers in image and file: "input", "uint8", "int16", "uint16", "int32",
        "uint32", "float32" or "float64". Integers are rounded and clipped.
    series : str, optional
        Number or UID of the DICOM series that is meant, where a folder holds several.
    part : str, optional
        Of complex numbers in a file: "magnitude", "real" or "imaginary".
    progress : callable, optional
        Called after each tile with the number done and the number of all. Nothing is printed.

    Returns
    -------
    Result
        With ``image`` (a nibabel image), ``report`` (what ``tdafd upscale --json`` prints, as a
        dict) and ``save(path, overwrite=False)``.

    Raises
    ------
    TdafdError
        In one line: what cannot be read, computed or found, why, and what to do.
    ValueError, TypeError
        A setting that no run could have, or a source that is neither a path nor an image.
    """
    from tdafd_cli.formats.selection import Selection
    from tdafd_cli.inference.settings import InferenceSettings

    settings = InferenceSettings(
        device=device,
        precision=precision,
        backend=backend,
        tile=tile,
        overlap=overlap,
        batch_size=batch_size,
        threads=threads,
        ensemble=ensemble,
        consistency=consistency,
        fallback=fallback,
        labels=labels,
    )
    from tdafd_cli.inference.upscaling import upscale_source
    from tdafd_cli.sampling.plan import request_for
    from tdafd_cli.weights.store import default_name, kept_weights

    request = request_for(scale, spacing, slice_axis, slice_thickness)

    def obtain(factors: tuple[int, int, int] | None) -> Weights:
        return kept_weights(weights or default_name(factors), scale=factors)

    # What the scan does not decide is known, or missed, before it is read.
    known = weights is not None or not request.needs_the_scan
    return upscale_source(
        source,
        weights=obtain(None if request.needs_the_scan else request.factors) if known else obtain,
        request=request,
        settings=settings,
        dtype=dtype,
        selection=Selection(series, part),
        progress=progress,
    )


def __getattr__(name: str) -> Any:
    if name == "Result":
        from tdafd_cli.inference.result import Result

        return Result
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
