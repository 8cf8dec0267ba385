import copy
from dataclasses import replace

import pytest
import torch

from tdafd_cli.networks.family import Family
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig

TINY = TDAFDConfig(channels=8, modules=2, attention_channels=4, token_channels=8)


def family_of(*scales):
    return Family([replace(TINY, scale=scale) for scale in scales])


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_members_share_all_but_their_tails():
    family = family_of(2, 3, 4)
    tails = [network.tail for network in family]
    alone = count(TDAFD(TINY)) - count(family.of_scale(2).tail)
    assert count(family) == alone + sum(count(tail) for tail in tails)


def test_members_go_on_sharing_in_a_copy():
    family = copy.deepcopy(family_of(2, 4))
    with torch.no_grad():
        family.of_scale(2).head.weight.fill_(3.0)
    assert bool((family.of_scale(4).head.weight == 3.0).all())


def test_a_member_is_the_network_of_its_scale():
    family = family_of(4, 2)
    low = torch.rand(1, 1, 6, 5, 4)
    assert [network(low).shape[-1] for network in family] == [16, 8]
    assert set(family.of_scale(2).state_dict()) == set(TDAFD(TINY).state_dict())
    with pytest.raises(KeyError):
        family.of_scale(3)


def test_limits_are_each_members_own():
    family = family_of(2, 3)
    family.of_scale(2).observe(torch.full((1, 3, family.of_scale(2).falloff_limits.shape[1]), 20.0))
    assert float(family.of_scale(2).falloff_limits.max()) == 20.0
    assert float(family.of_scale(3).falloff_limits.max()) < 20.0


def test_members_for_one_axis_stand_beside_those_for_all():
    family = Family([TINY, replace(TINY, axes=1, scale=4)])
    names = {name.split(".")[1] for name in family.state_dict()}
    assert names == {"2", "1x1x4"}
    low = torch.rand(1, 1, 6, 5, 4)
    assert family.of_scale((1, 1, 4))(low).shape[2:] == (6, 5, 16)
    assert family.of_scale((1, 1, 4)).head is family.of_scale(2).head
