import nibabel as nib
import numpy as np
import pytest
import torch

from tdafd_cli.evaluation.validation import estimated, mean_gains, validation_cases, validation_rows
from tdafd_cli.inference.settings import InferenceSettings
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig

TINY = TDAFDConfig(channels=8, modules=2, attention_channels=4, token_channels=8)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    path = tmp_path_factory.mktemp("validation") / "volume.nii.gz"
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in (32, 30, 29)), indexing="ij")
    radius = np.sqrt(sum(x**2 for x in axes))
    data = (np.cos(9 * radius) + 1.5) * (radius < 0.8) * 100
    nib.save(nib.Nifti1Image(data.astype(np.float32), np.eye(4)), path)
    return list(validation_cases([path], 2))


def test_a_volume_gives_a_case_for_each_degradation(cases):
    assert [c.case.degradation for c in cases] == ["kspace", "gaussian", "average"]
    assert all(c.case.reference.high.shape == (32, 30, 28) for c in cases)
    assert all(c.case.low.shape == (16, 15, 14) for c in cases)


def test_the_reference_itself_gains_most(cases):
    rows = validation_rows(cases, lambda case: case.reference.high.numpy())
    assert all(row["gain"] == float("inf") for row in rows)


def test_gains_are_over_the_best_baseline(cases):
    rows = validation_rows(cases, lambda case: case.reference.high.numpy() * 0.9)
    for row in rows:
        expected = row["psnr_foreground"] - row["baseline_psnr_foreground"]
        assert row["gain"] == pytest.approx(expected, abs=1e-4)
    assert mean_gains(rows).keys() == {"kspace", "gaussian", "average"}


def test_an_untrained_network_is_about_as_good_as_sinc(cases):
    torch.manual_seed(0)
    network = TDAFD(TINY).eval()
    settings = InferenceSettings("cpu", "fp32", ensemble=1, consistency="none")
    rows = validation_rows(cases, lambda case: estimated(network, case, settings))
    assert all(abs(row["gain"]) < 1.5 for row in rows)


def test_processes_share_the_cases(cases, tmp_path):
    path = tmp_path / "volume.nii.gz"
    nib.save(nib.Nifti1Image(cases[0].case.reference.high.numpy(), np.eye(4)), path)
    shares = [list(validation_cases([path], 2, rank=rank, processes=2)) for rank in range(2)]
    assert [[c.case.degradation for c in share] for share in shares] == [
        ["kspace", "average"],
        ["gaussian"],
    ]
