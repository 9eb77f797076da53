"""DegAE's degradation representor: what was done to an image, as a vector."""

from torch import Tensor, nn
from torch.nn import functional as F

from gesso.pretext._decoders import SLOPE, ResidualBlock, conv3x3


class DegradationRepresentor(nn.Module):
    """Embedding (B, 8 * width) of the degradation of an image (B, 3, H, W), sides at least 22 pixels.

    Features of a super-resolver, which tell degradations apart better than contents (DegAE, section 3.2), then three
    strided convolutions, a mean over space, and three linear layers. Published: width 64, 16 blocks, 5,058,947
    parameters of which the head's 3,541,376 are trained. Names of submodules are those of the official class.
    """

    def __init__(self, width: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.DDR_extractor = SuperResolver(width, blocks)
        self.conv1 = nn.Conv2d(width, 2 * width, 4, stride=2)
        self.conv2 = nn.Conv2d(2 * width, 4 * width, 4, stride=2)
        self.conv3 = nn.Conv2d(4 * width, 8 * width, 4, stride=2)
        self.conv1x1_1 = nn.Conv2d(8 * width, 8 * width, 1)
        self.conv1x1_2 = nn.Conv2d(8 * width, 8 * width, 1)
        self.conv1x1_3 = nn.Conv2d(8 * width, 8 * width, 1)

    def forward(self, image: Tensor) -> Tensor:
        """The embedding (B, 8 * width)."""
        feature = self.DDR_extractor(image)
        for conv in (self.conv1, self.conv2, self.conv3):
            feature = F.leaky_relu(conv(feature), SLOPE)
        feature = feature.mean((-2, -1), keepdim=True)
        for conv in (self.conv1x1_1, self.conv1x1_2):
            feature = F.leaky_relu(conv(feature), SLOPE)
        return self.conv1x1_3(feature).flatten(1)


class SuperResolver(nn.Module):
    """The features (B, width, H, W) that an SRResNet x4 has after its last residual block.

    Its upsampling layers are kept so that the authors' file of an SRGAN loads as it is; they take no part.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.conv_first = conv3x3(3, width)
        self.recon_trunk1 = trunk(width, blocks // 4)
        self.recon_trunk2 = trunk(width, blocks // 4)
        self.recon_trunk3 = trunk(width, blocks // 4)
        self.recon_trunk4 = trunk(width, blocks // 4)
        unused = (conv3x3(width, 4 * width), conv3x3(width, 4 * width), conv3x3(width, width), conv3x3(width, 3))
        self.upconv1, self.upconv2, self.HRconv, self.conv_last = (layer.requires_grad_(False) for layer in unused)

    def forward(self, image: Tensor) -> Tensor:
        """The features."""
        feature = F.leaky_relu(self.conv_first(image), SLOPE)
        for blocks in (self.recon_trunk1, self.recon_trunk2, self.recon_trunk3, self.recon_trunk4):
            feature = blocks(feature)
        return feature


def trunk(width: int, blocks: int) -> nn.Sequential:
    """Residual blocks in a row."""
    return nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
