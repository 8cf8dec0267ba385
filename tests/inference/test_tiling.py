import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812

from tdafd_cli.inference.tiling import (
    RAMP_SHARE,
    blend_weights,
    cheapest_tile,
    plan_axis,
    plan_tiles,
    predict_tiled,
)


@st.composite
def layouts(draw: st.DrawFn, longest: int = 60) -> dict[str, int]:
    """A length, and a tile, overlap and alignment that suit each other."""
    align = draw(st.sampled_from([1, 2, 3, 8]))
    tile = align * draw(st.integers(1, 6))
    return {
        "length": draw(st.integers(1, longest)),
        "tile": tile,
        "overlap": draw(st.integers(0, tile - align)),
        "align": align,
    }


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    """Volumes of several tiles along one or two axes."""
    lengths = st.tuples(st.integers(1, 40), st.integers(1, 16), st.integers(1, 8))
    return lengths.flatmap(st.permutations).map(tuple)


def nearest(low: torch.Tensor, scale: int = 2) -> torch.Tensor:
    return F.interpolate(low, scale_factor=scale)


def local_network(radius: int, scale: int) -> nn.Module:
    """A network of 3^3 convolutions that sees `radius` voxels around each, padded with zeros."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv3d(1, 4, 3, padding=1)]
    for _ in range(radius - 1):
        layers += [nn.ReLU(), nn.Conv3d(4, 4, 3, padding=1)]
    return nn.Sequential(*layers, nn.Conv3d(4, 1, 1), nn.Upsample(scale_factor=scale)).eval()


def random_volume(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@given(layouts(longest=300))
def test_tiles_cover_an_axis_on_the_grid_with_the_overlap_asked_for(layout):
    plan = plan_axis(**layout)
    align, overlap = layout["align"], layout["overlap"]
    ends = [start + plan.tile for start in plan.starts]
    assert plan.starts[0] == 0
    assert plan.length <= ends[-1] < plan.length + align
    assert plan.tile <= layout["tile"]
    assert all(edge % align == 0 for edge in (plan.tile, *plan.starts))
    assert all(
        end - start >= overlap
        for end, start in zip(ends, plan.starts[1:], strict=False)  # each with the next
    )


@given(layouts(longest=300))
def test_no_smaller_plan_covers_an_axis_with_as_few_tiles(layout):
    plan = plan_axis(**layout)
    align, overlap = layout["align"], layout["overlap"]
    step = (layout["tile"] - overlap) // align * align
    fewest = 1 + max(0, math.ceil((layout["length"] - layout["tile"]) / step))
    assert len(plan.starts) == fewest
    smaller = plan.tile - align
    if smaller - overlap >= align:
        reach = smaller + (fewest - 1) * ((smaller - overlap) // align * align)
        assert reach < plan.length


@settings(max_examples=25)
@given(
    shape=st.tuples(*[st.integers(1, 70)] * 3),
    overlap=st.integers(0, 20),
    align=st.sampled_from([8, 16]),
    most_voxels=st.integers(1, 70**3),
)
def test_cheapest_tile_is_small_enough_and_no_other_such_tile_computes_less(
    shape, overlap, align, most_voxels
):
    def voxels(edges: tuple[int, ...]) -> tuple[int, int]:
        """Of one tile, and computed in all."""
        plans = plan_tiles(shape, tile=edges, overlap=overlap, align=align)
        tile = math.prod(plan.tile for plan in plans)
        return tile, tile * math.prod(len(plan.starts) for plan in plans)

    best = cheapest_tile(shape, overlap=overlap, align=align, most_voxels=most_voxels)
    edges = [edge for edge in range(align, 76, align) if edge >= overlap + align]
    others = [voxels(other) for other in itertools.product(edges, repeat=3)]
    fitting = [computed for tile, computed in others if tile <= most_voxels]
    if fitting:
        assert voxels(best)[0] <= most_voxels
        assert voxels(best)[1] == min(fitting)
    else:
        assert voxels(best)[0] == min(tile for tile, _ in others)


def test_long_volumes_are_cut_into_slabs():
    edges = cheapest_tile((160, 192, 160), overlap=48, align=16, most_voxels=144**3)
    assert edges == (160, 96, 160)


@given(layouts(longest=300), st.integers(1, 4))
def test_weights_sum_to_one_at_every_voxel(layout, scale):
    plan = plan_axis(**layout)
    weights = blend_weights(plan, scale=scale)
    total = torch.zeros(scale * (plan.starts[-1] + plan.tile))
    for start, row in zip(plan.starts, weights, strict=True):
        total[scale * start : scale * (start + plan.tile)] += row
    assert weights.min() >= 0
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


def test_weights_vanish_by_inner_borders_and_are_full_at_outer_faces():
    plan = plan_axis(40, tile=24, overlap=8)
    first, last = blend_weights(plan, scale=2)
    discarded = int((1 - RAMP_SHARE) * 8 / 2 * 2)
    assert plan.starts == (0, 16)
    assert first[-discarded:].max() == last[:discarded].max() == 0
    assert first[:32].min() == last[-32:].min() == 1
    assert torch.equal(first, last.flip(0))


def test_weights_pass_smoothly_from_tile_to_tile():
    last = blend_weights(plan_axis(64, tile=48, overlap=32), scale=4)[-1]
    handover = last[: 4 * 32]
    steps = handover.diff()
    assert steps.min() >= 0
    assert steps.max() < 1.01 * math.pi / 2 / (RAMP_SHARE * 4 * 32)
    torch.testing.assert_close(handover, handover.flip(0).neg().add(1), rtol=0, atol=1e-6)


@settings(max_examples=50)
@given(
    layout=layouts(),
    shape=shapes(),
    scale=st.integers(1, 3),
    batch_size=st.integers(1, 3),
)
def test_tiling_leaves_no_trace_in_a_pointwise_upscaling(layout, shape, scale, batch_size):
    del layout["length"]
    volume = random_volume(*shape)
    tiled = predict_tiled(
        lambda low: nearest(low, scale), volume, scale=scale, batch_size=batch_size, **layout
    )
    torch.testing.assert_close(tiled, nearest(volume[None, None], scale)[0, 0])


@settings(max_examples=30)
@given(
    radius=st.integers(1, 4),
    shape=shapes(),
    spare=st.integers(1, 6),
    scale=st.integers(1, 2),
)
def test_tiled_equals_whole_when_the_discarded_border_covers_what_the_network_sees(
    radius, shape, spare, scale
):
    network = local_network(radius, scale)
    overlap = math.ceil(2 * radius / (1 - RAMP_SHARE))
    volume = random_volume(*shape)
    with torch.no_grad():
        whole = network(volume[None, None])[0, 0]
    tiled = predict_tiled(network, volume, scale=scale, tile=overlap + spare, overlap=overlap)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


def test_tiled_differs_from_whole_when_the_overlap_is_too_small():
    network = local_network(radius=4, scale=1)
    volume = random_volume(30, 12, 12)
    with torch.no_grad():
        whole = network(volume[None, None])[0, 0]
    tiled = predict_tiled(network, volume, scale=1, tile=16, overlap=2)
    assert (tiled - whole).abs().max() > 1e-3


@given(shape=st.tuples(*[st.integers(1, 30)] * 3), windows=st.integers(1, 4))
def test_a_network_that_works_in_windows_meets_the_same_ones_in_every_tile(shape, windows):
    def window_means(low):
        return F.interpolate(F.avg_pool3d(low, 4), scale_factor=8)

    volume = random_volume(*shape)
    beyond = [after for length in reversed(shape) for after in (0, -length % 4)]
    padded = F.pad(volume[None, None], beyond, mode="replicate")
    whole = window_means(padded)[0, 0][tuple(slice(2 * length) for length in shape)]
    for overlap in range(0, 4 * windows - 3):
        tiled = predict_tiled(
            window_means, volume, scale=2, tile=4 * windows, overlap=overlap, align=4
        )
        torch.testing.assert_close(tiled, whole)


def test_result_is_float32_whatever_precision_the_network_answers_in():
    volume = random_volume(20, 9, 9)
    tiled = predict_tiled(lambda low: nearest(low).bfloat16(), volume, scale=2, tile=8, overlap=4)
    assert tiled.dtype == torch.float32
    torch.testing.assert_close(tiled, nearest(volume[None, None])[0, 0], rtol=2**-8, atol=0)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_progress_tells_of_each_tile_once_with_the_total(batch_size):
    calls: list[tuple[int, int]] = []
    predict_tiled(
        nearest,
        random_volume(20, 11, 5),
        scale=2,
        tile=8,
        overlap=2,
        batch_size=batch_size,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(done, 6) for done in range(1, 7)]


def test_all_tiles_have_one_shape_and_batches_are_full_but_the_last():
    shapes: list[torch.Size] = []

    def predict(low):
        shapes.append(low.shape)
        return nearest(low)

    predict_tiled(predict, random_volume(20, 11, 5), scale=2, tile=8, overlap=2, batch_size=4)
    assert [shape[0] for shape in shapes] == [4, 2]
    assert len({shape[1:] for shape in shapes}) == 1


def test_batches_do_not_change_the_result():
    network = local_network(radius=3, scale=2)
    volume = random_volume(24, 17, 9)
    single, batched = (
        predict_tiled(network, volume, scale=2, tile=12, overlap=4, batch_size=n) for n in (1, 7)
    )
    torch.testing.assert_close(single, batched)


def test_the_volume_is_left_as_it_was():
    volume = random_volume(20, 9, 9)
    before = volume.clone()
    predict_tiled(lambda low: low, volume, scale=1, tile=8, overlap=4)
    assert torch.equal(volume, before)


def test_memory_beyond_input_and_result_does_not_grow_with_the_volume():
    def most_alive_beside_the_result(length: int) -> int:
        """Bytes that tensors made during the prediction hold at once, by torch's own profiler."""
        volume = torch.zeros(length, 16, 16)
        with torch.profiler.profile(profile_memory=True) as profile:
            result = predict_tiled(nearest, volume, scale=2, tile=16, overlap=8)
        events = [e for e in profile.events() if e.name == "[memory]"]
        alive = list(itertools.accumulate(e.cpu_memory_usage for e in events))
        return max(alive) - result.nbytes

    assert most_alive_beside_the_result(400) <= 1.1 * most_alive_beside_the_result(40)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tile": 12}, "tile 12 must be a positive multiple of 8"),
        ({"tile": 0}, "tile 0 must be a positive multiple of 8"),
        ({"overlap": 9}, "overlap 9 must be from 0 to 8 for tile 16"),
        ({"overlap": -1}, "overlap -1 must be from 0"),
        ({"length": 0}, "length 0 and align 8 must be at least 1"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        plan_axis(**{"length": 20, "tile": 16, "overlap": 8, "align": 8} | wrong)


@pytest.mark.parametrize("volume", [torch.zeros(4, 4), torch.zeros(4, 4, 4, dtype=torch.int16)])
def test_only_3d_float_volumes_are_taken(volume):
    with pytest.raises(ValueError, match="expected a 3D float volume"):
        predict_tiled(nearest, volume, scale=2, tile=4, overlap=0)


def test_a_prediction_of_the_wrong_size_is_refused():
    with pytest.raises(ValueError, match="x3"):
        predict_tiled(nearest, torch.zeros(4, 4, 4), scale=3, tile=4, overlap=0)
