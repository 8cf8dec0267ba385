"""What commands print on stderr: errors in one line, and progress."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NoReturn

import typer

from tdafd_cli.errors import TdafdError


@contextmanager
def user_errors() -> Iterator[None]:
    """Print errors that the user can act on as one line, and exit with their code."""
    try:
        yield
    except TdafdError as error:
        fail(str(error), code=1)
    except MemoryError as error:
        fail(f"out of memory: {error}", code=1)
    except KeyboardInterrupt:
        fail("interrupted", code=130)


def fail(message: str, *, code: int) -> NoReturn:
    """Print an error as one line and exit."""
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    raise typer.Exit(code)


@contextmanager
def stops_by_signal() -> Iterator[list[int]]:
    """Signal that asked to stop, Ctrl-C or SIGTERM, in a list that is empty before.

    Whoever works looks into the list where stopping is safe. A second signal ends at once.
    """
    stop: list[int] = []
    before: dict[int, Any] = {}

    def take(number: int, frame: object) -> None:
        stop.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)
        typer.echo("\nnote: stopping after this step; once more stops at once", err=True)

    if threading.current_thread() is threading.main_thread():
        before = {each: signal.signal(each, take) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def progress_bar(
    description: str, *, unit: Literal["tiles", "bytes"], shown: bool
) -> Iterator[Callable[[int, int], None] | None]:
    """Progress bar on stderr, or None if stderr is no terminal: a function of done and total.

    A bar of bytes appears with the first ones, as often there is nothing to download.
    """
    if not (shown and sys.stderr.isatty()):
        yield None
        return
    from rich import progress as rich_progress
    from rich.console import Console

    column = rich_progress.TextColumn
    counts = (
        (rich_progress.DownloadColumn(), rich_progress.TransferSpeedColumn())
        if unit == "bytes"
        else (
            rich_progress.MofNCompleteColumn(),
            column(f"{unit},"),
            rich_progress.TimeElapsedColumn(),
            column("gone,"),
        )
    )
    columns = (
        column("{task.description}"),
        rich_progress.BarColumn(),
        *counts,
        rich_progress.TimeRemainingColumn(),
        column("left"),
    )
    console = Console(stderr=True)
    with rich_progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=None, visible=unit != "bytes")
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)
