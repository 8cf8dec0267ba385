import numpy as np
from drawn_volumes import SCALES, affines, outer_corners, random_stored
from hypothesis import given
from hypothesis import strategies as st

from tdafd_cli.formats.files import read_volume
from tdafd_cli.volumes.grid import downscaled_affine, regridded, upscaled_affine


@given(affines(), SCALES, st.tuples(*[st.integers(1, 300)] * 3))
def test_outer_faces_stay_in_place(affine, scale, shape):
    finer = tuple(scale * length for length in shape)
    corners = outer_corners(affine, shape)
    np.testing.assert_allclose(
        outer_corners(upscaled_affine(affine, scale), finer), corners, atol=1e-9
    )
    np.testing.assert_allclose(
        outer_corners(downscaled_affine(affine, scale), shape),
        outer_corners(affine, finer),
        atol=1e-9,
    )


@given(affines(), SCALES)
def test_downscaling_undoes_upscaling(affine, scale):
    again = downscaled_affine(upscaled_affine(affine, scale), scale)
    np.testing.assert_allclose(again, affine, atol=1e-10)


@given(affines(), SCALES)
def test_upscaling_divides_the_voxel_size_and_keeps_directions(affine, scale):
    np.testing.assert_allclose(upscaled_affine(affine, scale)[:3, :3] * scale, affine[:3, :3])


def test_regridding_leaves_the_volume_alone(make_nifti):
    volume = read_volume(make_nifti(random_stored("int16")))
    header, affine = volume.header.binaryblock, volume.affine.copy()
    given_affine = affine.copy()
    other = regridded(volume, volume.data, given_affine)
    other.affine[:] = 0
    assert other.path == volume.path
    assert volume.header.binaryblock == header
    np.testing.assert_array_equal(given_affine, affine)
    np.testing.assert_array_equal(volume.affine, affine)
