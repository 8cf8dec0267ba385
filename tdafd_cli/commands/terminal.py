"""What commands print on stderr: errors in one line, and progress."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NoReturn

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
