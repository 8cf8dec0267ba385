"""The commands `tdafd weights ...`."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tdafd_cli.commands.options import AsJson, Quiet
from tdafd_cli.commands.terminal import fail, progress_bar, user_errors

if TYPE_CHECKING:
    from tdafd_cli.weights.registry import Entry

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="See which weights there are, and fetch, check and remove them.",
)

INTACT, UNKNOWN = "intact", "unknown"
UNSEALED = "readable; no checksum inside, as an older version saved it"

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `tdafd weights list` shows it.")]
NameOrPath = Annotated[
    str, typer.Argument(metavar="NAME|PATH", help="Name, or a .safetensors file.")
]


@app.command("list")
def list_weights(as_json: AsJson = False) -> None:
    """List all known weights, and whether they are at hand."""
    with user_errors():
        from tdafd_cli.weights.registry import read_registry

        rows = [_about(entry) for entry in read_registry().values()]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = [("NAME", "SCALE", "VERSION", "SIZE", "WHERE", "RECIPE", "LICENCE")]
    for row in rows:
        scale = f"x{row['scale']}" if row["axes"] == 3 else f"1x1x{row['scale']}"
        where, recipe = row["where"] or "on the mirror", row["recipe"] or "-"
        licence = row["licence"].partition(",")[0]  # `info` shows all of it
        size = _megabytes(row["size"])
        table.append((row["name"], scale, row["version"], size, where, recipe, licence))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


@app.command()
def info(
    weights: NameOrPath,
    full: Annotated[
        bool, typer.Option("--full", help="All that file and registry hold, the recipe too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what weights are like: licence, scores, network, training."""
    with user_errors():
        from tdafd_cli.weights.metadata import read_metadata

        name, path, entry = _found(weights)
        about: dict[str, Any] = {"name": name, **(_about(entry) if entry else {})}
        if path is not None:
            about |= {"path": str(path), "metadata": read_metadata(path)}
    if as_json:
        typer.echo(json.dumps(about))
        return
    for line in _lines(about if full else _in_short(about)):
        typer.echo(line)
    if not full:
        typer.echo("`--full` shows all, the recipe too", err=True)


@app.command()
def download(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Which weights to download.")
    ] = None,
    all_names: Annotated[bool, typer.Option("--all", help="Every known one.")] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write to a folder that can then serve as a mirror, copying what is at hand.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Download weights from the mirror, to the cache or to a folder."""
    if bool(names) == all_names:
        raise typer.BadParameter("give either names or --all", param_hint="NAME")
    with user_errors():
        from tdafd_cli.weights.registry import find_entry, read_registry

        entries = [find_entry(name) for name in names or read_registry()]
        rows = []
        for entry in entries:
            with download_bar(entry.name, shown=not quiet) as progress:
                path = _fetched(entry, to, progress)
            rows.append({"name": entry.name, "path": str(path), "sha256": entry.sha256})
            if not (quiet or as_json):
                typer.echo(f"{entry.name}: {path}")
    if as_json:
        typer.echo(json.dumps(rows))


@app.command()
def verify(
    weights: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME|PATH", help="(default: every copy at hand)"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that weights are whole: by SHA-256, or a file of your own by all it holds."""
    with user_errors():
        rows = [row for asked in weights for row in _checked(asked)] if weights else _at_hand()
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        for row in rows:
            typer.echo(f"{row['name']}: {row['path']}: {row['state']}")
    bad = [row for row in rows if row["state"] not in (INTACT, UNSEALED)]
    if bad:
        names = ", ".join(dict.fromkeys(row["name"] for row in bad))
        fail(f"{names}: not intact; {_advice(bad[0])}", code=1)


@app.command()
def path(weights: NameOrPath, as_json: AsJson = False) -> None:
    """Print where weights are on this machine."""
    with user_errors():
        from tdafd_cli.errors import WeightsError

        name, found, _ = _found(weights)
        if found is None:
            raise WeightsError(f"{name}: not at hand; run `tdafd weights download {name}`")
    typer.echo(json.dumps({"name": name, "path": str(found)}) if as_json else found)


@app.command()
def clean(quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Remove all downloaded weights from the cache."""
    with user_errors():
        from tdafd_cli.weights.cache import cache_folder, clean

        folder = cache_folder()
        removed = clean(folder)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "removed": [str(path) for path in removed]}))
    elif not quiet:
        typer.echo(f"{folder}: {len(removed)} files removed")


@app.command(hidden=True)
def register(
    file: Annotated[Path, typer.Argument(help="A .safetensors file of `tdafd train`.")],
    name: Annotated[str | None, typer.Option(help="(default: the file's)")] = None,
    version: Annotated[str | None, typer.Option(help="(default: the next)")] = None,
    licence: Annotated[str | None, typer.Option(help="(default: as in its metadata)")] = None,
    as_json: AsJson = False,
) -> None:
    """Enter weights into the registry and put them beside it. For developers."""
    with user_errors():
        from tdafd_cli.weights.registry import register
        from tdafd_cli.weights.store import load_weights

        load_weights(file)
        entry = register(file, name=name, version=version, licence=licence)
    if as_json:
        typer.echo(json.dumps(_about(entry)))
    else:
        typer.echo(f"{entry.name}: version {entry.version}, SHA-256 {entry.sha256}")


def download_bar(
    name: str, *, shown: bool
) -> AbstractContextManager[Callable[[int, int], None] | None]:
    """Bar of the bytes of weights that are downloaded."""
    return progress_bar(f"Downloading {name}", unit="bytes", shown=shown)


def _found(weights: str) -> tuple[str, Path | None, "Entry | None"]:
    """Name of weights, their file if it is on this machine, and their entry if they have one."""
    from tdafd_cli.weights.cache import cache_folder, local_copy
    from tdafd_cli.weights.metadata import read_metadata
    from tdafd_cli.weights.registry import find_entry, is_file_name

    if is_file_name(weights):
        path = Path(weights)
        read_metadata(path)
        return path.stem, path, None
    entry = find_entry(weights)
    return entry.name, local_copy(entry, cache_folder()), entry


def _about(entry: "Entry") -> dict[str, Any]:
    """What the registry holds, and where the file is: cached, bundled or neither."""
    from dataclasses import asdict

    from tdafd_cli.weights.cache import cache_folder
    from tdafd_cli.weights.registry import bundled_path

    places = {"cached": cache_folder() / entry.place, "bundled": bundled_path(entry)}
    where = next((name for name, path in places.items() if entry.fits(path)), None)
    recipe = _recipe(places[where]) if where else None
    return asdict(entry) | {"where": where, "recipe": recipe}


def _fetched(entry: "Entry", to: Path | None, progress: Callable[[int, int], None] | None) -> Path:
    from tdafd_cli.weights.cache import cache_folder, copy_local, download, fill_cache, local_copy
    from tdafd_cli.weights.mirror import configured_mirror

    if to is None:
        return fill_cache(entry, progress=progress)
    copy = local_copy(entry, cache_folder())
    if copy is not None:
        return copy_local(entry, copy, to)
    return download(entry, to, configured_mirror(), progress=progress)


def _at_hand() -> list[dict[str, str]]:
    from tdafd_cli.weights.registry import read_registry

    return [row for entry in read_registry().values() for row in _copies(entry)]


def _advice(row: dict[str, str]) -> str:
    """What to do about weights that are not intact."""
    if row["state"] == UNKNOWN:
        return "`tdafd weights list` shows what there is"
    if row["known"] == "no":
        return "copy or train it anew"
    return f"`tdafd weights download {row['name']}` gets a whole one"


def _checked(weights: str) -> list[dict[str, str]]:
    """Name, path and state of a file, or of each copy of what a name stands for."""
    from tdafd_cli.weights.registry import is_file_name, read_registry

    if is_file_name(weights):
        return [_own(Path(weights))]
    entry = read_registry().get(weights)
    if entry is None:
        return [{"name": weights, "path": "nowhere", "state": UNKNOWN, "known": "no"}]
    return _copies(entry) or [
        {"name": entry.name, "path": "nowhere", "state": "missing", "known": "yes"}
    ]


def _own(path: Path) -> dict[str, str]:
    """Name, path and state of a file that the registry need not know."""
    from tdafd_cli.errors import WeightsError
    from tdafd_cli.weights.metadata import has_checksum
    from tdafd_cli.weights.store import load_weights

    try:
        load_weights(path)
        state = INTACT if has_checksum(path) else UNSEALED
    except WeightsError as error:
        state = str(error).removeprefix(f"{path}: ")
    return {"name": path.stem, "path": str(path), "state": state, "known": "no"}


def _copies(entry: "Entry") -> list[dict[str, str]]:
    from tdafd_cli.weights.cache import cache_folder
    from tdafd_cli.weights.registry import bundled_path

    return [
        {
            "name": entry.name,
            "path": str(path),
            "state": INTACT if entry.fits(path) else "damaged",
            "known": "yes",
        }
        for path in (cache_folder() / entry.place, bundled_path(entry))
        if path.exists()
    ]


def _in_short(about: dict[str, Any]) -> dict[str, str]:
    """What matters to whoever chooses weights, as text, name by name: fewer than 20."""
    metadata = about.get("metadata", {})
    network, gains = metadata.get("config"), _gains(about.get("scores") or metadata)
    told = {
        "name": about["name"],
        "version": about.get("version"),
        "scale": about.get("scale", metadata.get("scale")),
        "licence": about.get("licence", metadata.get("licence")),
        "where": about.get("path") or about.get("where") or "on the mirror",
        "size": _megabytes(about["size"]) if "size" in about else None,
        "sha256": about.get("sha256"),
        **gains,
        "network": network and ", ".join(f"{name} {value}" for name, value in network.items()),
        "training data": metadata.get("training_data"),
        "degradation": metadata.get("degradation"),
        "steps": metadata.get("step"),
        "recipe": about.get("recipe"),
    }
    return {name: str(value) for name, value in told.items() if value not in (None, "")}


def _gains(scores: object) -> dict[str, str]:
    """Gains in dB among nested scores, one line for each set of volumes."""
    if not isinstance(scores, dict):
        return {}
    lines: dict[str, str] = {}
    for name, values in scores.items():
        if not isinstance(values, dict):
            continue
        plain = {kind: gain for kind, gain in values.items() if isinstance(gain, int | float)}
        if plain and "gain" in name:
            title = name.replace("_gains_db", "").replace("_gain_db", "").replace("_", " ")
            told = ", ".join(f"{kind} {gain:+.2f} dB" for kind, gain in plain.items())
            lines[f"gain over interpolation, {title}"] = told
        elif not plain and name == "scores":
            lines |= _gains(values)
    return lines


def _recipe(path: Path | None) -> str | None:
    """Recipe of the last stretch of a file's training, as its history names it."""
    from tdafd_cli.errors import WeightsError
    from tdafd_cli.weights.metadata import read_metadata

    try:
        metadata = read_metadata(path) if path is not None else {}
    except WeightsError:
        return None
    history = metadata.get("history") or [{}]
    named = history[-1].get("recipe") if isinstance(history[-1], dict) else None
    return named or ("in the file" if "recipe" in metadata else None)


def _lines(about: dict[str, Any], indent: str = "") -> Iterator[str]:
    """Nested values as lines, with control characters escaped."""
    for name, value in about.items():
        if isinstance(value, dict):
            yield f"{indent}{_printable(name)}:"
            yield from _lines(value, indent + "  ")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            yield f"{indent}{_printable(name)}: {_printable(text)}"


def _printable(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
