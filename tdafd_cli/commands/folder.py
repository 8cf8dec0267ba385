"""`tdafd upscale` of many volumes: what is searched, and what a watching person sees."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tdafd_cli.commands.options import DASH
from tdafd_cli.commands.order import Order, loaded_weights, report
from tdafd_cli.commands.terminal import user_errors

if TYPE_CHECKING:
    from tdafd_cli.batch.jobs import Job
    from tdafd_cli.batch.outcome import Outcome


@dataclass(frozen=True)
class Search:
    """Options that say which volumes there are, and who upscales them."""

    recursive: bool
    pattern: str
    workers: str
    shard: str | None
    device: str
    bids: bool
    participants: list[str]
    suffixes: list[str]

    @property
    def asks_for_folder(self) -> bool:
        """Whether an option was given that has no meaning for one file."""
        several = self.workers != "auto" or self.shard is not None or "," in self.device
        return self.recursive or self.pattern != "*" or several or self.bids

    @property
    def part(self) -> tuple[int, int]:
        """Number of the shard, and of all shards."""
        number, _, count = (self.shard or "1/1").partition("/")
        return int(number), int(count)


def is_for_folder(sources: Sequence[Path], target: Path, search: Search) -> bool:
    """Whether the results go into a folder, as where several files are copied.

    Of one source alone they do if the target is a folder, or the source is one and the target's
    name does not end as that of a file.

    Raises
    ------
    typer.BadParameter
        The target is, or is named like, a file.
    """
    from tdafd_cli.formats.files import SUFFIXES

    like_file = target.name.lower().endswith(SUFFIXES) and not target.is_dir()
    if len(sources) > 1 or DASH in sources or search.asks_for_folder:
        if like_file or target.is_file():
            raise typer.BadParameter(
                f"'{target}' is a file; for several volumes, end with a folder",
                param_hint="OUTPUT",
            )
        return True
    return target.is_dir() or (sources[0].is_dir() and not like_file and not target.exists())


def upscale_folder(sources: Sequence[Path], target: Path, order: Order, search: Search) -> None:
    """Upscale many volumes, and exit with 1 if any of them could not be."""
    with user_errors():
        jobs = _jobs(sources, target, search)  # before torch takes its seconds
        number, count = search.part
        mine = jobs[number - 1 :: count]
        others = [job for place, job in enumerate(jobs) if place % count != number - 1]

        from tdafd_cli.batch.bids import write_description
        from tdafd_cli.batch.request import Request
        from tdafd_cli.batch.run import run_batch
        from tdafd_cli.batch.workers import worker_count

        if order.weights is None and order.request.needs_the_scan:
            raise typer.BadParameter(
                "of many volumes, give --scale for all, or name --weights", param_hint="--spacing"
            )
        weights = loaded_weights(order)
        if search.bids:
            write_description(sources[0], target)
        devices = search.device.split(",")
        request = Request(
            weights.name,
            weights.path.resolve(),
            weights.sha256,
            order.settings,
            order.request,
            order.selection,
            order.normalise,
            order.dtype,
            order.overwrite,
            order.overwrite_scans,
        )
        with _bars(len(mine), shown=not order.quiet) as (passed, tiles):

            def told(outcome: Outcome) -> None:
                _tell(outcome, order)
                passed()

            statuses = run_batch(
                mine,
                target,
                request,
                weights,
                told=told,
                progress=tiles,
                devices=devices,
                workers=worker_count(search.workers, devices),
                others=others,
            )
    if not order.quiet:
        counts = ", ".join(f"{number} {status}" for status, number in sorted(statuses.items()))
        typer.echo(f"{target}: {counts}; see {target / 'summary.csv'}", err=True)
    if statuses["failed"] or statuses["pending"]:
        raise typer.Exit(1)


def _jobs(sources: Sequence[Path], target: Path, search: Search) -> list[Job]:
    if search.bids:
        from tdafd_cli.batch.bids import find_bids_jobs

        if len(sources) > 1 or DASH in sources or search.recursive or search.pattern != "*":
            raise typer.BadParameter(
                "takes one data set, and neither --recursive nor --pattern", param_hint="--bids"
            )
        return find_bids_jobs(
            sources[0],
            target,
            participants=search.participants,
            suffixes=search.suffixes,
            command=shlex.join(["tdafd", *sys.argv[1:]]),
        )
    if search.participants or search.suffixes:
        raise typer.BadParameter("belongs to --bids", param_hint="--participant-label, --suffix")
    from tdafd_cli.batch.jobs import find_jobs

    named = [path for source in sources for path in (_read_names() if source == DASH else [source])]
    return find_jobs(named, target, recursive=search.recursive, pattern=search.pattern)


def _read_names() -> list[Path]:
    """Names on standard input, one a line, or divided by zeros as `find -print0` does."""
    text = sys.stdin.read()
    names = text.split("\0") if "\0" in text else text.splitlines()
    return [Path(name) for name in names if name.strip()]


def _tell(outcome: Outcome, order: Order) -> None:
    """Print what became of a volume: a line, or a line of JSON."""
    if outcome.error:
        typer.echo(f"error: {outcome.error}", err=True)
    if order.as_json:
        typer.echo(json.dumps(outcome.to_dict()))
    elif outcome.report is not None:
        report(_named(outcome.report, outcome.source), quiet=order.quiet, as_json=False)


def _named(summary: dict[str, Any], source: str) -> dict[str, Any]:
    """A report whose notes and warnings say which volume they are about."""
    warnings = [
        {**each, "sentence": f"{source}: {each['sentence']}"} for each in summary["warnings"]
    ]
    return {**summary, "warnings": warnings, "notes": [f"{source}: {n}" for n in summary["notes"]]}


@contextmanager
def _bars(
    count: int, *, shown: bool
) -> Iterator[tuple[Callable[[], None], Callable[[int, int], None] | None]]:
    """Bars of volumes and of tiles on stderr, if it is a terminal."""
    if not (shown and sys.stderr.isatty()):
        yield (lambda: None), None
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("gone,"),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("left"),
    )
    # Only a terminal's output goes round the bars: what is piped must stay where it is.
    with rich_progress.Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    ) as bars:
        volumes = bars.add_task("Volumes", total=count)
        tiles = bars.add_task("Tiles", total=None, visible=False)
        yield (
            lambda: bars.advance(volumes),
            lambda done, total: bars.update(tiles, completed=done, total=total, visible=True),
        )
