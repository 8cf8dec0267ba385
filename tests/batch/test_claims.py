import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tdafd_cli.batch.claims import DEAD_SECONDS, claiming
from tdafd_cli.batch.jobs import Job
from tdafd_cli.batch.ledger import Ledger


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path)


@pytest.fixture
def job(tmp_path) -> Job:
    return Job(Path("a.nii"), tmp_path / "deep" / "a.nii")


def leave_claim(ledger: Ledger, job: Job, *, silent: float = 0, **about: object) -> Path:
    path = ledger.place(job).with_suffix(".0.claim")
    path.parent.mkdir(parents=True)
    born = psutil.Process().create_time()
    values = {"host": socket.gethostname(), "pid": os.getpid(), "born": born, **about}
    path.write_text(json.dumps(values))
    now = ledger.now_ns()
    os.utime(path, ns=(now, now - int(silent * 1e9)))
    return path


def test_a_job_is_claimed_once(ledger, job):
    with claiming(ledger) as ours, claiming(ledger) as theirs:
        claim = ours.take(job)
        assert claim is not None
        assert theirs.take(job) is None
        ours.give_back(job, claim)
        assert theirs.take(job) is not None


def test_claims_end_with_whoever_holds_them(ledger, job):
    with claiming(ledger) as claims:
        claims.take(job)
    assert not list(ledger.folder.rglob("*.claim"))


@pytest.mark.parametrize(
    "about",
    [
        {"pid": 2**22 + 1},  # beyond the kernel's largest
        {"born": 1.0},  # the number was given to another process
        {"host": "elsewhere", "silent": DEAD_SECONDS + 1},
    ],
)
def test_the_claim_of_a_dead_process_is_taken_over_once(ledger, job, about):
    leave_claim(ledger, job, **about)
    with claiming(ledger) as ours, claiming(ledger) as theirs:
        claim = ours.take(job)
        assert claim is not None
        assert claim.number == 1
        assert theirs.take(job) is None
        ours.give_back(job, claim)
        assert not list(ledger.folder.rglob("*.claim"))


@pytest.mark.parametrize(
    "about", [{}, {"host": "elsewhere"}, {"host": "elsewhere", "silent": DEAD_SECONDS / 2}]
)
def test_the_claim_of_a_living_process_is_kept(ledger, job, about):
    leave_claim(ledger, job, **about)
    with claiming(ledger) as claims:
        assert claims.take(job) is None


def test_a_claim_that_is_being_written_counts(ledger, job):
    leave_claim(ledger, job).write_text("")
    with claiming(ledger) as claims:
        assert claims.take(job) is None


def test_the_claim_of_a_zombie_is_taken_over(ledger, job):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        born = psutil.Process(process.pid).create_time()
        leave_claim(ledger, job, pid=process.pid, born=born)
        with claiming(ledger) as claims:
            assert claims.take(job) is None
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            assert claims.take(job) is not None
