"""Laws of geometry through everything: degrade, write, `tdafd upscale`, read."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from skimage.registration import phase_cross_correlation
from typer.testing import CliRunner

from tdafd_cli.cli import app
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.sampling.degradation import BENCHMARK_DEGRADATIONS, degrade, divisible
from tdafd_cli.sampling.interpolation import interpolate
from tdafd_cli.volumes.grid import downscaled_affine
from tdafd_cli.weights.file import save_weights
from tdafd_cli.weights.store import bundled_names

EXAMPLE = Path(__file__).parents[1] / "examples" / "head_2mm.nii.gz"
OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.2, 0.5) @ np.diag([-1.0, 1.2, 0.9]), [12, -30, 7]
)


def upscaled(low, affine, scale, weights, folder):
    """A low volume after a trip through files and the command."""
    image = nib.Nifti1Image(np.asarray(low, np.float32), affine)
    nib.save(image, folder / "low.nii.gz")
    arguments = [str(folder / "low.nii.gz"), str(folder / "high.nii.gz"), "--overwrite"]
    arguments += ["--weights", str(weights), "--scale", str(scale), "--device", "cpu"]
    result = CliRunner().invoke(app, ["upscale", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return nib.load(folder / "high.nii.gz")


def ellipsoid(shape):
    axes = np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij")
    centre, radii = (25.3, 22.8, 24.1), (9, 11, 8)
    distance = np.sqrt(sum(((x - c) / r) ** 2 for x, c, r in zip(axes, centre, radii, strict=True)))
    return 100 / (1 + np.exp(12 * (distance - 1)))


def world_centroid(data, affine):
    """Centre of mass in millimetres of the object alone, without what rings far from it."""
    weight = np.where(data > 0.05 * data.max(), data, 0)
    axes = np.meshgrid(*(np.arange(n, dtype=float) for n in weight.shape), indexing="ij")
    centroid = [float((x * weight).sum() / weight.sum()) for x in axes]
    return nib.affines.apply_affine(affine, centroid)


@pytest.mark.parametrize("kind", BENCHMARK_DEGRADATIONS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_an_ellipsoid_stays_where_it_is(tmp_path, kind, scale):
    torch.manual_seed(0)
    network = TDAFD(TDAFDConfig(scale=scale, channels=8, modules=2, token_channels=8))
    save_weights(tmp_path / "weights.safetensors", network, {})
    high = ellipsoid((48, 48, 48))
    low = degrade(torch.from_numpy(high), scale, kind)
    affine = downscaled_affine(OBLIQUE, scale)
    result = upscaled(low, affine, scale, tmp_path / "weights.safetensors", tmp_path)
    np.testing.assert_allclose(result.affine, OBLIQUE, atol=1e-5)
    moved_mm = world_centroid(result.get_fdata(), result.affine) - world_centroid(high, OBLIQUE)
    low_voxel_mm = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).min()
    assert np.linalg.norm(moved_mm) < 0.02 * low_voxel_mm


@pytest.mark.parametrize("name", bundled_names())
@pytest.mark.parametrize("kind", BENCHMARK_DEGRADATIONS)
def test_a_real_head_stays_where_it_is(tmp_path, name, kind):
    scale = int(name[-1])
    image = nib.load(EXAMPLE)
    reference = divisible(torch.from_numpy(image.get_fdata(dtype=np.float32)), scale)
    low = degrade(reference, scale, kind)
    affine = downscaled_affine(image.affine, scale)
    estimate = upscaled(low, affine, scale, name, tmp_path).get_fdata()
    shift = shift_between(reference.numpy(), estimate)
    if scale == 2:
        assert np.abs(shift).max() < 0.02
    # The coarser the grid, the less the measure knows: sinc, which is in place, measures up to
    # 0.006 high voxels at x2 and 0.058 at x4. What counts is how far from it the network moves.
    sinc_shift = shift_between(reference.numpy(), interpolate(low, scale, "sinc").numpy())
    assert np.abs(shift - sinc_shift).max() < 0.015 * scale


def shift_between(reference, estimate):
    """Shift in voxels along each axis, by cross-correlation inside the volume."""
    inner = (slice(8, -8),) * 3  # the neck ends at a face, where the estimate sees no further
    # Not whitened: noise would rule, and move even a sinc interpolation by 0.1 voxels. Memory grows
    # with the cube of the factor: 500 takes 10 GB.
    return phase_cross_correlation(
        reference[inner], estimate[inner], upsample_factor=200, normalization=None
    )[0]
