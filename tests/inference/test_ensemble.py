import pytest
import torch

from tdafd_cli.inference.ensemble import MIRRORS, PASSES, passes, self_ensemble


def ramp(low: torch.Tensor) -> torch.Tensor:
    """Stands for a network that errs by a ramp along every axis, whatever it is given."""
    i, j, k = (torch.linspace(-1, 1, size) for size in low.shape[2:])
    return low + i[:, None, None] + 2 * j[:, None] + 4 * k


@pytest.mark.parametrize("count", PASSES[1:])
def test_errors_that_do_not_turn_with_the_volume_cancel(count):
    low = torch.rand(2, 1, 6, 5, 4)
    torch.testing.assert_close(self_ensemble(ramp, low, count), low)


def test_one_pass_is_the_network():
    low = torch.rand(1, 1, 6, 5, 4)
    assert torch.equal(self_ensemble(ramp, low, 1), ramp(low))


def test_what_turns_with_the_volume_stays(tiny_network):
    low = torch.rand(1, 1, 16, 16, 16)
    mirrored = self_ensemble(tiny_network, low.flip(2, 3, 4), 8).flip(2, 3, 4)
    torch.testing.assert_close(self_ensemble(tiny_network, low, 8), mirrored)


def test_every_mirror_image_is_taken_once():
    assert len({frozenset(axes) for axes in MIRRORS}) == len(MIRRORS) == PASSES[-1]


def test_passes_are_as_asked_or_by_scale():
    assert passes(4, (2, 2, 2)) == 4
    assert [passes("auto", (scale,) * 3) for scale in (2, 3, 4)] == [2, 8, 8]
    assert passes("auto", (1, 1, 6)) == 2
