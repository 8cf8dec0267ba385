"""Benchmark: methods over degraded volumes, with scores, costs and how they were come by."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tdafd_cli.benchmark.comparison import Row, summaries
from tdafd_cli.benchmark.methods import BASELINES, Method
from tdafd_cli.benchmark.results import Failure, Results
from tdafd_cli.errors import DataError, MethodError, TdafdError
from tdafd_cli.evaluation.case import Case, Reference, degraded, reference
from tdafd_cli.evaluation.metrics import score
from tdafd_cli.machine.metering import metered
from tdafd_cli.output import sha256
from tdafd_cli.volumes.files import volume_paths
from tdafd_cli.volumes.nifti import read_volume

DIGITS = 8  # of a score: runs on one machine agree in them
EXAMPLE = "head_2mm.nii.gz"

Seen = Callable[[Case, str, np.ndarray], None]
"""Told of each estimate: case, method, (sI, sJ, sK) array."""


def example_path() -> Path:
    """The bundled volume: in the installed package, or in a source checkout beside it."""
    package = Path(__file__).parents[1]
    installed = package / "_examples" / EXAMPLE
    return installed if installed.is_file() else package.parent / "examples" / EXAMPLE


def find_volumes(places: Sequence[Path]) -> dict[str, Path]:
    """Volumes in folders, at any depth, and files, by names that tell them apart.

    Raises
    ------
    DataError
        If a place is missing, or a folder holds no volume.
    """
    found: dict[str, Path] = {}
    for place in places:
        if not place.exists():
            raise DataError(f"{place}: no such file or folder; check the name")
        inside = place.is_dir()
        for path in volume_paths(place) if inside else [place]:
            name = path.relative_to(place).as_posix() if inside else path.name
            found[str(path) if name in found else name] = path
    return found


def check_methods(methods: Sequence[Method]) -> None:
    """Raise `MethodError` if two methods share a name: their rows could not be told apart."""
    names = [method.name for method in methods]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MethodError(f"two methods are named {twice[0]}; give them different names")


def run_benchmark(
    results: Results,
    volumes: dict[str, Path],
    methods: Sequence[Method],
    *,
    scale: int,
    degradations: Sequence[str],
    seen: Seen = lambda case, method, estimate: None,
    progress: Callable[[str], None] = lambda line: None,
) -> None:
    """Score every method on every volume under every degradation, into ``results``.

    A volume that cannot be used, and a method that fails on it, is noted and the rest go on.

    Parameters
    ----------
    results : Results
    volumes : dict of name to path
    methods : sequence of Method
    scale : int
    degradations : sequence of str
    seen : callable
        Told of every estimate, which is not kept.
    progress : callable
        Told in a line what comes next.
    """
    check_methods(methods)
    results.scale = scale
    results.methods = [
        {"name": method.name, "kind": method.kind, **method.about} for method in methods
    ]
    for number, (name, path) in enumerate(volumes.items(), start=1):
        try:
            judged = reference(name, read_volume(path), scale)
        except TdafdError as error:
            results.failures.append(Failure(name, str(error)))
            continue
        results.data.append(_about(judged, path))
        for kind in degradations:
            case = degraded(judged, kind)
            for method in methods:
                progress(f"{number}/{len(volumes)} {name}, {kind}: {method.name}")
                _score(results, case, method, seen)
    if results.rows:
        seed = results.provenance["seed"]
        results.summaries = summaries(results.rows, BASELINES, seed=seed)


def _score(results: Results, case: Case, method: Method, seen: Seen) -> None:
    name, device = case.reference.name, results.provenance["device"]
    try:
        device = device if method.kind == "network" else "cpu"
        children = method.kind == "command"
        work = metered(lambda: method.estimate(case), device, children=children)
    except TdafdError as error:
        results.failures.append(Failure(name, str(error), case.degradation, method.name))
        return
    scores = score(case.reference.high.numpy(), work.value, case.reference.mask)
    results.rows.append(
        Row(
            volume=name,
            degradation=case.degradation,
            method=method.name,
            **{metric: round(value, DIGITS) for metric, value in asdict(scores).items()},
            seconds=round(work.seconds, 4),
            peak_memory_bytes=work.peak_memory_bytes,
        )
    )
    seen(case, method.name, work.value)


def _about(judged: Reference, path: Path) -> dict[str, Any]:
    return {
        "name": judged.name,
        "sha256": sha256(path),
        "shape": list(judged.volume.shape),
        "voxel_size": [round(size, 4) for size in judged.volume.voxel_size],
    }
