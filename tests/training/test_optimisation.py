from dataclasses import replace

import pytest
import torch

from tdafd_cli.networks.family import Family
from tdafd_cli.networks.tdafd import TDAFDConfig
from tdafd_cli.training.optimisation import Muon, learning_rate, make_optimisers, orthogonalised

TINY = TDAFDConfig(channels=8, modules=2, attention_channels=4, token_channels=8)
SCHEDULE = {"peak": 1.0, "steps": 1000, "warmup_steps": 10, "final_fraction": 0.1}


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (16, 16)])
def test_orthogonalised_singular_values_are_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert float(values.min()) > 0.4
    assert float(values.max()) < 1.3


def test_muon_goes_downhill():
    generator = torch.Generator().manual_seed(0)
    target = torch.randn((6, 4, 3, 3, 3), generator=generator)
    weight = torch.nn.Parameter(torch.zeros_like(target))
    optimiser = Muon([weight], lr=0.3)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = (weight - target).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]


def test_muon_steps_are_as_large_as_adams():
    weight = torch.nn.Parameter(torch.zeros(32, 16, 3, 3, 3))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=0.01).step()
    rms = float(weight.detach().square().mean().sqrt())
    assert rms == pytest.approx(0.2 * 0.01, rel=0.3)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_every_parameter_has_one_optimiser(name):
    network = Family([TINY, replace(TINY, scale=4)])
    held = [
        id(parameter)
        for optimiser in make_optimisers(network, name, rate=1e-3, decay=0.0)
        for group in optimiser.param_groups
        for parameter in group["params"]
    ]
    assert sorted(held) == sorted(id(parameter) for parameter in network.parameters())


def test_muon_gets_no_biases_scales_or_depthwise_kernels():
    muon, _ = make_optimisers(Family([TINY, replace(TINY, scale=4)]), "muon", rate=1e-3, decay=0.0)
    assert all(min(p.shape[:2]) > 1 and p.ndim in (2, 5) for p in muon.param_groups[0]["params"])


def test_learning_rate_warms_up_and_ends_at_its_fraction():
    rates = [learning_rate(step, **SCHEDULE) for step in range(1001)]
    assert rates[0] == pytest.approx(0.1, rel=1e-3)
    assert max(rates) == pytest.approx(1.0, rel=1e-3)
    assert rates[500] == pytest.approx(0.55, rel=1e-3)
    assert rates[-1] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_cooldown_falls_in_the_last_steps_alone():
    rates = [learning_rate(step, **SCHEDULE, cooldown=0.2) for step in range(1001)]
    assert rates[10:801] == pytest.approx([1.0] * 791)
    assert rates[900] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1)
