"""The channel statistics of ImageNet, which networks trained on it and two pre-training codes expect."""

from statistics import fmean

from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def imagenet_normalise(image: Tensor) -> Tensor:
    """`image` (B, 3, H, W) in [0, 1], shifted and scaled per channel so that ImageNet has mean 0 and deviation 1.

    Images with other channels take the means of the three.
    """
    return (image - of_channels(MEAN, image)) / of_channels(STD, image)


def imagenet_denormalise(image: Tensor) -> Tensor:
    """The inverse of `imagenet_normalise`."""
    return image * of_channels(STD, image) + of_channels(MEAN, image)


def of_channels(numbers: tuple[float, ...], image: Tensor) -> Tensor:
    """A number for each channel of an image (B, C, H, W), to be broadcast."""
    channels = image.shape[-3]
    return image.new_tensor(numbers if channels == 3 else [fmean(numbers)] * channels).view(channels, 1, 1)
