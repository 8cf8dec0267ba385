"""Laws of geometry through everything: degrade, write, `tdafd upscale`, read."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from skimage.registration import phase_cross_correlation
from typer.testing import CliRunner

from tdafd_cli.cli import app
from tdafd_cli.evaluation.validation import VALIDATED_SLICES
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.sampling.degradation import (
    BENCHMARK_DEGRADATIONS,
    SLICE_DEGRADATIONS,
    degrade,
    divisible,
)
from tdafd_cli.sampling.factors import factors_text
from tdafd_cli.sampling.interpolation import interpolate
from tdafd_cli.sampling.plan import along
from tdafd_cli.volumes.grid import downscaled_affine
from tdafd_cli.weights.file import save_weights
from tdafd_cli.weights.registry import find_entry
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


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in bundled_names()
        for kind in (BENCHMARK_DEGRADATIONS if find_entry(name).axes == 3 else VALIDATED_SLICES)
    ],
)
def test_a_real_head_stays_where_it_is(tmp_path, name, kind):
    factors = find_entry(name).factors
    scale = max(factors)
    image = nib.load(EXAMPLE)
    reference = divisible(torch.from_numpy(image.get_fdata(dtype=np.float32)), factors)
    low = degrade(reference, factors, kind)
    affine = downscaled_affine(image.affine, factors)
    estimate = upscaled(low, affine, factors_text(factors), name, tmp_path).get_fdata()
    shift = shift_between(reference.numpy(), estimate)
    if scale == 2:
        assert np.abs(shift).max() < 0.02
    # The coarser the grid, the less the measure knows: sinc, which is in place, measures up to
    # 0.006 high voxels at x2 and 0.058 at x4. What counts is how far from it the network moves.
    sinc_shift = shift_between(reference.numpy(), interpolate(low, factors, "sinc").numpy())
    assert np.abs(shift - sinc_shift).max() < 0.015 * scale


def shift_between(reference, estimate):
    """Shift in voxels along each axis, by cross-correlation inside the volume."""
    inner = (slice(8, -8),) * 3  # the neck ends at a face, where the estimate sees no further
    # Not whitened: noise would rule, and move even a sinc interpolation by 0.1 voxels. Memory grows
    # with the cube of the factor: 500 takes 10 GB.
    return phase_cross_correlation(
        reference[inner], estimate[inner], upsample_factor=200, normalization=None
    )[0]


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("kind", SLICE_DEGRADATIONS)
def test_an_ellipsoid_in_thick_slices_stays_where_it_is(tmp_path, kind, axis):
    factors = along(axis, 4)
    config = TDAFDConfig(scale=4, channels=4, modules=2, token_channels=4, axes=1)
    save_weights(tmp_path / "weights.safetensors", TDAFD(config), {})
    high = ellipsoid((48, 48, 48))
    low = degrade(torch.from_numpy(high), factors, kind)
    affine = downscaled_affine(OBLIQUE, factors)
    scale = factors_text(factors)
    result = upscaled(low, affine, scale, tmp_path / "weights.safetensors", tmp_path)
    np.testing.assert_allclose(result.affine, OBLIQUE, atol=1e-5)
    moved_mm = world_centroid(result.get_fdata(), result.affine) - world_centroid(high, OBLIQUE)
    slice_mm = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).max()
    assert np.linalg.norm(moved_mm) < 0.02 * slice_mm


def test_an_ellipsoid_stays_where_it_is_at_a_spacing_that_no_network_makes(tmp_path):
    config = TDAFDConfig(scale=4, channels=4, modules=2, token_channels=4, axes=1)
    save_weights(tmp_path / "weights.safetensors", TDAFD(config), {})
    high = ellipsoid((48, 48, 48))
    low = degrade(torch.from_numpy(high), (1, 1, 4), "thick-boxcar")
    affine = downscaled_affine(OBLIQUE, (1, 1, 4))
    image = nib.Nifti1Image(np.asarray(low, np.float32), affine)
    nib.save(image, tmp_path / "low.nii")
    for spacing in ("1.05", "0.85x0.8x0.77"):
        words = ["upscale", tmp_path / "low.nii", tmp_path / "high.nii", "--overwrite", "--weights"]
        words += [tmp_path / "weights.safetensors", "--spacing", spacing, "--device", "cpu"]
        ended = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert ended.exit_code == 0, ended.stderr
        result = nib.load(tmp_path / "high.nii")
        moved = world_centroid(result.get_fdata(), result.affine) - world_centroid(high, OBLIQUE)
        assert np.linalg.norm(moved) < 0.02 * 3.6
        wanted = [float(word) for word in (spacing.split("x") * 3)[:3]]
        coarse = np.array([1.0, 1.2, 3.6]) > 1.06 * np.array(wanted)
        sizes = np.where(coarse, wanted, [1.0, 1.2, 3.6])
        assert result.header.get_zooms() == pytest.approx(sizes, rel=1e-4)
