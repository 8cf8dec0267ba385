"""Train TDAFD and its peers alike, from scratch, and tell which is best after the same time.

Every network sees the same sequence of patches, made by the same degradations, and gets the same
loss, optimiser and seconds of optimisation on the same device (on a CPU, processor seconds); the
making of patches is not timed.
A network that is quick sees more of the sequence. Each is judged on the central part of volumes it
never saw, in one pass without tiles. TDAFD alone is also told the spectral fall-off of the volume
that a patch is from; "blind" is TDAFD without it.

    python studies/equal_budget.py RESULTS --data TRAINING --test VOLUMES --minutes 8

`--networks` also takes any of `tdafd_cli.networks.peers` and of `designs.py`, the variants of
TDAFD. Networks that RESULTS holds already are left out, so that several calls can share the work.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from designs import DESIGNS
from torch import nn
from torch.optim.swa_utils import AveragedModel

from tdafd_cli.evaluation.case import Case, degraded, reference
from tdafd_cli.evaluation.metrics import Scores, score
from tdafd_cli.formats.files import read_volume
from tdafd_cli.formats.folders import volume_paths
from tdafd_cli.machine.devices import (
    choose_device,
    choose_precision,
    precision_name,
    threads_limited,
)
from tdafd_cli.machine.memory import freed_memory_kept
from tdafd_cli.networks.complexity import complexity, low_edge
from tdafd_cli.networks.family import Family
from tdafd_cli.networks.peers import PEERS
from tdafd_cli.networks.tdafd import TDAFD
from tdafd_cli.output import replacing
from tdafd_cli.sampling.degradation import BENCHMARK_DEGRADATIONS
from tdafd_cli.sampling.factors import Factors
from tdafd_cli.sampling.interpolation import BASELINES, interpolate
from tdafd_cli.sampling.spectrum import spectral_falloff
from tdafd_cli.training.dataset import batches
from tdafd_cli.training.loop import take_step
from tdafd_cli.training.optimisation import adamw
from tdafd_cli.training.recipe import read_recipe
from tdafd_cli.training.settings import TrainingConfig
from tdafd_cli.training.state import TrainingState
from tdafd_cli.training.volumes import load_volumes

RECIPE = Path(__file__).with_name("equal_budget.toml")
BUDGET_STEPS = 10_000  # of the schedule: a step of the learning rate is so much of the budget
PATCH = 64  # high voxels along each axis for which FLOPs are told
EDGE = 64  # low voxels along each axis of the part that is judged


class Peer(nn.Module):
    """A network that looks at its input alone."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, low: torch.Tensor, falloff: torch.Tensor | None = None) -> torch.Tensor:
        """Upscale; the fall-off is not used."""
        return self.body(low)

    def observe(self, falloff: torch.Tensor) -> None:
        """Nothing to remember of it."""


class Alone(nn.Module):
    """One network of any kind, where training expects a family."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def of_scale(self, scale: int | Factors) -> nn.Module:
        """The network, whatever the scale."""
        return self.network


def peer(scale: int, name: str) -> nn.Module:
    """One of `tdafd_cli.networks.peers`."""
    return Peer(PEERS[name].build(scale))


COMPARED = ("TDAFD", "blind", "SRCNN3D", "EDDSR", "mDCSRN", "ReCNN-10")
NETWORKS: Mapping[str, Callable[[int], nn.Module]] = MappingProxyType(
    {**{name: partial(peer, name=name) for name in PEERS}, **DESIGNS}
)


def train(
    build: Callable[[int], nn.Module],
    volumes: list[Any],
    config: TrainingConfig,
    *,
    seconds: float,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[nn.Module, int]:
    """Train a network for so many seconds of optimisation: network and steps taken."""
    torch.manual_seed(config.seed)
    network = build(config.network.scale).to(device)
    network = network.to(memory_format=torch.channels_last_3d)
    if isinstance(network, TDAFD) and config.dataset.patch % network.grid:
        raise typer.BadParameter(f"patches must be multiples of {network.grid} for this network")
    rate, decay = config.learning_rate, config.weight_decay
    optimiser = adamw(network.parameters(), rate, decay)
    alone = cast(Family, Alone(network))
    state = TrainingState(alone, AveragedModel(alone), [optimiser])
    stream = batches(
        volumes, config.dataset, scale=config.network.scale, seed=config.seed, device=device
    )
    # On a CPU its own seconds, which other work on the machine does not shorten.
    clock = time.process_time if device.type == "cpu" else time.monotonic
    spent, steps = 0.0, 0
    while spent < seconds:
        batch = next(stream)
        # The schedule runs on time: every network is at the same point of it when time is up.
        state.step = int(BUDGET_STEPS * spent / seconds)
        begun = clock()
        take_step(state, batch, config, dtype)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent += clock() - begun
        steps += 1
        if steps % 50 == 0:
            print(f"  step {steps}, {spent:.0f} of {seconds:.0f} s", file=sys.stderr, flush=True)
    return network.eval(), steps


def scores_of(
    network: nn.Module, cases: list[Case], device: torch.device, dtype: torch.dtype
) -> list[dict[str, Any]]:
    """Score a network on the central part of every case, beside the best interpolation of it."""
    rows = []
    for case in cases:
        starts = [max(0, (size - EDGE) // 2) for size in case.low.shape]
        part = tuple(slice(start, start + EDGE) for start in starts)
        fine = tuple(slice(s.start * case.scale, s.stop * case.scale) for s in part)
        low, high = case.low[part], case.reference.high[fine].numpy()
        judged = partial(_scores, case, high, case.reference.mask[fine])
        falloff = spectral_falloff(case.low[None, None]).to(device)
        reduced = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
        with torch.inference_mode(), reduced:
            estimate = network(low[None, None].to(device), falloff)[0, 0].float().cpu()
        interpolated = [judged(interpolate(low, case.scale, method)) for method in BASELINES]
        best = max(scores.psnr_foreground for scores in interpolated)
        rows.append(
            {
                "volume": case.reference.name,
                "degradation": case.degradation,
                **{name: round(value, 4) for name, value in asdict(judged(estimate)).items()},
                "best_interpolation_psnr_foreground": round(best, 4),
            }
        )
    return rows


def _scores(case: Case, high: np.ndarray, mask: np.ndarray, estimate: torch.Tensor) -> Scores:
    return score(high, case.intensities(estimate), mask)


def table(folder: Path) -> str:
    """Markdown table of every result in a folder, best first."""
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    kinds = list(BENCHMARK_DEGRADATIONS)
    lines = [
        "| network | parameters | GFLOPs | steps | " + " | ".join(kinds) + " | mean SSIM |",
        "|---" * (5 + len(kinds)) + "|",
    ]
    told = []
    for result in results:
        gains = defaultdict(list)
        for row in result["scores"]:
            gain = row["psnr_foreground"] - row["best_interpolation_psnr_foreground"]
            gains[row["degradation"]].append(gain)
        means = {kind: float(np.mean(gains[kind])) for kind in kinds}
        ssim = float(np.mean([row["ssim_foreground"] for row in result["scores"]]))
        cells = " | ".join(f"{means[kind]:+.2f}" for kind in kinds)
        line = (
            f"| {result['network']} | {result['parameters']:,} | {result['flops'] / 1e9:.1f} "
            f"| {result['steps']:,} | {cells} | {ssim:.4f} |"
        )
        told.append((sum(means.values()), line))
    return "\n".join([*lines, *(line for _, line in sorted(told, reverse=True))])


def main(
    output: Annotated[Path, typer.Argument(help="Folder for results; made if it is not there.")],
    data: Annotated[Path, typer.Option(help="Folder of volumes to train on.")],
    test: Annotated[list[Path], typer.Option(help="Volumes, or folders of them, to judge on.")],
    networks: Annotated[str, typer.Option(help="Names, separated by commas.")] = ",".join(COMPARED),
    minutes: Annotated[float, typer.Option(help="Of optimisation, for each network.")] = 8.0,
    scale: Annotated[int, typer.Option(min=2, max=4)] = 2,
    recipe: Annotated[Path, typer.Option(help="Settings of data and optimisation.")] = RECIPE,
    device: Annotated[str, typer.Option()] = "auto",
    threads: Annotated[int | None, typer.Option(min=1)] = None,
) -> None:
    """Train networks for the same time, score them, and print the table of all results."""
    place = choose_device(device)
    dtype = choose_precision("auto", place)
    if dtype == torch.float16:  # which training would have to scale losses for
        dtype = torch.float32
    config = read_recipe(recipe)
    if config.optimiser != "adamw":
        raise typer.BadParameter(f"{recipe}: every network is trained by adamw here")
    config = replace(config, steps=BUDGET_STEPS, network=replace(config.network, scale=scale))
    paths = [path for one in test for path in (volume_paths(one) if one.is_dir() else [one])]
    sources = config.dataset.sources
    trained_on = {path.resolve() for source in sources for path in data.glob(source.pattern)}
    if seen := {path.resolve() for path in paths} & trained_on:
        raise typer.BadParameter(f"{min(seen)}: is in both training and test")
    settings = {
        "scale": scale,
        "minutes": minutes,
        "device": str(place),
        "precision": precision_name(dtype),
        "threads": threads or torch.get_num_threads(),
        "torch": torch.__version__,
        "recipe": asdict(config),
        "test": [path.name for path in paths],
    }
    settings = json.loads(json.dumps(settings))  # as a result file will have it
    names = [name.strip() for name in networks.split(",")]
    if unknown := set(names) - set(NETWORKS):
        raise typer.BadParameter(f"no network {min(unknown)!r}; there are {', '.join(NETWORKS)}")
    output.mkdir(parents=True, exist_ok=True)
    _check_results(output, settings)
    wanted = [name for name in names if not (output / f"{name}.json").exists()]
    with threads_limited(threads), freed_memory_kept():
        smallest = config.dataset.patch * scale
        volumes = load_volumes(data, config.dataset.sources, smallest) if wanted else []
        cases = [
            degraded(reference(path.name, read_volume(path), scale), kind)
            for path in (paths if wanted else [])
            for kind in BENCHMARK_DEGRADATIONS
        ]
        for name in wanted:
            print(name, file=sys.stderr)
            network, steps = train(
                NETWORKS[name], volumes, config, seconds=60 * minutes, device=place, dtype=dtype
            )
            grid = network.grid if isinstance(network, TDAFD) else 1
            edge = low_edge(PATCH, scale, grid)
            cost = complexity(partial(NETWORKS[name], scale), (edge,) * 3)
            result = {
                "network": name,
                "parameters": cost.parameters,
                "flops": cost.flops,
                "patch": scale * edge,
                "steps": steps,
                "settings": settings,
                "scores": scores_of(network, cases, place, dtype),
            }
            with replacing(output / f"{name}.json") as file:
                file.write(json.dumps(result, indent=1).encode())
    print(table(output))


def _check_results(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse to put results of different settings into one table."""
    for path in sorted(folder.glob("*.json")):
        theirs = json.loads(path.read_text())["settings"]
        if differing := [name for name in settings if settings[name] != theirs[name]]:
            raise typer.BadParameter(
                f"{path} has another {' and '.join(differing)}; choose another folder"
            )


if __name__ == "__main__":
    typer.run(main)
