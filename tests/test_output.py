import errno
import hashlib
import os
import signal
import stat

import pytest

from tdafd_cli.errors import OutputError
from tdafd_cli.output import check_writable, replacing, replacing_all, sha256


def write(target, content=b"new"):
    with replacing(target) as file:
        file.write(content)


def test_the_file_appears_alone_and_whole(tmp_path):
    write(tmp_path / "result.nii")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"result.nii": b"new"}


def test_the_old_file_stands_until_the_new_one_is_complete(tmp_path):
    target = tmp_path / "result.nii"
    target.write_bytes(b"old")
    with replacing(target) as file:
        file.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"


def write_half(target, failure):
    with replacing(target) as file:
        file.write(b"half")
        raise failure


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interruption_leaves_no_trace(tmp_path, failure):
    target = tmp_path / "result.nii"
    target.write_bytes(b"old")
    with pytest.raises(failure):
        write_half(target, failure)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"result.nii": b"old"}


@pytest.mark.skipif(os.name == "nt", reason="needs limits of POSIX")
def test_a_write_that_fails_is_one_line_and_leaves_no_trace(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError) as caught:
            write(tmp_path / "result.nii", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert str(caught.value).splitlines() == [
        f"{tmp_path / 'result.nii'}: cannot be written: File too large; choose another folder"
    ]
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_as_such(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device; free some space"):
        write(tmp_path / "result.nii")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="needs the permissions of POSIX")
def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "other").touch()
    write(tmp_path / "result.nii")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_link_stays_and_the_file_behind_it_is_replaced(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "real.nii").write_bytes(b"old")
    link = tmp_path / "result.nii"
    link.symlink_to(folder / "real.nii")
    write(link)
    assert link.is_symlink()
    assert (folder / "real.nii").read_bytes() == b"new"


def test_a_new_file_in_a_folder_can_be_written(tmp_path):
    check_writable(tmp_path / "result.nii")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(OutputError, match=r"folder .*missing does not exist; create it"):
        check_writable(tmp_path / "missing" / "result.nii")


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_forbidden_folder_is_refused(users_folder, mode):
    folder = users_folder / "forbidden"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(OutputError, match=r"no permission|Permission denied"):
        check_writable(folder / "result.nii")


def test_an_existing_file_is_replaced_only_on_request(tmp_path):
    target = tmp_path / "result.nii"
    target.touch()
    with pytest.raises(OutputError, match="exists; choose another name, or add --overwrite"):
        check_writable(target)
    check_writable(target, overwrite=True)


def test_a_write_protected_file_is_not_replaced_even_on_request(users_folder):
    target = users_folder / "result.nii"
    target.touch()
    target.chmod(0o444)
    with pytest.raises(OutputError, match="write-protected"):
        check_writable(target, overwrite=True)


def test_a_folder_is_not_replaced_even_on_request(tmp_path):
    with pytest.raises(OutputError, match="exists and is not a file"):
        check_writable(tmp_path / ".", overwrite=True)


@pytest.mark.parametrize("link", ["same", "symlink", "hardlink"])
def test_the_input_is_not_replaced_even_on_request(tmp_path, link):
    source, target = tmp_path / "scan.nii", tmp_path / f"{link}.nii"
    source.touch()
    if link == "symlink":
        target.symlink_to(source)
    elif link == "hardlink":
        target.hardlink_to(source)
    else:
        target = tmp_path / "." / "scan.nii"
    with pytest.raises(OutputError, match="is the input, which is never replaced"):
        check_writable(target, overwrite=True, source=source)


def test_an_input_that_is_gone_does_not_matter(tmp_path):
    target, gone = tmp_path / "result.nii", tmp_path / "gone.nii"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists; choose another name, or add --overwrite"):
        check_writable(target, source=gone)
    check_writable(target, overwrite=True, source=gone)
    assert target.read_bytes() == b"old"
    write(target)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("size", [0, 3, 3 * 2**20 + 1])
def test_sha256_is_that_of_the_whole_file(tmp_path, size):
    content = bytes(range(256)) * (size // 256 + 1)
    path = tmp_path / "result.nii"
    path.write_bytes(content[:size])
    assert sha256(path) == hashlib.sha256(content[:size]).hexdigest()


def test_files_that_belong_together_take_their_places_together(tmp_path):
    target, beside = tmp_path / "scan.mhd", tmp_path / "scan.zraw"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match="cannot be written"), replacing_all(target) as folder:
        (folder / "no" / "scan.zraw").write_bytes(b"half")
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_bytes() == b"old"
    with replacing_all(target) as folder:
        (folder / "scan.mhd").write_bytes(b"new")
        (folder / "scan.zraw").write_bytes(b"voxels")
        assert target.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [target, beside]
    assert (target.read_bytes(), beside.read_bytes()) == (b"new", b"voxels")
