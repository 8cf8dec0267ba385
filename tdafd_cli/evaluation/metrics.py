"""PSNR and SSIM of whole volumes and of their foreground, as the benchmark protocol fixes them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from tdafd_cli.volumes.foreground import foreground_mask

SSIM_WINDOW = 7  # voxels along each axis: scikit-image's default


@dataclass(frozen=True)
class Scores:
    """Quality of an estimate; PSNR in dB."""

    psnr: float
    ssim: float
    psnr_foreground: float
    ssim_foreground: float


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
