"""A benchmark as one HTML page that needs nothing else: no network, no other file."""

from collections.abc import Sequence
from importlib import resources
from itertools import groupby
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tdafd_cli.benchmark.costs import TDAFD_NAME
from tdafd_cli.benchmark.gallery import ERROR_SHARE, MOST_VOLUMES, Panel
from tdafd_cli.benchmark.plots import cost_plot, method_colours, volume_plot
from tdafd_cli.benchmark.results import Results
from tdafd_cli.benchmark.tables import result_tables


def to_html(results: Results, panels: Sequence[Panel]) -> str:
    """The page, with tables, plots, and slices to compare.

    Parameters
    ----------
    results : Results
    panels : sequence of Panel
        Those of one slice in a row; none without data.
    """
    tables = result_tables(results)
    counted = len(dict.fromkeys(cost.scale for cost in results.costs))
    scores = tables[counted:]
    quality = sum(1 for table in tables if table.headings[0] == "method")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(_asset("page.html")).render(
        results=results,
        made=results.provenance,
        how=_how(results),
        ours={TDAFD_NAME, *(m["name"] for m in results.methods if m["kind"] == "network")},
        kinds=list(dict.fromkeys(row.degradation for row in results.rows)),
        costs=tables[:counted],
        quality=scores[:quality],
        volumes=scores[quality:],
        cost_plots=_cost_plots(results),
        volume_plots=_volume_plots(results),
        colours=method_colours(results),
        slices=_slices(panels),
        most_volumes=MOST_VOLUMES,
        error_share=f"{ERROR_SHARE:.0%}",
        css=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
    )


def _asset(name: str) -> str:
    return resources.files("tdafd_cli.benchmark").joinpath(name).read_text(encoding="utf-8")


def _cost_plots(results: Results) -> dict[str, Markup]:
    by_kind = groupby(results.summaries, key=lambda summary: summary.degradation)
    plots = {kind: cost_plot(results, list(summaries)) for kind, summaries in by_kind}
    return {kind: Markup(plot) for kind, plot in plots.items() if plot}


def _volume_plots(results: Results) -> dict[str, Markup]:
    colours = method_colours(results)
    return {
        kind: Markup(volume_plot([r for r in results.rows if r.degradation == kind], colours))
        for kind in dict.fromkeys(row.degradation for row in results.rows)
    }


def _slices(panels: Sequence[Panel]) -> dict[tuple[str, str, str], list[Panel]]:
    slices: dict[tuple[str, str, str], list[Panel]] = {}
    for panel in panels:
        slices.setdefault((panel.volume, panel.degradation, panel.plane), []).append(panel)
    return slices


def _how(results: Results) -> dict[str, Any]:
    """How the results were made, as names and values."""
    versions = results.provenance["versions"].items()
    return {
        **{name: value for name, value in results.provenance.items() if name != "versions"},
        "versions": ", ".join(f"{name} {version}" for name, version in versions),
        **{
            f"weights {method['name']}": f"SHA-256 {method['sha256']}"
            for method in results.methods
            if "sha256" in method
        },
        **{volume["name"]: f"SHA-256 {volume['sha256']}" for volume in results.data},
    }
