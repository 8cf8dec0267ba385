"""Usage errors, which are one line like all others: what, why, and where to look it up."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperGroup

from tdafd_cli.commands.terminal import fail

USAGE_ERROR: Any = typer.BadParameter.__base__
"""Root of Typer's usage errors, wherever the installed version keeps it."""


class Commands(TyperGroup):
    """All commands; what is wrong with their words is told in one line."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Parse the words before the command."""
        with usage_errors():
            return super().make_context(*args, **extra)

    def invoke(self, *args: Any, **extra: Any) -> Any:
        """Parse the rest, and run the command."""
        with usage_errors():
            return super().invoke(*args, **extra)


@contextmanager
def usage_errors() -> Iterator[None]:
    """Print what is wrong with a command's words as one line, and exit with code 2.

    Help that is shown in place of missing words stays as it is.
    """
    try:
        yield
    except USAGE_ERROR as error:
        if error.ctx is not None and error.message == error.ctx.get_help():
            raise
        fail(usage_line(error), code=2)


def usage_line(error: Any) -> str:
    """What is wrong with a command's words, and where help is to be had.

    Parameters
    ----------
    error : usage error of Typer
        The phrases of the libraries that it converts values with are put in plain words.
    """
    command = error.ctx.command_path if error.ctx is not None else "tdafd"
    return f"{_fault(error)}; see `{command} --help`"


def _fault(error: Any) -> str:
    if isinstance(error, typer.BadParameter):
        message = _plain(error)
        return f"{_name(error)}: {message}" if message else f"{_name(error)} is missing"
    option = getattr(error, "option_name", None)
    known = getattr(error, "possibilities", None) or _options(error)
    if option and hasattr(error, "possibilities"):
        nearest = get_close_matches(option, known, n=1)
        return f"no such option: {option}" + (f", but there is {nearest[0]}" if nearest else "")
    message = error.format_message().strip().rstrip(".?")
    message = (
        message.replace("(s) (", ": ").rstrip(")").replace("'. Did you mean", "', but there is")
    )
    return f"{message[:1].lower()}{message[1:]}"


def _options(error: Any) -> list[str]:
    """Options that the command takes in whose words the error is."""
    if error.ctx is None:
        return []
    return [option for param in error.ctx.command.params for option in param.opts]


def _name(error: Any) -> str:
    """Option or argument that an error is about, as a user types or reads it."""
    if error.param_hint is not None:
        return str(error.param_hint)
    if error.param is None:
        return "command"
    if error.param.param_type_name == "option":
        return str(max(error.param.opts, key=len))
    return str(error.param.metavar or error.param.name.upper())


def _plain(error: Any) -> str:
    """Message of a bad value without the phrases of pydantic, which newer Typers convert with."""
    cause = error.__cause__
    details = cause.errors()[0] if hasattr(cause, "errors") else {}
    limits, given = details.get("ctx", {}), details.get("input")
    sentences = {
        "int_parsing": f"{given!r} is not a whole number",
        "int_from_float": f"{given!r} is not a whole number",
        "float_parsing": f"{given!r} is not a number",
        "greater_than_equal": f"{given} is below {limits.get('ge')}, the least",
        "less_than_equal": f"{given} is above {limits.get('le')}, the most",
    }
    message = str(error.message).removeprefix("Value error, ").rstrip(".")
    return sentences.get(str(details.get("type")), message)
