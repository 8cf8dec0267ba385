import pytest

from tdafd_cli.errors import VolumeError
from tdafd_cli.networks import tdafd
from tdafd_cli.sampling import plan as plans
from tdafd_cli.sampling.plan import Plan, Request, along, plan_for, plan_notes

SHAPE = (200, 220, 30)


def planned(voxel_size, shape=SHAPE, weights=None, softest=lambda: 1, **asked):
    return plan_for(
        Request(**asked), shape=shape, voxel_size=voxel_size, weights=weights, softest=softest
    )


def test_scales_are_those_of_networks():
    assert plans.SCALES == tdafd.SCALES
    assert plans.SLICE_SCALES == tdafd.SLICE_SCALES


def test_factors_are_done_as_asked():
    assert planned((1, 1, 5), factors=(2, 2, 2)) == Plan((2, 2, 2), (400, 440, 60))
    assert planned((1, 1, 5), factors=(4, 1, 1)) == Plan((4, 1, 1), (800, 220, 30))
    assert planned((1, 1, 5), factors=(1, 1, 4)).slice_axis == 2
    assert planned((1, 1, 5), factors=(2, 2, 2)).slice_axis is None


@pytest.mark.parametrize("axis", range(3))
def test_slices_are_found_by_the_longest_edge_whatever_the_orientation(axis):
    size = tuple(4.0 if axis == each else 0.9 for each in range(3))
    assert planned(size, spacing_mm=(1, 1, 1)).factors == along(axis, 4)
    assert planned(size, factors=(4, 4, 4), one_axis=True).factors == along(axis, 4)
    assert planned(size, weights=(1, 1, 3)).factors == along(axis, 3)


def test_the_spectrum_tells_slices_where_edges_are_equal():
    assert planned((1, 1, 1), factors=(4, 4, 4), one_axis=True).factors == (1, 4, 1)
    assert planned((1, 1, 1), factors=(4, 4, 4), one_axis=True, slice_axis=0).factors == (4, 1, 1)


def test_a_whole_factor_needs_no_resampling():
    plan = planned((0.9, 0.9, 3.6), spacing_mm=(0.9,) * 3)
    assert plan == Plan((1, 1, 4), (200, 220, 120))
    assert plan.exact
    assert plan_notes(plan, (0.9, 0.9, 3.6)) == ()


@pytest.mark.parametrize(
    ("thick", "wanted", "factor"),
    [(3.3, 1, 3), (4.4, 0.9, 5), (3.5, 1, 4), (6.5, 1, 6), (9, 1, 6), (1.2, 1, 2)],
)
def test_another_factor_goes_over_the_nearest_of_a_network(thick, wanted, factor):
    plan = planned((0.9, 0.9, thick), spacing_mm=(wanted,) * 3)
    assert plan.factors == (1, 1, factor)
    assert plan.steps[:2] == (1, 1)
    assert thick / factor * plan.steps[2] == pytest.approx(wanted)
    assert plan.shape == (200, 220, round(30 * thick / wanted))


def test_shares_are_told():
    plan = planned((0.9, 0.9, 3.3), spacing_mm=(1, 1, 1))
    [note] = plan_notes(plan, (0.9, 0.9, 3.3))
    assert note == "K: from 3.3 mm by the network to 1.1 mm, then by resampling to 1 mm"


def test_a_fine_axis_is_left_alone_and_others_are_resampled():
    plan = planned((0.5, 1.0, 4.0), spacing_mm=(0.5, 0.5, 0.5))
    assert plan.factors == (1, 1, 6)
    assert plan.shape == (200, 440, 240)
    assert plan.steps == pytest.approx((1, 0.5, 0.75))


def test_nearly_isotropic_scans_are_for_the_network_for_all_axes():
    plan = planned((1, 1, 1.2), spacing_mm=(0.8,) * 3)
    assert plan.factors == (2, 2, 2)
    assert plan.steps == pytest.approx((1.6, 1.6, 0.8 / 0.6))
    assert plan.shape == (250, 275, 45)
    assert planned((1, 1, 1.2), spacing_mm=(0.8,) * 3, slice_axis=2).factors == (1, 1, 2)
    assert planned((1, 1, 1), spacing_mm=(0.5,) * 3) == Plan((2, 2, 2), (400, 440, 60))


def test_given_weights_fix_the_factor():
    assert planned((1, 1, 3.3), spacing_mm=(1,) * 3, weights=(1, 1, 4)).factors == (1, 1, 4)
    assert planned((1, 1, 1.2), spacing_mm=(0.8,) * 3, weights=(3, 3, 3)).factors == (3, 3, 3)


def test_no_finer_voxels_are_refused_with_the_reason():
    with pytest.raises(VolumeError, match=r"0\.9 x 0\.9 x 3 mm, no coarser than the 3 x 3 x 3 mm"):
        planned((0.9, 0.9, 3), spacing_mm=(3, 3, 3))
    with pytest.raises(VolumeError, match=r"along I, no coarser than .* choose another slice axis"):
        planned((0.9, 0.9, 3), spacing_mm=(1, 1, 1), slice_axis=0)


@pytest.mark.parametrize(
    "asked",
    [
        {"factors": (1, 1, 2), "spacing_mm": (1, 1, 1)},
        {"spacing_mm": (1, 0, 1)},
        {"thickness_mm": -1.0},
        {"spacing_mm": (float("nan"),) * 3},
    ],
)
def test_impossible_requests_are_refused(asked):
    with pytest.raises(ValueError, match=r"not both|above 0"):
        Request(**asked)
