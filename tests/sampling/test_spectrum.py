import numpy as np
import pytest
import torch
from scipy import fft

from tdafd_cli.sampling import spectrum
from tdafd_cli.sampling.spectrum import BANDS, FEWEST_VOXELS, USUAL, spectral_falloff


def noise(*shape, seed=0):
    return torch.rand((2, 1, *shape), generator=torch.Generator().manual_seed(seed))


def test_agrees_with_scipys_cosine_transform():
    volume = noise(40, 24, 17)
    falloff = spectral_falloff(volume)
    for axis in range(3):
        power = np.square(fft.dct(volume[1, 0].double().numpy(), axis=axis)).mean(
            axis=tuple({0, 1, 2} - {axis})
        )
        fraction = np.arange(len(power)) / len(power)

        def band(centre, fraction=fraction, power=power):
            weights = np.clip(1 - np.abs(fraction - centre) / 0.1, 0, None)
            return np.sum(weights * power) / np.sum(weights)

        expected = [np.log10(min(1, band(centre) / band(0.15))) for centre in BANDS]
        np.testing.assert_allclose(falloff[1, axis] + torch.tensor(USUAL), expected, atol=1e-4)


def test_blur_along_one_axis_shows_there_alone():
    sharp = noise(32, 32, 32)
    blurred = torch.nn.functional.avg_pool3d(sharp, (3, 1, 1), stride=1, padding=(1, 0, 0))
    change = (spectral_falloff(blurred) - spectral_falloff(sharp))[0]
    assert (change[0, -4:] < -0.4).all()
    assert change[1:].abs().max() < 0.15


def test_scale_of_the_intensities_does_not_matter():
    volume = noise(20, 20, 20)
    for factor in (1e-6, 1000.0):
        torch.testing.assert_close(spectral_falloff(factor * volume), spectral_falloff(volume))


@pytest.mark.parametrize(
    "volume",
    [torch.zeros(2, 1, 20, 20, 20), torch.full((2, 1, 64, 20, 20), 0.7), noise(1, 1, 1)],
    ids=["zero", "constant", "one voxel"],
)
def test_volumes_without_a_spectrum_are_usual(volume):
    assert torch.equal(spectral_falloff(volume), torch.zeros(2, 3, len(BANDS)))


def test_axes_without_a_spectrum_are_usual():
    falloff = spectral_falloff(noise(1, 20, FEWEST_VOXELS - 1).expand(2, 1, 40, 20, -1))
    assert not falloff[:, 0].any()  # nothing varies along it
    assert falloff[:, 1].all()
    assert not falloff[:, 2].any()  # too few voxels


def test_slabs_change_nothing(monkeypatch):
    volume = noise(20, 18, 16)
    expected = spectral_falloff(volume)
    monkeypatch.setattr(spectrum, "SLAB_VOXELS", 20 * 18 * 3)
    torch.testing.assert_close(spectral_falloff(volume), expected)
