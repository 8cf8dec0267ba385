import hashlib
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from tdafd_cli.errors import OutputError, WeightsError
from tdafd_cli.weights import cache
from tdafd_cli.weights.cache import (
    cache_folder,
    clean,
    copy_local,
    download,
    fill_cache,
    local_copy,
    obtain,
)
from tdafd_cli.weights.mirror import Mirror

PROGRAM = """
import sys, time
from pathlib import Path
import pooch, requests
from tdafd_cli.weights.cache import obtain
from tdafd_cli.weights.registry import find_entry

entry = find_entry("tdafd-x3")
print("ready", flush=True)
sys.stdin.readline()
print(obtain(entry))
"""


def start(count):
    """Processes that wait for a line of input, then obtain the weights."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    return processes


def slowly(handler, content, *, seconds=0.4):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    step = len(content) // 20
    for first in range(0, len(content), step):
        handler.wfile.write(content[first : first + step])
        time.sleep(seconds / 20)


def names(folder):
    """Files below a folder, without the locks that stay."""
    return {path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_first_use_downloads_and_the_second_uses_the_cache(site):
    assert obtain(site.entry) == site.cached
    assert site.cached.read_bytes() == site.content
    assert obtain(site.entry) == site.cached
    assert len(site.server.asked) == 1
    assert names(site.cache) == {"tdafd-x3.safetensors"}


def test_bundled_weights_need_no_network(site, monkeypatch):
    site.bundled.write_bytes(site.content)
    monkeypatch.setenv("TDAFD_OFFLINE", "1")
    assert obtain(site.entry) == site.bundled
    assert not site.server.asked
    assert not site.cache.exists()


def test_the_cache_goes_before_the_bundle(site):
    site.bundled.write_bytes(site.content)
    assert fill_cache(site.entry) == site.cached
    assert obtain(site.entry) == site.cached
    assert len(site.server.asked) == 1


@pytest.mark.parametrize("damage", [b"", b"half", None])
def test_damaged_file_is_noticed_and_replaced(site, damage):
    site.cached.parent.mkdir(parents=True)
    site.cached.write_bytes(site.content[:-1] + b"?" if damage is None else damage)
    assert local_copy(site.entry, site.cache) is None
    assert obtain(site.entry) == site.cached
    assert site.cached.read_bytes() == site.content


def test_damaged_file_is_passed_over_for_a_bundled_one(site):
    site.cached.parent.mkdir(parents=True)
    site.cached.write_bytes(b"half")
    site.bundled.write_bytes(site.content)
    assert obtain(site.entry) == site.bundled
    assert not site.server.asked


def test_damaged_bundle_is_passed_over_for_a_download(site):
    site.bundled.write_bytes(b"half")
    assert obtain(site.entry) == site.cached


def test_failed_download_leaves_the_cache_as_it_was(site):
    site.server.files = dict.fromkeys(site.server.files, site.content[::-1])
    with pytest.raises(WeightsError, match="has not the SHA-256"):
        obtain(site.entry)
    assert names(site.cache) == set()


def test_nothing_is_written_when_nothing_can_be_fetched(site, monkeypatch):
    monkeypatch.delenv("TDAFD_WEIGHTS_URL")
    with pytest.raises(WeightsError, match="no mirror to download from is known"):
        obtain(site.entry)
    assert not site.cache.exists()


def test_versions_do_not_overwrite_each_other(site):
    first = obtain(site.entry)
    newer = replace(
        site.entry,
        version="2",
        sha256=hashlib.sha256(b"newer").hexdigest(),
        size=5,
        sources=("tdafd-x3/2/tdafd-x3.safetensors",),
    )
    site.server.files[f"/{newer.place}"] = b"newer"
    second = obtain(newer)
    assert (first.read_bytes(), second.read_bytes()) == (site.content, b"newer")


def test_a_cache_is_a_mirror_too(site, tmp_path):
    obtain(site.entry)
    mirror = Mirror(site.cache.as_uri(), offline=True)
    path = download(site.entry, tmp_path / "other", mirror)
    assert path.read_bytes() == site.content


def test_copies_make_a_mirror(site, tmp_path):
    source = obtain(site.entry)
    copy = copy_local(site.entry, source, tmp_path / "mirror")
    assert copy == tmp_path / "mirror" / site.entry.place
    assert copy_local(site.entry, source, tmp_path / "mirror") == copy
    assert download(site.entry, tmp_path / "other", Mirror((tmp_path / "mirror").as_uri()))


def test_cache_is_where_the_environment_says(site, monkeypatch, tmp_path):
    assert cache_folder() == site.cache
    monkeypatch.setenv("TDAFD_CACHE", "~/weights")
    assert cache_folder() == Path.home() / "weights"
    monkeypatch.setenv("TDAFD_CACHE", "")
    assert cache_folder().name == "tdafd"


def test_cleaning_removes_downloads_and_nothing_else(site):
    obtain(site.entry)
    folder = site.cached.parent
    (folder / ".tdafd-0123.part").touch()
    old = folder.with_name("0.9") / site.cached.name
    old.parent.mkdir()
    old.touch()
    others = [
        site.cache / "notes.txt",
        site.cache / "photos" / "2024" / "me.jpg",
        site.cache / "tdafd-x3" / "1.2" / "mine.safetensors",
        site.cache / "tdafd-x3" / "old" / "tdafd-x3.safetensors",
    ]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    removed = clean(site.cache)
    assert {site.cached, old, folder / ".tdafd-0123.part"} <= set(removed)
    assert {path for path in site.cache.rglob("*") if path.is_file()} == set(others)
    assert not old.parent.exists()
    assert clean(site.cache) == []
    assert clean(site.cache / "none") == []


@pytest.fixture
def users_cache(users_folder, monkeypatch):
    """Cache of a user whom permissions bind; its only entry's folder is there."""
    folder = users_folder / "cache"
    folder.mkdir()
    monkeypatch.setenv("TDAFD_CACHE", str(folder))
    return folder


def make_read_only(file):
    for folder in (file.parent, file.parent.parent, file.parent.parent.parent):
        folder.chmod(0o555)


def test_read_only_cache_serves_what_it_holds(site, users_cache):
    path = users_cache / site.entry.place
    path.parent.mkdir(parents=True)
    path.write_bytes(site.content)
    make_read_only(path)
    assert obtain(site.entry) == path
    assert fill_cache(site.entry) == path
    assert not site.server.asked


@pytest.mark.parametrize(("has_folder", "failure"), [(True, "written"), (False, "made")])
def test_read_only_cache_that_lacks_a_file_is_told(site, users_cache, has_folder, failure):
    if has_folder:
        path = users_cache / site.entry.place
        path.parent.mkdir(parents=True)
        make_read_only(path)
    users_cache.chmod(0o555)
    message = f"cannot be {failure}: Permission denied; choose another folder .TDAFD_CACHE names it"
    with pytest.raises(WeightsError, match=message):
        obtain(site.entry)


def test_damaged_file_in_a_read_only_cache_is_passed_over(site, users_cache, monkeypatch):
    path = users_cache / site.entry.place
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half")
    make_read_only(path)
    bundle = users_cache.with_name("bundle")
    bundle.mkdir()
    (bundle / site.entry.file).write_bytes(site.content)
    monkeypatch.setenv("TDAFD_REGISTRY", str(bundle / "registry.toml"))
    assert obtain(site.entry) == bundle / site.entry.file


@pytest.fixture
def small_disk(tmp_path):
    """Folder on a file system of its own that holds 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs to mount a tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_full_disk_is_told_and_left_as_it_was(site, small_disk, monkeypatch):
    monkeypatch.setenv("TDAFD_CACHE", str(small_disk))
    with pytest.raises(WeightsError, match="No space left on device; free some space or choose"):
        obtain(site.entry)
    assert names(small_disk) == set()
    site.bundled.write_bytes(site.content)
    with pytest.raises(OutputError, match="No space left on device; free some space or choose"):
        copy_local(site.entry, site.bundled, small_disk)
    assert names(small_disk) == set()


def test_a_folder_in_the_file_s_place_is_told(site):
    site.cached.mkdir(parents=True)
    with pytest.raises(WeightsError, match="cannot be written: Is a directory"):
        obtain(site.entry)


def test_download_works_where_no_lock_can_be_had(site):
    site.cached.parent.mkdir(parents=True)
    site.cached.with_name(f".{site.cached.name}.lock").mkdir()
    assert obtain(site.entry).read_bytes() == site.content


def test_a_lock_whose_holder_is_stuck_is_ignored_after_a_while(site, monkeypatch):
    monkeypatch.setattr(cache, "STALL_SECONDS", 0.1)
    site.cached.parent.mkdir(parents=True)
    with FileLock(site.cached.with_name(f".{site.cached.name}.lock")):
        assert obtain(site.entry).read_bytes() == site.content


@pytest.mark.slow
def test_processes_that_start_together_download_once(site):
    site.server.script = [slowly]
    processes = start(8)
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60) for process in processes]
    assert outputs == [(f"{site.cached}\n", "")] * 8
    assert site.cached.read_bytes() == site.content
    assert len(site.server.asked) == 1
    assert names(site.cache) == {"tdafd-x3.safetensors"}


@pytest.mark.slow
def test_a_killed_download_harms_nobody(site):
    dice = random.Random(0)
    for process in start(4):
        site.server.script = [slowly]
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(dice.uniform(0, 0.5))
        process.kill()
        process.communicate()
        assert not site.cached.exists() or site.cached.read_bytes() == site.content
        site.cached.unlink(missing_ok=True)
    site.server.script = []
    assert obtain(site.entry).read_bytes() == site.content
    assert names(site.cache) == {"tdafd-x3.safetensors"}
