"""The files a benchmark writes: JSON, CSV, Markdown and one HTML page."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tdafd_cli.errors import OutputError
from tdafd_cli.output import check_writable, replacing

if TYPE_CHECKING:
    from tdafd_cli.benchmark.gallery import Panel
    from tdafd_cli.benchmark.results import Results

PAGE = "index.html"


@dataclass(frozen=True)
class Outputs:
    """Where results go; None where they do not.

    Attributes
    ----------
    json, csv, markdown : Path, optional
        Files.
    report : Path, optional
        Folder of the page, made if it is not there.
    """

    json: Path | None = None
    csv: Path | None = None
    markdown: Path | None = None
    report: Path | None = None


def check_outputs(outputs: Outputs, overwrite: bool = False) -> None:
    """Raise `OutputError` if outputs cannot be written: ask before any computing.

    The folder of the page is made.
    """
    for path in (outputs.json, outputs.csv, outputs.markdown):
        if path is not None:
            check_writable(path, overwrite)
    if outputs.report is None:
        return
    if outputs.report.exists() and not outputs.report.is_dir():
        raise OutputError(f"{outputs.report}: exists and is not a folder; choose another name")
    try:
        outputs.report.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{outputs.report}: cannot be made: {error.strerror}; choose another"
        ) from error
    check_writable(outputs.report / PAGE, overwrite)


def write_outputs(outputs: Outputs, results: "Results", panels: Sequence["Panel"]) -> None:
    """Write results, and on the page the slices, each file whole or not at all.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    # Here, as outputs are checked before torch takes its seconds.
    from tdafd_cli.benchmark.page import to_html
    from tdafd_cli.benchmark.tables import result_tables, to_csv, to_markdown

    if outputs.json is not None:
        _write(outputs.json, json.dumps(results.to_dict(), indent=1) + "\n")
    if outputs.csv is not None:
        _write(outputs.csv, to_csv(results))
    if outputs.markdown is not None:
        _write(outputs.markdown, to_markdown(result_tables(results)))
    if outputs.report is not None:
        _write(outputs.report / PAGE, to_html(results, panels))


def _write(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())
