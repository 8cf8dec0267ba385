"""Results of a benchmark as tables: for a terminal, in Markdown, in CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tdafd_cli.benchmark.comparison import INTERVAL, TEST, Row, Summary
from tdafd_cli.benchmark.costs import Cost
from tdafd_cli.benchmark.results import Results
from tdafd_cli.inference.ensemble import DEFAULT_PASSES


@dataclass(frozen=True)
class Table:
    """Text in rows and columns; the first ``texts`` columns read from the left, others are numbers.

    Attributes
    ----------
    title : str
    headings : tuple of str
    rows : sequence of tuple of str
    best : set of (row, column)
        Cells to stress.
    texts : int
    notes : tuple of str
    """

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    best: frozenset[tuple[int, int]] = frozenset()
    texts: int = 1
    notes: tuple[str, ...] = ()


def result_tables(results: Results) -> list[Table]:
    """Every table of a benchmark: costs by scale, quality by degradation, then each volume."""
    tables = [
        cost_table([cost for cost in results.costs if cost.scale == scale])
        for scale in dict.fromkeys(cost.scale for cost in results.costs)
    ]
    kinds = list(dict.fromkeys(summary.degradation for summary in results.summaries))
    tables += [
        quality_table([s for s in results.summaries if s.degradation == kind], results.scale or 0)
        for kind in kinds
    ]
    if len(results.data) > 1:
        tables += [
            volume_table([row for row in results.rows if row.degradation == kind]) for kind in kinds
        ]
    return tables


def cost_table(costs: Sequence[Cost]) -> Table:
    """Costs at one scale."""
    first = costs[0]
    rows = [
        (
            cost.network,
            cost.grid,
            f"{cost.parameters:,}",
            f"{cost.flops / 1e9:,.1f}",
            f"{cost.macs / 1e9:,.1f}",
            "" if cost.seconds is None else f"{cost.seconds:.3f}",
            "" if cost.peak_memory_bytes is None else _megabytes(cost.peak_memory_bytes),
        )
        for cost in costs
    ]
    return Table(
        f"Cost at x{first.scale}: {first.low_edge}^3 to {first.high_edge}^3 voxels",
        ("network", "grid", "parameters", "GFLOPs", "GMACs", "seconds", "peak MB"),
        rows,
        texts=2,
        notes=(
            "grid: where most layers work. Empty: not measured; --time-peers does. All for one "
            f"pass; tdafd upscale makes {DEFAULT_PASSES[first.scale]} at x{first.scale}.",
        ),
    )


def quality_table(summaries: Sequence[Summary], scale: int | str) -> Table:
    """Mean scores under one degradation."""
    first = summaries[0]
    rows = [
        (
            summary.method,
            str(summary.volumes),
            f"{summary.means['psnr_foreground']:.2f}{_interval(summary, 'psnr_foreground', 2)}",
            f"{summary.means['ssim_foreground']:.4f}{_interval(summary, 'ssim_foreground', 4)}",
            f"{summary.means['psnr']:.2f}",
            f"{summary.means['ssim']:.4f}",
            "" if summary.method == summary.baseline else f"{summary.gain:+.2f}",
            "" if summary.p_value is None else f"{summary.p_value:.3g}",
            f"{summary.seconds:.2f}",
            _megabytes(summary.peak_memory_bytes),
        )
        for summary in summaries
    ]
    names = ("psnr_foreground", "ssim_foreground", "psnr", "ssim")
    best = {
        (max(range(len(summaries)), key=lambda n: summaries[n].means[name]), column)
        for column, name in enumerate(names, start=2)
    }
    several = any(summary.volumes > 1 for summary in summaries)
    return Table(
        f"Quality at x{scale}, {first.degradation}",
        ("method", "n", "PSNR fg", "SSIM fg", "PSNR", "SSIM", "gain", "p", "seconds", "peak MB"),
        rows,
        best=frozenset(best),
        notes=(
            f"PSNR in dB; fg: foreground. gain: over {first.baseline}, the best baseline, in the "
            "foreground.",
            *((f"[ ]: {INTERVAL}. p: {TEST}.",) if several else ()),
        ),
    )


def volume_table(rows: Sequence[Row]) -> Table:
    """Foreground PSNR of each volume under one degradation."""
    methods = list(dict.fromkeys(row.method for row in rows))
    scores = {(row.volume, row.method): row.psnr_foreground for row in rows}
    volumes = list(dict.fromkeys(row.volume for row in rows))
    lines, best = [], set()
    for number, volume in enumerate(volumes):
        found = [scores.get((volume, method)) for method in methods]
        lines.append((volume, *["" if value is None else f"{value:.2f}" for value in found]))
        known = [(value, column) for column, value in enumerate(found, 1) if value is not None]
        best.add((number, max(known)[1]))
    title = f"Foreground PSNR by volume, {rows[0].degradation} (dB)"
    return Table(title, ("volume", *methods), lines, best=frozenset(best))


def to_markdown(tables: Sequence[Table]) -> str:
    """GitHub's tables; the best of a column in bold."""
    return "\n".join(_markdown(table) for table in tables)


def to_csv(results: Results) -> str:
    """Scores, one line per volume, degradation and method; without data the costs.

    Each has its scale, so that files of several runs may be joined.
    """
    records = [{"scale": results.scale} | asdict(row) for row in results.rows] or [
        asdict(cost) for cost in results.costs
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _markdown(table: Table) -> str:
    aligned = ["---" if n < table.texts else "---:" for n in range(len(table.headings))]
    lines = [table.headings, tuple(aligned)]
    for number, row in enumerate(table.rows):
        stressed = [
            f"**{cell}**" if (number, column) in table.best else cell
            for column, cell in enumerate(row)
        ]
        lines.append(tuple(cell.replace("|", "\\|") for cell in stressed))
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "".join(f"\n{note}\n" for note in table.notes)
    return f"### {table.title}\n\n{text}\n{notes}"


def _interval(summary: Summary, metric: str, digits: int) -> str:
    if metric not in summary.intervals:
        return ""
    low, high = summary.intervals[metric]
    return f" [{low:.{digits}f}, {high:.{digits}f}]"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f}"
