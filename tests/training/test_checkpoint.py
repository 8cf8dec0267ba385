import pickle

import pytest
import torch

from tdafd_cli.errors import DataError
from tdafd_cli.training.checkpoint import read_checkpoint, write_checkpoint

CPU = torch.device("cpu")


def test_a_checkpoint_survives_a_round_trip(tmp_path):
    write_checkpoint(tmp_path / "checkpoint.pt", {"step": 3, "weight": torch.arange(3.0)})
    content = read_checkpoint(tmp_path / "checkpoint.pt", CPU)
    assert content["step"] == 3
    assert torch.equal(content["weight"], torch.arange(3.0))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_missing_checkpoint_is_told(tmp_path):
    with pytest.raises(DataError, match="without --resume"):
        read_checkpoint(tmp_path / "checkpoint.pt", CPU)


class Malicious:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_damaged_or_malicious_checkpoint_is_refused(tmp_path, capsys):
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, {"weight": torch.arange(1000.0)})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="not a whole checkpoint"):
        read_checkpoint(path, CPU)
    path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(DataError, match="not a whole checkpoint"):
        read_checkpoint(path, CPU)
    assert "code ran" not in capsys.readouterr().out
