import pytest

from tdafd_cli.training.log import append_rows, drop_rows_after


@pytest.mark.parametrize("end", ["", "1", "15", "150,", "150,0.\r\n"])
def test_rows_beyond_a_step_are_dropped_even_if_cut_short(tmp_path, end):
    path = tmp_path / "log.csv"
    append_rows(path, [{"step": 50, "loss": 0.5}, {"step": 100, "loss": 0.25}])
    before = path.read_bytes()
    path.write_bytes(before + end.encode())
    drop_rows_after(path, 100)
    assert path.read_bytes() == before
    append_rows(path, [{"step": 150, "loss": 0.125}])
    assert path.read_bytes() == before + b"150,0.125\r\n"


def test_a_log_that_is_not_there_is_left_so(tmp_path):
    drop_rows_after(tmp_path / "log.csv", 0)
    assert not list(tmp_path.iterdir())


def test_a_log_cut_within_its_heading_is_begun_anew(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"st")
    drop_rows_after(path, 0)
    append_rows(path, [{"step": 1, "loss": 0.5}])
    assert path.read_bytes() == b"step,loss\r\n1,0.5\r\n"
