"""What more than one network is built of."""

from torch import nn

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # RGB, which SwinIR and IPT take off their input


def pixel_shuffles(channels: int, scale: int) -> nn.Sequential:
    """Enlargement of a map by 3, or by a power of 2 in steps of 2, each a convolution and a pixel shuffle."""
    steps = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
    layers = [(nn.Conv2d(channels, channels * step**2, 3, padding=1), nn.PixelShuffle(step)) for step in steps]
    return nn.Sequential(*(layer for pair in layers for layer in pair))
