"""The command line: the app, its commands, and how it ends.

Results go to stdout, all else to stderr. Exit codes: 0 done, 1 an error in one line, 2 usage,
130 interrupted, 143 terminated; `commands.terminal` turns errors into them. Whatever is slow to
import is imported inside the commands.
"""

import signal
import sys
from typing import Annotated, NoReturn

import typer

from tdafd_cli import __version__
from tdafd_cli.commands.benchmark import benchmark
from tdafd_cli.commands.doctor import doctor
from tdafd_cli.commands.info import info
from tdafd_cli.commands.train import train
from tdafd_cli.commands.upscale import upscale
from tdafd_cli.commands.usage import Commands
from tdafd_cli.commands.weights import app as weights_app

app = typer.Typer(
    name="tdafd",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain text is instant, and errors stay in one line
    pretty_exceptions_enable=False,  # they print local variables, headers' free text among them
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line; SIGTERM unwinds like Ctrl-C, so that no partial file is left."""
    signal.signal(signal.SIGTERM, _terminate)
    app(prog_name="tdafd")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tdafd {__version__}")
        raise typer.Exit


@app.callback()
def tdafd(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Lightweight 3D MRI super-resolution with TDAFD."""


app.command()(upscale)
app.command()(info)
app.command()(train)
app.command()(benchmark)
app.add_typer(weights_app, name="weights")
app.command()(doctor)


def _terminate(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)
