"""PSNR and SSIM of whole volumes and of their foreground, as the benchmark protocol fixes them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import structural_similarity

FOREGROUND_LEVEL = 0.05  # of the 99.9th percentile: above the noise of air, below dark tissue
SSIM_WINDOW = 7  # voxels along each axis: scikit-image's default
CLOSING_VOXELS = 2  # joins tissue across sulci before holes (CSF, ventricles) are filled


@dataclass(frozen=True)
class Scores:
    """Quality of an estimate; PSNR in dB."""

    psnr: float
    ssim: float
    psnr_foreground: float
    ssim_foreground: float


def foreground_mask(reference: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Voxels of the object: above 5 % of the 99.9th percentile, closed, holes filled.

    Parameters
    ----------
    reference : (I, J, K) array
        High-resolution volume with its background near zero.
    """
    lowest = reference.min()
    level = lowest + FOREGROUND_LEVEL * (np.percentile(reference, 99.9) - lowest)
    tissue = np.pad(reference > level, CLOSING_VOXELS)
    tissue = ndimage.binary_closing(tissue, iterations=CLOSING_VOXELS)
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(tissue)
    inner = (slice(CLOSING_VOXELS, -CLOSING_VOXELS),) * 3
    return filled[inner]


def unit_range(
    reference: NDArray[np.floating], estimate: NDArray[np.floating]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both volumes scaled so that the reference spans [0, 1]; the estimate clipped to it."""
    low, high = float(reference.min()), float(reference.max())
    if high == low:
        raise ValueError("the reference is constant")
    scaled = [((v - low) / (high - low)).astype(np.float32) for v in (reference, estimate)]
    return scaled[0], np.clip(scaled[1], 0, 1)


def psnr(
    reference: NDArray[np.floating],
    estimate: NDArray[np.floating],
    mask: NDArray[np.bool_] | None = None,
) -> float:
    """Peak signal-to-noise ratio in dB for a data range of 1, over the mask if there is one."""
    squared = np.square(np.subtract(reference, estimate, dtype=np.float64))
    error = squared.mean() if mask is None else squared[mask].mean()
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def score(
    reference: NDArray[np.floating],
    estimate: NDArray[np.floating],
    mask: NDArray[np.bool_] | None = None,
) -> Scores:
    """PSNR and SSIM (3D, uniform 7^3 window, data range 1), whole and in the foreground.

    Parameters
    ----------
    reference, estimate : (I, J, K) arrays
        On any common scale; both are mapped by :func:`unit_range`.
    mask : (I, J, K) bool array, optional
        Foreground; :func:`foreground_mask` of the reference by default.
    """
    mask = foreground_mask(reference) if mask is None else mask
    reference, estimate = unit_range(reference, estimate)
    whole, local = structural_similarity(  # type: ignore[no-untyped-call]
        reference, estimate, win_size=SSIM_WINDOW, data_range=1.0, full=True
    )
    return Scores(
        psnr=psnr(reference, estimate),
        ssim=float(whole),
        psnr_foreground=psnr(reference, estimate, mask),
        ssim_foreground=float(local[mask].mean()),
    )
