"""Logs of a training run: CSV files to which the first process appends rows."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tdafd_cli.output import replacing
from tdafd_cli.training import distribution


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows to a CSV file, with a header if it is new; the first process alone does."""
    if distribution.rank() > 0:
        return
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)


def drop_rows_after(path: Path, step: int) -> None:
    """Drop what a killed run logged after its last checkpoint; the first process alone does.

    Parameters
    ----------
    path : Path
        CSV file with a column ``step``, whose last row may be cut short; it need not exist.
    step : int
        Last step that is kept.
    """
    if distribution.rank() > 0 or not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names, rows = reader.fieldnames or [], list(reader)
    if "step" not in names:  # killed within the header
        path.unlink()
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=names)
    writer.writeheader()
    writer.writerows(row for row in rows if None not in row.values() and int(row["step"]) <= step)
    with replacing(path) as target:
        target.write(text.getvalue().encode())
