"""Many processes, and processes that are killed: every volume once, none lost."""

import csv
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from folder_contents import files_in

import tdafd_cli
from tdafd_cli.batch.workers import worker_count, worker_settings
from tdafd_cli.inference.settings import InferenceSettings

REPOSITORY = Path(tdafd_cli.__file__).parent.parent
OPTIONS = ("--device", "cpu", "--precision", "fp32", "--ensemble", "1", "--threads", "2")


@pytest.mark.parametrize(
    ("wanted", "devices", "count"),
    [("auto", ["cpu"], 1), ("auto", ["cuda:0", "cuda:1"], 2), ("3", ["cpu"], 3)],
)
def test_there_is_a_worker_for_each_device(wanted, devices, count):
    assert worker_count(wanted, devices) == count


def test_devices_are_dealt_out_and_threads_divided():
    settings = worker_settings(InferenceSettings(threads=7), ["cuda:0", "cuda:1"], 3)
    assert [each.device for each in settings] == ["cuda:0", "cuda:1", "cuda:0"]
    assert [each.threads for each in settings] == [2, 2, 2]
    assert worker_settings(InferenceSettings(), ["cpu"], 1)[0].threads is None


@pytest.fixture
def many(tmp_path, scan) -> Path:
    for seed in range(6):
        scan(tmp_path / "raw" / f"{seed}.nii.gz", seed, shape=(24, 24, 24))
    return tmp_path / "raw"


def start(*arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "tdafd_cli", "upscale", *map(str, arguments), *OPTIONS]
    return subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(folder: Path, pattern: str, process: subprocess.Popen) -> None:
    """Wait for a file, or for the end of the process that is to make it."""
    deadline = time.monotonic() + 120
    while not list(folder.rglob(pattern)) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_at_any_moment_a_rerun_gives_the_same_bytes(run, many, tmp_path, tiny_weights):
    run(many, tmp_path / "unbroken")
    whole, chance = files_in(tmp_path / "unbroken"), random.Random(0)
    upscaled = tmp_path / "upscaled"
    for _ in range(3):
        known = len(list(upscaled.rglob("*.claim")))
        with start(many, upscaled, "--weights", tiny_weights) as process:
            wait_for(upscaled, f"*.{min(known, 1)}.claim", process)
            time.sleep(chance.uniform(0, 0.3))
            process.kill()
    result = run(many, upscaled)
    assert result.exit_code == 0
    again = files_in(upscaled)
    assert again.keys() == whole.keys()  # nothing partial either
    assert all(again[name] == whole[name] for name in whole if name != "summary.csv")


@pytest.mark.slow
def test_the_others_take_over_what_a_killed_worker_had(run, many, tmp_path, tiny_weights):
    run(many, tmp_path / "unbroken")
    upscaled = tmp_path / "upscaled"
    with start(many, upscaled, "--weights", tiny_weights, "--workers", 2, "--json") as process:
        wait_for(upscaled, "*.claim", process)
        claim = next(iter(upscaled.rglob("*.claim")))
        worker = psutil.Process(json.loads(claim.read_text())["pid"])
        assert worker.ppid() == process.pid
        worker.kill()
        try:
            told, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    statuses = [json.loads(line)["status"] for line in told.splitlines()]
    assert len(statuses) == 6
    assert set(statuses) <= {"done", "finished"}
    whole, found = files_in(tmp_path / "unbroken"), files_in(upscaled)
    assert found.keys() == whole.keys()
    assert all(found[name] == whole[name] for name in whole if name != "summary.csv")
    with (upscaled / "summary.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["done"] * 6
