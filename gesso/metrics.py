"""PSNR and SSIM, defined as the papers that report them define them."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any, Literal

import numpy as np
from torch import Tensor

from gesso.functional.color import rgb_to_y

Channel = Literal["rgb", "y", "grey", "planes"]
ALL_OF: dict[int, Channel] = {1: "grey", 3: "rgb", 4: "planes"}  # what measures every channel of an image
SSIM = Literal["gaussian", "matlab3d", "skimage7", "uformer_compat"]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a benchmark measures: a function of (restored, gt) that gives PSNR and SSIM.

    Images are (3, H, W) or (B, 3, H, W) in [0, 1]; values outside are clamped.

    Attributes:
        channel: "rgb"; "y" for the luma of MATLAB's `rgb2ycbcr`; "grey" for images of one channel, "planes" of
            four, all together.
        round_y: luma rounded to 8 bits, as MATLAB does and published deraining numbers are; BasicSR does not round.
        border: pixels left out on every side; super-resolution leaves out as many as its scale.
        ssim: which definition of SSIM, see `ssim`.
        quantise: images are rounded to 8 bits first, as if read from the PNG files that papers measure.
        align: the restored image is first moved and brightened to lie on the ground truth, and what it then does not
            cover is left out (RealBlur, whose pairs two cameras took); SSIM is then always "gaussian".

    Example:
        >>> print(Protocol(channel="y"))
        PSNR and SSIM (Gaussian 11x11 window) on Y rounded to 8 bits, 8-bit images
    """

    channel: Channel = "rgb"
    round_y: bool = True
    border: int = 0
    ssim: SSIM = "gaussian"
    quantise: bool = True
    align: bool = False

    def __call__(self, restored: Tensor, gt: Tensor) -> dict[str, float]:
        """`{"psnr": dB, "ssim": at most 1}`; of a batch the means over its images, see `mean_psnr`."""
        pairs = self.prepare(restored, gt)
        if self.align:
            measured = [_aligned_scores(*pair) for pair in pairs]
            return {"psnr": mean_psnr(psnr for psnr, _ in measured), "ssim": fmean(ssim for _, ssim in measured)}
        similarity = _SSIM[self.ssim]
        return {"psnr": mean_psnr(_psnr(*pair) for pair in pairs), "ssim": fmean(similarity(*pair) for pair in pairs)}

    def prepare(self, restored: Tensor, gt: Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
        """What is compared, image by image: float64 (C, H, W) in 8-bit units, C = 1 for luma.

        Raises:
            ValueError: if shapes differ or are not of the channels that are measured, or if the border leaves nothing.
        """
        channels = {"grey": 1, "planes": 4}.get(self.channel, 3)
        if restored.shape != gt.shape or gt.ndim not in (3, 4) or gt.shape[-3] != channels:
            raise ValueError(
                f"expected restored and gt of one shape, ({channels}, height, width) or with a batch in front; "
                f"got {tuple(restored.shape)} and {tuple(gt.shape)}"
            )
        height, width = gt.shape[-2:]
        if self.border < 0 or 2 * self.border >= min(height, width):
            raise ValueError(f"border: {self.border} pixels on every side leave nothing of a {width}x{height} image")
        return list(zip(self._comparable(restored), self._comparable(gt), strict=True))

    def _comparable(self, image: Tensor) -> np.ndarray:
        """`image` as float64 (B, C, H, W) in 8-bit units: cropped, clamped, rounded, converted to luma as asked."""
        height, width = image.shape[-2:]
        image = image.detach().cpu().double().reshape(-1, image.shape[-3], height, width)
        image = 255 * image[..., self.border : height - self.border, self.border : width - self.border].clamp(0, 1)
        if self.quantise:
            image = image.round()
        if self.channel == "y":
            image = 255 * rgb_to_y(image / 255)
            if self.round_y:
                image = (image + 0.5).floor()  # MATLAB rounds halves up
        return image.numpy()

    def __str__(self) -> str:
        channel = {"rgb": "RGB", "grey": "grey", "planes": "all four channels"}.get(self.channel, "Y, not rounded")
        if self.channel == "y" and self.round_y:
            channel = "Y rounded to 8 bits"
        border = f", without {self.border} pixels at each border" if self.border else ""
        images = "8-bit images" if self.quantise else "images not rounded to 8 bits"
        aligned = ", aligned to the ground truth" if self.align else ""
        return f"PSNR and SSIM ({SSIM_WORDS[self.ssim]}) on {channel}, {images}{border}{aligned}"


def psnr(restored: Tensor, gt: Tensor, **protocol: Any) -> float:
    """Peak signal-to-noise ratio in dB of images (3, H, W) or (B, 3, H, W) in [0, 1]; infinite for equal images.

    10 log10(255^2 / MSE) over all pixels and channels of an image together; of a batch the mean, in which equal images
    do not count unless all of them are (`mean_psnr`). NaN where an image is not finite. Options are those of
    `Protocol`: `channel`, `round_y`, `border`, `quantise`.

    Example:
        >>> import torch
        >>> round(psnr(torch.zeros(3, 8, 8), torch.full((3, 8, 8), 0.1)), 2)
        19.83
    """
    return mean_psnr(_psnr(*pair) for pair in Protocol(**protocol).prepare(restored, gt))


def ssim(restored: Tensor, gt: Tensor, variant: SSIM = "gaussian", **protocol: Any) -> float:
    """Structural similarity, at most 1, of images (3, H, W) or (B, 3, H, W) in [0, 1]; the mean over the batch.

    Published numbers disagree about the window, so `variant` names it. Other options are those of `Protocol`.

    - "gaussian": 11x11, sigma 1.5, where it fits wholly inside; mean over channels (Wang et al. 2004; BasicSR).
    - "matlab3d": MATLAB's `ssim` of an H x W x 3 array: 11x11x11 Gaussian, edges replicated (Restormer, deblurring).
    - "skimage7": 7x7 uniform window, sample covariance: the default of scikit-image (Restormer, defocus deblurring).
    - "uformer_compat": the same with twice the data range, which inflates it; only to compare with Uformer's numbers,
      together with `quantise=False`.
    """
    return fmean(_SSIM[variant](*pair) for pair in Protocol(ssim=variant, **protocol).prepare(restored, gt))


def mean_psnr(values: Iterable[float]) -> float:
    """The mean of PSNRs in dB, in which images identical to their ground truth (infinite) do not count.

    One of them would make every mean infinite. Infinite where all are; NaN where one is, for that image is broken.
    `identical` says how many there are, which is to be said beside the mean.

    Example:
        >>> mean_psnr([30.0, math.inf, 32.0]), mean_psnr([math.inf])
        (31.0, inf)
    """
    values = list(values)
    counted = [value for value in values if value != math.inf]
    return fmean(counted) if counted else fmean(values)


def identical(values: Sequence[float]) -> int:
    """How many of these PSNRs are infinite: of images that are their ground truth, pixel for pixel."""
    return sum(value == math.inf for value in values)


def beside(values: Sequence[float]) -> str:
    """What is said beside the mean of these PSNRs: ` (1 of 3 identical)`; nothing where none is.

    Example:
        >>> beside([30.0, math.inf, 32.0]), beside([30.0])
        (' (1 of 3 identical)', '')
    """
    count = identical(values)
    return f" ({count} of {len(values)} identical)" if count else ""


def _psnr(restored: np.ndarray, gt: np.ndarray) -> float:
    return _decibels(float(np.mean((restored - gt) ** 2)))


def _decibels(error: float) -> float:
    """The PSNR of a mean squared error in 8-bit units; infinite for none, NaN for one that is no number."""
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def _similarities(
    restored: np.ndarray, gt: np.ndarray, window: int, data_range: float, *, gaussian: bool
) -> np.ndarray:
    """SSIM at every pixel of every channel (C, H, W), as scikit-image computes it, to the bit.

    Args:
        restored: image (C, H, W).
        gt: ground truth (C, H, W).
        window: side of the window in pixels.
        data_range: largest difference of two pixels.
        gaussian: weights of sigma 1.5 and the covariance of a population; otherwise uniform ones and that of a sample.

    Raises:
        ValueError: if an image is smaller than the window.
    """
    from scipy.ndimage import gaussian_filter, uniform_filter

    height, width = gt.shape[-2:]
    if min(height, width) < window:
        raise ValueError(f"SSIM needs images of at least {window}x{window} pixels, got {width}x{height}")

    def mean(image: np.ndarray) -> np.ndarray:
        if gaussian:
            return np.stack([gaussian_filter(channel, 1.5, mode="reflect", radius=window // 2) for channel in image])
        return np.stack([uniform_filter(channel, window) for channel in image])

    norm = 1.0 if gaussian else window**2 / (window**2 - 1)
    mean_x, mean_y = mean(restored), mean(gt)
    var_x = norm * (mean(restored * restored) - mean_x * mean_x)
    var_y = norm * (mean(gt * gt) - mean_y * mean_y)
    covariance = norm * (mean(restored * gt) - mean_x * mean_y)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return numerator / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))


def _mean_similarity(restored: np.ndarray, gt: np.ndarray, window: int, data_range: float, *, gaussian: bool) -> float:
    """The mean over channels of the mean SSIM where the window fits wholly inside."""
    inside = slice(window // 2, -(window // 2))
    similarities = _similarities(restored, gt, window, data_range, gaussian=gaussian)
    return float(np.mean([channel[inside, inside].mean() for channel in similarities]))


def _ssim_gaussian(restored: np.ndarray, gt: np.ndarray) -> float:
    return _mean_similarity(restored, gt, 11, 255, gaussian=True)


def _aligned(restored: np.ndarray, gt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The restored image (C, H, W) where it matches the ground truth best, and the pixels (H, W) that it covers there.

    Brightened by the one factor that fits best, then moved by the homography that OpenCV finds from grey images at the
    highest correlation (ECC, 100 steps, smoothed by 5 x 5): what RealBlur's authors do (Rim et al., ECCV 2020).
    """
    import cv2

    height, width = gt.shape[-2:]
    restored = restored * ((restored * gt).sum() / max((restored**2).sum(), 1e-12))
    layers = [np.ascontiguousarray(image.transpose(1, 2, 0), np.float32) for image in (gt, restored)]
    grey = [cv2.cvtColor(image[..., :3], cv2.COLOR_RGB2GRAY) if len(gt) > 1 else image for image in layers]
    steps = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 0)
    warp = np.eye(3, dtype=np.float32)
    try:
        _, warp = cv2.findTransformECC(*grey, warp, cv2.MOTION_HOMOGRAPHY, steps, None, 5)  # pyright: ignore
    except cv2.error:
        raise ValueError(
            "the restored image cannot be aligned to the ground truth: alignment (ECC) did not converge"
        ) from None

    def move(image: np.ndarray, how: int, border: int) -> np.ndarray:
        return cv2.warpPerspective(
            image, warp, (width, height), flags=how | cv2.WARP_INVERSE_MAP, borderMode=border
        ).astype(float)

    covered = move(np.ones((height, width), np.float32), cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
    moved = move(layers[1], cv2.INTER_CUBIC, cv2.BORDER_REFLECT)
    return np.atleast_3d(moved).transpose(2, 0, 1) * covered, covered


def _aligned_scores(restored: np.ndarray, gt: np.ndarray) -> tuple[float, float]:
    """PSNR and SSIM of a restored image over the pixels that it covers once it lies on the ground truth."""
    moved, covered = _aligned(restored, gt)
    gt = gt * covered
    error = float(((moved - gt) ** 2).sum() / (len(gt) * covered.sum()))
    similarity = _similarities(moved, gt, 11, 255, gaussian=True)
    inside = (slice(5, -5), slice(5, -5))  # where the window of 11 x 11 lies wholly inside
    ssim = float((similarity * covered)[:, *inside].sum() / (len(gt) * covered[inside].sum()))
    return _decibels(error), ssim


def _ssim_skimage7(restored: np.ndarray, gt: np.ndarray) -> float:
    return _mean_similarity(restored, gt, 7, 255, gaussian=False)


def _ssim_uformer_compat(restored: np.ndarray, gt: np.ndarray) -> float:
    # Left to itself on floats, scikit-image assumed the range [-1, 1] for images in [0, 1].
    return _mean_similarity(restored, gt, 7, 510, gaussian=False)


def _ssim_matlab3d(restored: np.ndarray, gt: np.ndarray) -> float:
    from scipy.ndimage import gaussian_filter

    def blur(volume: np.ndarray) -> np.ndarray:
        return gaussian_filter(volume, 1.5, mode="nearest", radius=5)

    mean, mean_gt = blur(restored), blur(gt)
    variances = blur(restored**2) - mean**2 + blur(gt**2) - mean_gt**2
    covariance = blur(restored * gt) - mean * mean_gt
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean * mean_gt + c1) * (2 * covariance + c2)
    return float(np.mean(similarity / ((mean**2 + mean_gt**2 + c1) * (variances + c2))))


_SSIM: dict[SSIM, Callable[[np.ndarray, np.ndarray], float]] = {
    "gaussian": _ssim_gaussian,
    "matlab3d": _ssim_matlab3d,
    "skimage7": _ssim_skimage7,
    "uformer_compat": _ssim_uformer_compat,
}
SSIM_WORDS: dict[SSIM, str] = {
    "gaussian": "Gaussian 11x11 window",
    "matlab3d": "MATLAB ssim of a volume",
    "skimage7": "uniform 7x7 window",
    "uformer_compat": "uniform 7x7 window, doubled range",
}
