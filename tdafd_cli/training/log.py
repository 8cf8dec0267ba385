"""Logs of a training run: CSV files to which the first process appends rows."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tdafd_cli.training import distribution


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows to a CSV file, with a header if it is new; the first process alone does."""
    if distribution.rank() > 0:
        return
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)
