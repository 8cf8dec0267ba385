"""A benchmark as one HTML page that needs nothing else: no network, no other file."""

import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from itertools import groupby
from typing import Any

from tdafd_cli.benchmark.costs import TDAFD_NAME
from tdafd_cli.benchmark.gallery import ERROR_SHARE, MOST_VOLUMES, Panel
from tdafd_cli.benchmark.plots import cost_plot, method_colours, volume_plot
from tdafd_cli.benchmark.results import Results
from tdafd_cli.benchmark.tables import Table, result_tables

VIEWER = """
<div class="card viewer"><div class="controls">
<label>slice <select id="slice">{options}</select></label>
<label>left <select id="left"></select></label>
<label>right <select id="right"></select></label>
<button id="flicker" type="button" aria-pressed="false">flicker</button>
</div><div class="stage" id="stage"><img id="under" alt=""><img id="over" alt="">
<div class="divider" id="divider"></div>
<b class="left" id="leftname"></b><b class="right" id="rightname"></b></div>
<input type="range" id="position" min="0" max="100" value="50" aria-label="divider">
</div>"""


def to_html(results: Results, panels: Sequence[Panel]) -> str:
    """The page, with tables, plots, and slices to compare.

    Parameters
    ----------
    results : Results
    panels : sequence of Panel
        Those of one slice in a row; none without data.
    """
    ours = {TDAFD_NAME, *(m["name"] for m in results.methods if m["kind"] == "network")}
    tables = [_table(table, ours) for table in result_tables(results)]
    quality = sum(1 for table in result_tables(results) if table.headings[0] == "method")
    counted = len(dict.fromkeys(cost.scale for cost in results.costs))
    scores, costs = tables[counted:], tables[:counted]
    sections = [
        _head(results),
        *_section("Not done", [_failure(failure.message) for failure in results.failures]),
        *_section("Quality", scores[:quality]),
        *_section("Quality against cost", _cost_plots(results)),
        *_section("Every volume", [*_volume_plots(results), *scores[quality:]]),
        *_section("Slices", _gallery(panels)),
        *_section("Cost", costs),
        *_section("How this was made", [_made(results)]),
    ]
    data = json.dumps(results.to_dict()).replace("<", "\\u003c")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>tdafd benchmark</title><style>{_asset('page.css')}</style></head>"
        f"<body><main>{''.join(sections)}</main>"
        f'<script type="application/json" id="results">{data}</script>'
        f"<script>{_asset('page.js')}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return resources.files("tdafd_cli.benchmark").joinpath(name).read_text(encoding="utf-8")


def _head(results: Results) -> str:
    made = results.provenance
    subject = "parameters, FLOPs and time"
    if results.data:
        kinds = dict.fromkeys(row.degradation for row in results.rows)
        count = f"{len(results.data)} volume{'s' if len(results.data) > 1 else ''}"
        subject = f"x{results.scale} on {count}, degraded by {', '.join(kinds)}"
    return (
        f"<h1>tdafd benchmark</h1><p class='lead'>{escape(subject)}</p>"
        f"<p class='note'>{escape(made['started'])}, {escape(made['gpu'] or made['cpu'])}, "
        f"tdafd {escape(made['versions']['tdafd'])}</p>"
    )


def _section(title: str, parts: Sequence[str]) -> list[str]:
    return [f"<h2>{title}</h2>", *parts] if any(parts) else []


def _failure(message: str) -> str:
    return f'<div class="card failure">{escape(message)}</div>'


def _table(table: Table, ours: set[str]) -> str:
    texts = table.texts
    heading = "".join(
        f"<th{' class=text' if n < texts else ''}>{escape(name)}</th>"
        for n, name in enumerate(table.headings)
    )
    lines = []
    for number, row in enumerate(table.rows):
        cells = []
        for column, cell in enumerate(row):
            kinds = ["text"] * (column < texts) + ["best"] * ((number, column) in table.best)
            cells.append(f'<td class="{" ".join(kinds)}">{escape(cell)}</td>')
        marked = ' class="ours"' if row[0] in ours else ""
        lines.append(f"<tr{marked}>{''.join(cells)}</tr>")
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    return (
        f'<div class="card"><h3>{escape(table.title)}</h3><table><thead><tr>{heading}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>{notes}</div>"
    )


def _cost_plots(results: Results) -> list[str]:
    plots = []
    for kind, summaries in groupby(results.summaries, key=lambda summary: summary.degradation):
        plot = cost_plot(results, list(summaries))
        if plot:
            plots.append(
                f'<div class="card"><h3>{escape(kind)}: mean foreground PSNR (dB)</h3>{plot}'
                '<p class="note">Dashed: interpolations and programs, whose FLOPs are not '
                "counted. Ticks below: what published peers cost; they come without weights.</p>"
                "</div>"
            )
    return plots


def _volume_plots(results: Results) -> list[str]:
    if not results.rows:
        return []
    colours = method_colours(results)
    legend = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for name, colour in colours.items()
    )
    plots = []
    for kind in dict.fromkeys(row.degradation for row in results.rows):
        plot = volume_plot([row for row in results.rows if row.degradation == kind], colours)
        plots.append(
            f'<div class="card"><h3>{escape(kind)}</h3>{plot}<p class="legend">{legend}</p></div>'
        )
    return plots


def _gallery(panels: Sequence[Panel]) -> list[str]:
    slices: dict[tuple[str, str, str], list[Panel]] = {}
    for panel in panels:
        slices.setdefault((panel.volume, panel.degradation, panel.plane), []).append(panel)
    if not slices:
        return []
    options = "".join(
        f'<option value="{n}">{escape(", ".join(key))}</option>' for n, key in enumerate(slices)
    )
    note = (
        f'<p class="note">Middle slices of the first {MOST_VOLUMES} volumes. Errors: red too '
        f"bright, blue too dark, full colour at {ERROR_SHARE:.0%} of the intensity range.</p>"
    )
    groups = []
    for (volume, kind, plane), seen in slices.items():
        figures = "".join(_figure(panel) for panel in seen)
        groups.append(
            f'<div class="card slices" data-aspect="{seen[0].aspect}">'
            f"<h3>{escape(volume)}, {escape(kind)}, {escape(plane)}</h3>"
            f'<div class="strip">{figures}</div></div>'
        )
    return [VIEWER.format(options=options), *groups, note]


def _figure(panel: Panel) -> str:
    name = escape(panel.method)
    images = "".join(
        f'<img src="{uri}" alt="{name}" style="aspect-ratio:{panel.aspect}">'
        for uri in (panel.image, panel.error)
        if uri
    )
    return f'<figure data-method="{name}">{images}<figcaption>{name}</figcaption></figure>'


def _made(results: Results) -> str:
    made: dict[str, Any] = dict(results.provenance)
    versions = made.pop("versions")
    made["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    for method in results.methods:
        if "sha256" in method:
            made[f"weights {method['name']}"] = f"SHA-256 {method['sha256']}"
    for volume in results.data:
        made[volume["name"]] = f"SHA-256 {volume['sha256']}"
    lines = "".join(
        f"<dt>{escape(name)}</dt><dd><code>{escape(str(value))}</code></dd>"
        for name, value in made.items()
        if value is not None
    )
    return f'<div class="card"><dl>{lines}</dl></div>'
