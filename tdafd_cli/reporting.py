"""What commands tell the user on stderr: errors in one line, and how far the work is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

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


def times(numbers: Sequence[float]) -> str:
    """Sizes as text.

    >>> times((1.0, 1.25, 2))
    '1 x 1.25 x 2'
    """
    return " x ".join(f"{number:.4g}" for number in numbers)
