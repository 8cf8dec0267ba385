"""Sidecar: a JSON file beside a result that says what it was made from, and how."""

import json
from collections.abc import Sequence

from tdafd_cli import __version__
from tdafd_cli.batch.jobs import Job
from tdafd_cli.batch.ledger import Fingerprint, sidecar_path
from tdafd_cli.inference.result import Result
from tdafd_cli.output import check_writable, replacing


def write_sidecar(job: Job, result: Result, sources: Sequence[Fingerprint]) -> None:
    """Write the sidecar of a job that asks for one; what the job knows of it comes first.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    if job.sidecar is None:
        return
    path = sidecar_path(job.target)
    check_writable(path, True, source=job.source)
    details = result.details
    content = {
        **job.sidecar,
        "SourceSHA256": {each.name: each.sha256 for each in sources},
        "Weights": details.weights,
        "WeightsSHA256": details.weights_sha256,
        "Scale": details.scale,
        "Version": __version__,
        "Warnings": [each.sentence for each in details.warnings],
    }
    with replacing(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())
