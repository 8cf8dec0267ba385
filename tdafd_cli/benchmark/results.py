"""All that a benchmark found, as plain values."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from tdafd_cli.benchmark.comparison import INTERVAL, TEST, Row, Summary
from tdafd_cli.benchmark.costs import Cost

FORMAT = "tdafd-benchmark-1"


@dataclass(frozen=True)
class Failure:
    """What failed and why, in one line: one method, or the whole volume if no method is named."""

    volume: str
    message: str
    degradation: str | None = None
    method: str | None = None


@dataclass
class Results:
    """All that a benchmark found; a record that fills while it runs.

    Attributes
    ----------
    provenance : dict
    costs : list of Cost
    scale : int or str, optional
        Of ``rows``, as in ``1x1x4`` for one axis; None without data.
    data : list of dict
        Name, SHA-256, shape and voxel size of each volume.
    methods : list of dict
    rows : list of Row
    summaries : list of Summary
    failures : list of Failure
    """

    provenance: dict[str, Any]
    costs: list[Cost] = field(default_factory=list)
    scale: int | str | None = None
    data: list[dict[str, Any]] = field(default_factory=list)
    methods: list[dict[str, Any]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    summaries: list[Summary] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON knows; what is not finite becomes None."""
        values = {"format": FORMAT, **asdict(self), "test": TEST, "interval": INTERVAL}
        plain = _finite(values)
        assert isinstance(plain, dict)
        return plain


def _finite(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _finite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return None
    return values
