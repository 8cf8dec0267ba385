"""The command `tdafd doctor`."""

import json
from typing import TYPE_CHECKING

import typer

from tdafd_cli.commands.options import AsJson, Device
from tdafd_cli.commands.terminal import user_errors

if TYPE_CHECKING:
    from tdafd_cli.evaluation.checkup import Checkup


def doctor(device: Device = "auto", as_json: AsJson = False) -> None:
    """Check this installation: versions, devices, memory, weights, and a small test.

    Exit code 1 means that something is wrong; a line on stderr says what.
    """
    with user_errors():
        from tdafd_cli.evaluation.checkup import check_installation

        found = check_installation(device)
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
    else:
        for name, text in _told(found):
            typer.echo(f"{name:<14} {text}")
    for problem in found.problems:
        typer.echo(f"error: {' '.join(problem.split())}", err=True)
    if found.problems:
        raise typer.Exit(1)


def _told(found: "Checkup") -> list[tuple[str, str]]:
    """Names and what to say of each, in the order in which one would ask."""
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    backends = ", ".join(f"{name} {v or 'not installed'}" for name, v in found.backends.items())
    cache, memory = found.cache, found.memory
    lines = [
        ("versions", versions),
        ("system", found.system),
        ("processor", f"{found.cpu}, cores: {found.cores}, threads: {found.threads}"),
        ("memory", f"{_gb(memory['free_bytes'])} free of {_gb(memory['total_bytes'])}"),
    ]
    for place in found.devices:
        fastest, *others = place["precisions"]
        model = f" ({place['model']})" if place["model"] else ""
        also = f", also {' and '.join(others)}" if others else ""
        free = _gb(place["free_memory_bytes"])
        lines.append(("device", f"{place['name']}{model}: {fastest} by itself{also}; {free} free"))
    size = f"{cache['files']} files, {cache['bytes'] / 1e6:.1f} MB"
    lines += [
        ("backends", backends),
        ("configuration", found.configuration or "none"),
        ("mirror", found.mirror or "none"),
        ("cache", f"{cache['folder']}: {size}"),
        *[("weights", _weights(row)) for row in found.weights],
    ]
    if found.self_test is not None:
        test = found.self_test
        lines.append(
            (
                "self-test",
                f"{test.psnr:.2f} dB by {test.weights} on {test.device} in {test.precision}, "
                f"where sinc has {test.psnr_sinc:.2f}; {test.seconds:.1f} s",
            )
        )
    return lines


def _weights(row: dict[str, object]) -> str:
    copies = row["copies"]
    assert isinstance(copies, dict)
    states = [f"{path} {'intact' if whole else 'damaged'}" for path, whole in copies.items()]
    return f"{row['name']} version {row['version']}: {', '.join(states) or 'on the mirror'}"


def _gb(count: int) -> str:
    return f"{count / 1e9:.3g} GB"
