"""Plots of a benchmark as SVG: quality against cost, and every volume by itself."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from tdafd_cli.benchmark.comparison import Row, Summary
from tdafd_cli.benchmark.costs import TDAFD_NAME
from tdafd_cli.benchmark.results import Results

COLOURS = ("#8a8f98", "#4c78a8", "#59a14f", "#b07aa1", "#e4572e", "#f2a93b", "#17becf", "#7f3c8d")
WIDTH, LEFT, RIGHT = 860, 64, 150
TOP, BOTTOM = 20, 44
LANE = 78  # under the cost plot, for the names of peers


def method_colours(results: Results) -> dict[str, str]:
    """Colour of each method, the same in every plot."""
    names = [method["name"] for method in results.methods]
    return {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(names)}


def cost_plot(results: Results, summaries: Sequence[Summary]) -> str:
    """Mean foreground PSNR under one degradation against FLOPs per patch.

    Methods without known FLOPs are dashed lines; peers, which have no weights here, are ticks at
    their cost.
    """
    flops = {m["name"]: m["flops"] for m in results.methods if "flops" in m}
    peers = {
        cost.network: cost.flops
        for cost in results.costs
        if cost.scale == results.scale and cost.network != TDAFD_NAME
    }
    known = [*flops.values(), *peers.values()]
    if not known:
        return ""
    colours, height = method_colours(results), 400 + LANE
    floor = height - BOTTOM - LANE
    values = [summary.means["psnr_foreground"] for summary in summaries]
    across = _scale(_decades(known), (LEFT, WIDTH - RIGHT))
    up = _scale(_padded(values), (floor, TOP))
    marks = _grid(_padded(values), up, (LEFT, WIDTH - RIGHT), "dB")
    low, high = _decades(known)
    for power in range(math.ceil(low), math.floor(high) + 1):
        x = across(power)
        marks.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{floor}" class="grid"/>')
        marks.append(_text(x, TOP - 4, f"{10.0 ** (power - 9):g}", "middle"))
    marks.append(_text(WIDTH - RIGHT + 8, TOP - 4, "GFLOPs per patch"))
    marks += _peer_ticks(peers, across, floor + 26)
    labels = _spread([up(value) for value in values])
    for summary, value, label in zip(summaries, values, labels, strict=True):
        name, y, colour = summary.method, up(value), colours[summary.method]
        if name in flops:
            x = across(math.log10(flops[name]))
            low_end, high_end = summary.intervals.get("psnr_foreground", (value, value))
            marks.append(
                f'<line x1="{x:.1f}" y1="{up(low_end):.1f}" x2="{x:.1f}" y2="{up(high_end):.1f}" '
                f'stroke="{colour}" stroke-width="2"/>'
            )
            marks.append(_dot(x, y, colour, f"{name}: {value:.2f} dB", radius=7))
        else:
            marks.append(
                f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" '
                f'stroke="{colour}" stroke-width="1.5" stroke-dasharray="5 4"/>'
            )
        marks.append(_text(WIDTH - RIGHT + 8, label + 4, f"{name} {value:.2f}", fill=colour))
    return _svg(marks, height, f"PSNR against FLOPs, {summaries[0].degradation}")


def _peer_ticks(
    peers: Mapping[str, int], across: Callable[[float], float], top: float
) -> list[str]:
    """Ticks at what peers cost, each led to its name, which stands where there is room."""
    places = [across(math.log10(cost)) for cost in peers.values()]
    marks = []
    for (name, cost), x, room in zip(peers.items(), places, _spread(places, 14), strict=True):
        title = f"<title>{escape(name)}: {cost / 1e9:.1f} GFLOPs, no weights here</title>"
        line = f"M{x:.1f} {top - 26}v9L{room:.1f} {top + 2}"
        marks.append(f'<path d="{line}" class="peer">{title}</path>')
        turned = f'transform="translate({room - 3:.1f},{top + 6}) rotate(60)"'
        marks.append(f'<text class="peername" {turned}>{escape(name)}</text>')
    return marks


def volume_plot(rows: Sequence[Row], colours: Mapping[str, str]) -> str:
    """Foreground PSNR of every volume under one degradation, one line of dots for each."""
    volumes = list(dict.fromkeys(row.volume for row in rows))
    step, left = 26, 230
    height = TOP + step * len(volumes) + BOTTOM
    limits = _padded([row.psnr_foreground for row in rows])
    across = _scale(limits, (left, WIDTH - 20))
    marks = []
    for value in _ticks(limits):
        x = across(value)
        marks.append(
            f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{height - BOTTOM}" class="grid"/>'
        )
        marks.append(_text(x, height - BOTTOM + 16, f"{value:g}", "middle"))
    marks.append(_text((left + WIDTH) / 2, height - BOTTOM + 36, "foreground PSNR in dB", "middle"))
    for number, volume in enumerate(volumes):
        y = TOP + step * (number + 0.5)
        short = volume if len(volume) <= 32 else f"...{volume[-29:]}"
        marks.append(_text(left - 10, y + 4, short, "end"))
        marks.append(
            f'<line x1="{left}" y1="{y:.1f}" x2="{WIDTH - 20}" y2="{y:.1f}" class="grid"/>'
        )
        marks += [
            _dot(
                across(row.psnr_foreground),
                y,
                colours[row.method],
                f"{row.method}: {row.psnr_foreground:.2f} dB",
            )
            for row in rows
            if row.volume == volume
        ]
    return _svg(marks, height, f"Foreground PSNR by volume, {rows[0].degradation}")


def _scale(limits: tuple[float, float], ends: tuple[float, float]) -> Callable[[float], float]:
    """Linear map from values to pixels."""
    factor = (ends[1] - ends[0]) / (limits[1] - limits[0])
    return lambda value: ends[0] + (value - limits[0]) * factor


def _decades(values: Sequence[float]) -> tuple[float, float]:
    return math.log10(min(values)) - 0.2, math.log10(max(values)) + 0.2


def _padded(values: Sequence[float]) -> tuple[float, float]:
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    margin = 0.12 * (max(finite) - min(finite)) or 1.0
    return min(finite) - margin, max(finite) + margin


def _ticks(limits: tuple[float, float]) -> list[float]:
    """Round numbers, about six."""
    rough = (limits[1] - limits[0]) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough)
    first = math.ceil(limits[0] / step)
    return [round(step * n, 6) for n in range(first, math.floor(limits[1] / step) + 1)]


def _grid(
    limits: tuple[float, float], up: Callable[[float], float], ends: tuple[float, float], unit: str
) -> list[str]:
    marks = []
    for value in _ticks(limits):
        y = up(value)
        marks.append(
            f'<line x1="{ends[0]}" y1="{y:.1f}" x2="{ends[1]}" y2="{y:.1f}" class="grid"/>'
        )
        marks.append(_text(ends[0] - 8, y + 4, f"{value:g} {unit}", "end"))
    return marks


def _spread(places: Sequence[float], gap: float = 15) -> list[float]:
    """Places moved on as far as labels need not to overlap."""
    placed, last = dict[int, float](), -math.inf
    for index in sorted(range(len(places)), key=lambda n: places[n]):
        last = max(places[index], last + gap)
        placed[index] = last
    return [placed[index] for index in range(len(places))]


def _dot(x: float, y: float, colour: str, title: str, *, radius: float = 5) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" fill-opacity="0.9">'
        f"<title>{escape(title)}</title></circle>"
    )


def _text(
    x: float, y: float, text: str, anchor: str = "start", *, fill: str = "currentColor"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'
    )


def _svg(marks: Sequence[str], height: float, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(marks)}</svg>"
    )
