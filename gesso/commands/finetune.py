"""Train a network on pairs of a restoration task, from random weights or from a pre-trained file."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from gesso._specs import AugmentSpec, FeatureLossSpec, FilePath, LossSpec, Transfer
from gesso._values import UNNAMED, BelowOne, IfUnnamed, NonNegativeFloat, NonNegativeInt, PositiveFloat, Share
from gesso.options import as_function, options
from gesso.options._fields import Place
from gesso.options.network import Network
from gesso.options.run import SupervisedRun


@options
class Finetune(SupervisedRun, Network):
    """Writes `backbone.safetensors` (the end) and `best.safetensors` (best on validation); returns the former's path.

    Two transfers (docs/checkpoints.md). "network": the plain published network with its image residual; only the last
    convolution is new, and it starts at zero where there is a residual, so that training starts from the identity.
    "paper": what IFP and DegAE do; the 64-channel output convolution is kept, a new 3x3 convolution 64 -> 3 follows it,
    and there is no image residual.

    Raises:
        ValueError: for unknown names and options, values out of range, data that cannot be trained on, a file that does
            not fit the network, or a folder that already contains another run.
    """

    title: ClassVar[str] = "start and loss"
    former: ClassVar[Mapping[str, str]] = {**SupervisedRun.former, "mixup": "augment"}
    former_values: ClassVar[Mapping[str, Mapping[Any, Any]]] = {"mixup": {True: "mixup", False: None}}
    example: ClassVar[str] = "gesso finetune --task derain --data PAIRS --init primed --out runs/rain"

    init: Annotated[Place[FilePath], IfUnnamed("random")] = UNNAMED
    """"random"; a file to start from, of gesso or of the authors; "primed": the network for the task that comes with
    the package (`gesso list primed`; or "primed:TASK"), which is trained where no `backbone` is named, and with which a
    small run begins where there is one; or "mimetic": random weights in the shape of trained ones."""

    transfer: Transfer = "network"
    """"network" or "paper", see above."""

    keep_last: bool | None = None
    """take the last convolution from `init` too, to go on with a network that restores already; none: where its file
    says that it restores this task."""

    shrink: Share = 1.0
    """share of the weights of `init` in those that training starts from, in (0, 1]; the rest is random weights (shrink
    and perturb: Ash & Adams, "On warm-starting neural network training", NeurIPS 2020, section 4)."""

    rescale: bool = False
    """give each matrix and kernel of `init` the norm of the random one that it replaces."""

    features_lr: PositiveFloat = 1.0
    """factor of the learning rate for what comes from `init`."""

    freeze_features: bool = False
    """train only what follows the features (linear probing)."""

    critic: FeatureLossSpec | None = None
    """DCPT's `classifier.safetensors`, for DC-guided training: a network of one degradation learns another; or
    module:Class of your own loss on the features, with its options {name: module:Class, ...}."""

    critic_target: NonNegativeInt | None = None
    """class, counted from 0, as which the critic is to take the features; none: of the five, the degradation that the
    task undoes."""

    critic_weight: NonNegativeFloat = 1.0
    """factor of the critic's loss."""

    loss: LossSpec | None = None
    """"l1", "charbonnier", "charbonnier_sum", "mse", "psnr" or "ssim" (and l1); with the distance of VGG-19 features
    added, {name: charbonnier_sum, vgg: FILE, vgg_weight: 0.1}; none: that of the task."""

    augment: AugmentSpec | None = None
    """what is done to batches beside flips and rotations: "mixup" (Restormer's, Beta(1.2, 1.2) with probability 1/2),
    "cutmix", "cutblur", or module:function of your own, (lq, gt, generator) -> (lq, gt)."""

    rehearse: Annotated[BelowOne, IfUnnamed(0.0)] = UNNAMED
    """share of procedural images, degraded as the task says, among the training samples, so that a network that was
    pre-trained on such does not forget; in [0, 1). They are the `--images` of its pre-training, else leaves."""

    weight_decay: NonNegativeFloat = 1e-4


finetune = as_function(Finetune)
