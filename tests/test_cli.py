import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import tdafd_cli
from tdafd_cli.cli import app

REPOSITORY = Path(tdafd_cli.__file__).parent.parent


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in arguments], catch_exceptions=False)


def test_version_is_the_package_s():
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"tdafd {tdafd_cli.__version__}\n")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []])
def test_help_lists_the_commands(arguments):
    result = run(*arguments)
    assert result.exit_code == (0 if arguments else 2)
    assert "upscale" in result.output


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; from tdafd_cli.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    for arguments in (["--help"], ["upscale", "--help"]):
        process = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=REPOSITORY, capture_output=True, text=True
        )
        assert process.stdout.splitlines()[-1] == "0 False False"
