"""A benchmark: what networks cost, and what methods make of degraded volumes."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tdafd_cli.benchmark.comparison import Row, summaries
from tdafd_cli.benchmark.costs import costs
from tdafd_cli.benchmark.gallery import Panel, new_panels
from tdafd_cli.benchmark.methods import BASELINES, Method, external, interpolations, trained
from tdafd_cli.benchmark.results import Failure, Results
from tdafd_cli.errors import DataError, MethodError, TdafdError
from tdafd_cli.evaluation.case import Case, Reference, degraded, reference
from tdafd_cli.evaluation.metrics import score
from tdafd_cli.formats.files import read_volume
from tdafd_cli.formats.folders import volume_paths
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.machine.devices import choose_device, choose_precision, precision_name
from tdafd_cli.machine.metering import metered
from tdafd_cli.networks.tdafd import TDAFDConfig
from tdafd_cli.output import sha256
from tdafd_cli.provenance import provenance
from tdafd_cli.sampling.degradation import BENCHMARK_DEGRADATIONS
from tdafd_cli.sampling.factors import Factors, factors_of, factors_text
from tdafd_cli.weights.store import bundled_names, default_name, load_weights

DIGITS = 8  # of a score: runs on one machine agree in them

Seen = Callable[[Case, str, np.ndarray], None]
"""Called with each estimate: case, method, (sI, sJ, sK) array."""


@dataclass(frozen=True)
class BenchmarkSettings:
    """What to benchmark, and how.

    Attributes
    ----------
    places : tuple of Path
        Folders and files of high-resolution volumes; none to count costs alone.
    scales : tuple of int or (i, j, k)
        Of costs; the first is that of scores. Costs are not counted for one axis alone, where no
        peer works.
    degradations : tuple of str
    weights : tuple of str
        Names and paths; those that come with the program by default.
    commands : tuple of (name, command)
        Other programs, as `external` takes them.
    inference : InferenceSettings
        Of networks; costs take device, precision and threads from it.
    patch : int
        High voxels along each edge of the patch that costs are for.
    time_peers : bool
        Whether peers are run too; some take minutes on a CPU.
    seed : int
        Of the bootstrap.
    slices : bool
        Whether to keep slices of estimates.
    """

    places: tuple[Path, ...] = ()
    scales: tuple[int | Factors, ...] = (2,)
    degradations: tuple[str, ...] = tuple(BENCHMARK_DEGRADATIONS)
    weights: tuple[str, ...] = ()
    commands: tuple[tuple[str, str], ...] = ()
    inference: InferenceSettings = field(default_factory=InferenceSettings)
    patch: int = 64
    time_peers: bool = False
    seed: int = 0
    slices: bool = False


def run_benchmark(
    settings: BenchmarkSettings,
    *,
    command: str,
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[Results, list[Panel]]:
    """Count and measure costs, then score every method on every volume.

    Parameters
    ----------
    settings : BenchmarkSettings
    command : str
        As typed, for the record.
    progress : callable
        Called with a line on what is being done.

    Returns
    -------
    Results, and slices of the first volumes if they were asked for

    Raises
    ------
    TdafdError
        Before any computing, if volumes, weights, methods or the device are not available. What
        fails later is noted in the results, and the rest goes on.
    """
    settings = replace(settings, inference=_resolved(settings.inference))
    inference = settings.inference
    volumes = find_volumes(settings.places)
    methods = _methods(settings) if volumes else []
    check_methods(methods)
    how = {name: getattr(inference, name) for name in ("device", "precision", "threads")}
    results = Results(provenance(command=command, seed=settings.seed, **how))
    configs = _configs(settings.scales)
    for cost in costs(configs, patch=settings.patch, time_peers=settings.time_peers, **how):
        progress(f"x{cost.scale}: {cost.network}")
        results.costs.append(cost)
    panels: list[Panel] = []

    def keep_slices(case: Case, method: str, estimate: np.ndarray) -> None:
        if settings.slices:
            panels.extend(new_panels(case, method, estimate, panels))

    if volumes:
        score_methods(
            results,
            volumes,
            methods,
            scale=settings.scales[0],
            degradations=settings.degradations,
            seen=keep_slices,
            progress=progress,
        )
    progress("")
    return results, panels


def find_volumes(places: Sequence[Path]) -> dict[str, Path]:
    """Volumes in folders, at any depth, and files, by unique names.

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
    """Raise `MethodError` if two methods share a name: their rows would be mixed up."""
    names = [method.name for method in methods]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MethodError(f"two methods are named {twice[0]}; give them different names")


def score_methods(
    results: Results,
    volumes: dict[str, Path],
    methods: Sequence[Method],
    *,
    scale: int | Factors,
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
    scale : int or (i, j, k)
    degradations : sequence of str
    seen : callable
        Called with every estimate, which is not kept.
    progress : callable
        Called with a line on what comes next.
    """
    check_methods(methods)
    factors = factors_of(scale)
    results.scale = factors[0] if min(factors) > 1 else factors_text(factors)
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


def _resolved(inference: InferenceSettings) -> InferenceSettings:
    """Settings with the device and the precision that "auto" stands for here."""
    device = choose_device(inference.device)
    precision = precision_name(choose_precision(inference.precision, device))
    return replace(inference, device=str(device), precision=precision)


def _methods(settings: BenchmarkSettings) -> list[Method]:
    """Every interpolation, the weights and the programs asked for."""
    scale, inference = settings.scales[0], settings.inference
    return [
        *interpolations(inference.threads),
        *(
            trained(load_weights(name, scale=scale), inference, patch=settings.patch)
            for name in settings.weights or (default_name(scale),)
        ),
        *(external(name, command) for name, command in settings.commands),
    ]


def _configs(scales: Sequence[int | Factors]) -> dict[int, TDAFDConfig]:
    """The network that comes with the program for each scale; the default one where none does."""
    bundled = bundled_names()
    return {
        scale: load_weights(default_name(scale)).config
        if f"tdafd-x{scale}" in bundled
        else TDAFDConfig(scale=scale)
        for scale in scales
        if isinstance(scale, int)
    }


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
