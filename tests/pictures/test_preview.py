import itertools
from pathlib import Path

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Header
from PIL import Image

from tdafd_cli.errors import OutputError
from tdafd_cli.pictures.preview import HEADING_PIXELS, check_preview, draw_preview, write_preview
from tdafd_cli.volumes.grid import regridded, upscaled_affine
from tdafd_cli.volumes.volume import Volume


def in_the_world(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """RAS+ millimetres of every voxel, (I, J, K, 3)."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def as_volume(data: np.ndarray, affine: np.ndarray) -> Volume:
    header = Nifti1Header()
    header.set_data_shape(data.shape)
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1)
    return Volume(data.astype(np.float32), affine, header)


def ball(shape: tuple[int, ...], affine: np.ndarray, radius_mm: float) -> Volume:
    """Grey ball in the middle, brighter to the right, to the front and to the top."""
    place = in_the_world(shape, affine)
    place = place - place.mean(axis=(0, 1, 2))
    bright = 100 + place @ [1, 2, 3] * 50 / (6 * radius_mm)
    return as_volume(np.where(np.linalg.norm(place, axis=-1) < radius_mm, bright, 0), affine)


def repeated(low: Volume, scale: int) -> Volume:
    data = low.data
    for axis in range(3):
        data = data.repeat(scale, axis)
    return regridded(low, data, upscaled_affine(low.affine, scale))


def panels(picture: Image.Image) -> list[list[np.ndarray]]:
    """Grey panels of the three rows and columns, found by the black between them."""
    grey = np.asarray(picture.convert("L"))[HEADING_PIXELS:]
    columns = np.array_split(grey, 3, axis=1)

    def lit_rows(column: np.ndarray) -> list[np.ndarray]:
        lit = (column > 60).sum(axis=1) > 20  # more than a letter is high
        edges = np.flatnonzero(np.diff(np.concatenate([[0], lit.astype(int), [0]])))
        return [column[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]

    return [list(row) for row in zip(*map(lit_rows, columns), strict=True)]


def centre_of_brightness(panel: np.ndarray) -> tuple[float, float]:
    """Where the brighter half of the object lies from its middle: (down, to the right)."""
    inside = np.argwhere(panel > 60)
    bright = np.argwhere(panel > np.median(panel[panel > 60]))
    down, right = bright.mean(axis=0) - inside.mean(axis=0)
    return float(down), float(right)


def test_planes_stand_as_radiologists_hang_them():
    low = ball((40, 40, 40), np.diag([1.0, 1, 1, 1]), radius_mm=16)
    axial, coronal, sagittal = panels(draw_preview(low, repeated(low, 2), name="x2"))
    for row in (axial, coronal, sagittal):
        for panel in row:
            down, right = centre_of_brightness(panel)
            assert down < -5  # front, top, top
            assert right < -1  # right, right, front


def test_a_ball_is_round_however_flat_the_voxels_are():
    low = ball((80, 60, 24), np.diag([0.75, 1, 2.5, 1]), radius_mm=25)
    for row in panels(draw_preview(low, repeated(low, 2), name="x2")):
        for panel in row:
            down, right = np.ptp(np.argwhere(panel > 60), axis=0)
            assert down == pytest.approx(right, rel=0.1)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[1:])
@pytest.mark.parametrize("flips", [(), (0,), (0, 1, 2)])
def test_order_and_direction_of_the_stored_axes_do_not_show(order, flips):
    affine = np.diag([2.0, 2.5, 3.0, 1.0])
    low = ball((21, 18, 15), affine, radius_mm=17)
    other_affine = affine.copy()
    other_affine[:, :3] = affine[:, :3][:, order]
    data = low.data.transpose(order)
    for axis in flips:
        data = np.flip(data, axis)
        other_affine[:, 3] += (data.shape[axis] - 1) * other_affine[:, axis]
        other_affine[:, axis] *= -1
    other = as_volume(data, other_affine)
    expected = np.asarray(draw_preview(low, repeated(low, 2), name="x2"))[HEADING_PIXELS:]
    picture = np.asarray(draw_preview(other, repeated(other, 2), name="x2"))[HEADING_PIXELS:]
    assert picture.shape == expected.shape
    assert np.abs(picture.astype(int) - expected).mean() < 2  # planes differ by a voxel at most


def test_all_columns_share_one_grey_window():
    low = ball((30, 30, 30), np.eye(4), radius_mm=12)
    darker = repeated(as_volume(low.data / 2, low.affine), 2)
    for source, spline, result in panels(draw_preview(low, darker, name="x2")):
        whole, half = np.median(source[source > 60]), np.median(result[result > 30])
        assert half == pytest.approx(whole / 2, rel=0.1)
        assert np.median(spline[spline > 60]) == pytest.approx(whole, rel=0.1)


def test_input_shows_its_voxels_and_the_spline_does_not():
    low = ball((12, 12, 12), np.eye(4), radius_mm=5)
    for source, spline, _ in panels(draw_preview(low, repeated(low, 2), name="x2")):
        assert len(np.unique(source)) < len(np.unique(spline)) / 2


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 7, 9), (5, 5, 5), (40, 3, 2)])
def test_any_shape_and_scale_can_be_drawn(shape, scale):
    data = np.random.default_rng(0).random(shape)
    low = as_volume(data, np.diag([1.0, 2, 3, 1]))
    picture = draw_preview(low, repeated(low, scale), name=f"x{scale}")
    assert max(picture.size) < 6000


def test_volumes_of_different_fields_of_view_are_refused():
    low = ball((10, 10, 10), np.eye(4), radius_mm=4)
    with pytest.raises(ValueError, match="fields of view differ"):
        draw_preview(low, repeated(ball((10, 10, 11), np.eye(4), radius_mm=4), 2), name="x2")


def test_written_preview_is_the_drawn_one(tmp_path):
    low = ball((10, 11, 12), np.eye(4), radius_mm=4)
    path = tmp_path / "preview.png"
    write_preview(path, low, repeated(low, 2), name="x2")
    with Image.open(path) as written:
        assert written.format == "PNG"
        drawn = draw_preview(low, repeated(low, 2), name="x2")
        assert np.array_equal(np.asarray(written), np.asarray(drawn))
    assert list(tmp_path.iterdir()) == [path]


def test_other_kinds_of_pictures_are_refused():
    with pytest.raises(OutputError, match=r"a\.jpg: previews are PNG pictures; end its name in"):
        check_preview(Path("a.jpg"))


def test_existing_preview_is_replaced_only_when_asked(tmp_path):
    low = ball((10, 10, 10), np.eye(4), radius_mm=4)
    path = tmp_path / "preview.png"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        write_preview(path, low, repeated(low, 2), name="x2")
    assert path.read_bytes() == b"precious"
    write_preview(path, low, repeated(low, 2), name="x2", overwrite=True)
    assert path.read_bytes().startswith(b"\x89PNG")
