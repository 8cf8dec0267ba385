import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (its usual name)
import torch

from tdafd_cli.sampling.interpolation import METHODS, interpolate


def volume(shape=(7, 6, 5), seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_method_fills_the_finer_grid(method, scale):
    high = interpolate(volume(), scale, method)
    assert high.shape == (7 * scale, 6 * scale, 5 * scale)
    assert torch.isfinite(high).all()


@pytest.mark.parametrize("scale", [2, 3])
def test_bspline_agrees_with_simpleitk(scale):
    low = volume((9, 8, 7))
    image = sitk.GetImageFromArray(low.numpy())
    grid = sitk.Image([size * scale for size in image.GetSize()], sitk.sitkFloat64)
    grid.SetSpacing([1 / scale] * 3)
    grid.SetOrigin([(1 / scale - 1) / 2] * 3)
    expected = sitk.GetArrayFromImage(
        sitk.Resample(image, grid, sitk.Transform(), sitk.sitkBSpline, 0.0, sitk.sitkFloat64)
    )
    inner = (slice(scale, -scale),) * 3  # ITK leaves the half voxel at the faces empty
    ours = interpolate(low, scale, "bspline").numpy()
    np.testing.assert_allclose(ours[inner], expected[inner], atol=1e-5)


def test_trilinear_agrees_with_torch():
    low = volume()
    expected = torch.nn.functional.interpolate(
        low[None, None], scale_factor=2.0, mode="trilinear", align_corners=False
    )
    torch.testing.assert_close(interpolate(low, 2, "trilinear"), expected[0, 0])


def test_nearest_repeats_voxels():
    low = volume()
    expected = low.repeat_interleave(3, 0).repeat_interleave(3, 1).repeat_interleave(3, 2)
    torch.testing.assert_close(interpolate(low, 3, "nearest"), expected)
