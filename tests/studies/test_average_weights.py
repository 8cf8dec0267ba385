import subprocess
import sys
from pathlib import Path

import torch

from tdafd_cli.weights.file import save_weights
from tdafd_cli.weights.store import load_weights

SCRIPT = Path(__file__).parents[2] / "studies" / "average_weights.py"


def test_weights_are_averaged_and_limits_kept(tmp_path, tiny_network):
    files = [tmp_path / f"{name}.safetensors" for name in ("before", "after", "mean")]
    save_weights(files[0], tiny_network, {"licence": "first"})
    with torch.no_grad():
        for parameter in tiny_network.parameters():
            parameter += 1
    tiny_network.falloff_limits.mul_(0.1)
    save_weights(files[1], tiny_network, {"licence": "second"})
    command = [sys.executable, str(SCRIPT), *map(str, files), "--share", "0.25"]
    subprocess.run(command, check=True, timeout=120)
    before, after, mean = map(load_weights, files)
    assert mean.metadata["licence"] == "second"
    assert torch.equal(mean.state["falloff_limits"], after.state["falloff_limits"])
    for name in (name for name in mean.state if name != "falloff_limits"):
        torch.testing.assert_close(mean.state[name], before.state[name] + 0.25)
