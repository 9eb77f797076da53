"""The channel statistics of ImageNet, which networks trained on it and two pre-training codes expect."""

from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def imagenet_normalise(image: Tensor) -> Tensor:
    """`image` (B, 3, H, W) in [0, 1], shifted and scaled per channel so that ImageNet has mean 0 and deviation 1."""
    return (image - image.new_tensor(MEAN).view(3, 1, 1)) / image.new_tensor(STD).view(3, 1, 1)


def imagenet_denormalise(image: Tensor) -> Tensor:
    """The inverse of `imagenet_normalise`."""
    return image * image.new_tensor(STD).view(3, 1, 1) + image.new_tensor(MEAN).view(3, 1, 1)
