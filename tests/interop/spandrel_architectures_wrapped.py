"""What `gesso.wrap` makes of spandrel's architectures: a table, and exit code 1 where one is wrapped wrongly.

Each is built small and with random weights; nothing is downloaded. Where it is wrapped, the backbone has to compute
what the module does, on images of other sizes than those on which its seam was found; where it is refused, the reason
is shown. spandrel needs an environment of its own, see `spandrel_opens_exports.py`:

    PYTHONPATH=. /tmp/interop/bin/python tests/interop/spandrel_architectures_wrapped.py
"""

import copy
import importlib
import importlib.util
import io
import sys
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import nn

from gesso.backbones.external import SAYS, UnfitModuleError, wrap
from tests.interop.spandrel_opens_exports import stand_in_for_torchvision

TOLERANCE = 1e-4
MAIN, EXTRA = "spandrel.architectures", "spandrel_extra_arches.architectures"
SWIN: dict[str, Any] = {"depths": (2, 2), "num_heads": (2, 2), "embed_dim": 16, "window_size": 8}

SMALL: dict[str, tuple[str, dict[str, Any]]] = {  # class: the package it comes from, options
    "ATD": (MAIN, {"depths": (2, 2), "num_heads": (2, 2), "embed_dim": 16, "upscale": 2, "upsampler": "pixelshuffle"}),
    "CRAFT": (MAIN, {"embed_dim": 24, "depths": [2], "num_heads": [6], "upscale": 2}),
    "Compact": (MAIN, {"num_feat": 16, "num_conv": 4, "upscale": 2}),
    "DAT": (MAIN, {"embed_dim": 16, "depth": [2], "num_heads": [2], "split_size": [8, 8]}),
    "DCTLSA": (MAIN, {"upscale": 2}),
    "DITN": (MAIN, {"dim": 16, "ITL_blocks": 1, "SAL_blocks": 1, "upscale": 2}),
    "DRCT": (MAIN, SWIN | {"upscale": 2, "upsampler": "pixelshuffle", "gc": 8}),
    "DRUNet": (MAIN, {"in_nc": 3, "out_nc": 3, "nc": [8, 16, 32, 64], "nb": 1}),
    "DnCNN": (MAIN, {"in_nc": 3, "out_nc": 3, "nc": 16, "nb": 5}),
    "ESRGAN": (MAIN, {"num_filters": 16, "num_blocks": 1, "scale": 2}),
    "FBCNN": (MAIN, {"nb": 1}),
    "FDAT": (MAIN, {"embed_dim": 16, "num_groups": 1, "depth_per_group": 2, "num_heads": 2, "scale": 2, "mid_dim": 16}),
    "FFTformer": (MAIN, {"dim": 16, "num_blocks": [1, 1, 1], "num_refinement_blocks": 1}),
    "HAT": (MAIN, SWIN | {"upscale": 2, "upsampler": "pixelshuffle", "window_size": 16, "squeeze_factor": 4}),
    "HVICIDNet": (MAIN, {"channels": [8, 8, 16, 32]}),
    "IPT": (MAIN, {"n_feats": 16, "num_layers": 1}),
    "KBNet_l": (MAIN, {"num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1}),
    "KBNet_s": (MAIN, {"width": 16, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]}),
    "LaMa": (MAIN, {}),
    "MMRealSR": (MAIN, {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_block": 1}),
    "MixDehazeNet": (MAIN, {"embed_dims": [8, 16, 32, 16, 8]}),
    "MoESR": (MAIN, {"dim": 16, "n_blocks": 1, "n_block": 1, "upsample_dim": 16, "scale": 2}),
    "MoSR": (MAIN, {"n_block": 2, "dim": 16, "upscale": 2}),
    "NAFNet": (MAIN, {"enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]}),
    "OmniSR": (MAIN, {"num_feat": 16, "up_scale": 2}),
    "PLKSR": (MAIN, {"dim": 16, "n_blocks": 2, "upscaling_factor": 2}),
    "RealPLKSR": (MAIN, {"dim": 16, "n_blocks": 2, "upscaling_factor": 2}),
    "RCAN": (MAIN, {"scale": 2, "n_resgroups": 1, "n_resblocks": 1, "n_feats": 16, "reduction": 4}),
    "RGT": (MAIN, {"embed_dim": 16, "depth": [2], "num_heads": [2]}),
    "UpCunet2x": (MAIN, {}),
    "UpCunet4x": (MAIN, {}),
    "RetinexFormer": (MAIN, {"n_feat": 16, "stage": 1}),
    "SAFMN": (MAIN, {"dim": 16, "n_blocks": 2, "upscaling_factor": 2}),
    "SAFMNBCIE": (MAIN, {"dim": 16, "n_blocks": 1, "num_layers": 1}),
    "SCUNet": (MAIN, {"config": [1, 1, 1, 1, 1, 1, 1]}),
    "SPAN": (MAIN, {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 16, "upscale": 2}),
    "SwiftSRGAN": (MAIN, {"num_channels": 16, "num_blocks": 1, "upscale_factor": 2}),
    "Swin2SR": (MAIN, SWIN | {"upscale": 2, "upsampler": "pixelshuffle"}),
    "SwinIR": (MAIN, SWIN),
    "Uformer": (MAIN, {"img_size": 128, "embed_dim": 8, "depths": [1] * 9}),
    "FeMaSR": (EXTRA, {"codebook_params": [[32, 16, 32]]}),
    "M3SNet": (EXTRA, {"width": 16, "enc_blk_nums": [1, 1, 1, 1]}),
    "MIRNet2": (EXTRA, {"n_feat": 16, "n_MRB": 1}),
    "MPRNet": (EXTRA, {"n_feat": 16, "scale_unetfeats": 8, "scale_orsnetfeats": 8, "num_cab": 2}),
    "Restormer": (EXTRA, {"dim": 16, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1}),
    "SRFormer": (EXTRA, SWIN | {"upscale": 2, "upsampler": "pixelshuffledirect"}),
}
FOLDERS = {  # packages that are not called like the class
    "KBNet_l": "KBNet", "KBNet_s": "KBNet", "RealPLKSR": "PLKSR", "UpCunet2x": "RealCUGAN", "UpCunet4x": "RealCUGAN",
}  # fmt: skip


def build(name: str) -> nn.Module:
    """The architecture, small, with random weights; zeros would hide what they multiply."""
    package, options = SMALL[name]
    torch.manual_seed(0)
    kind = getattr(importlib.import_module(f"{package}.{FOLDERS.get(name, name)}"), name)
    with redirect_stdout(io.StringIO()):
        module = kind(**copy.deepcopy(options)).eval()
    for parameter in module.parameters():
        if parameter.requires_grad and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return module


def deviation(module: nn.Module) -> tuple[str, float]:
    """What was found, and the largest difference of backbone and module on other images, by the largest output."""
    net = wrap(module).eval()
    side, worst = net.size_multiple, 0.0
    for height, width in ((max(96 // side, 1), max(64 // side, 1)), (max(48 // side, 1), max(80 // side, 1))):
        height = width if net.seam.square else height
        image = torch.rand(1, net.in_channels, height * side, width * side)
        with torch.inference_mode():
            ours, theirs = net(image), module(image)
        worst = max(worst, float((ours - theirs).abs().max() / theirs.abs().max()))
    return net.report.partition(": ")[2], worst


def main() -> int:
    if importlib.util.find_spec("torchvision") is None:
        stand_in_for_torchvision()
    wrapped = refused = wrong = 0
    for name in SMALL if len(sys.argv) == 1 else sys.argv[1:]:
        try:
            module = build(name)
        except Exception as error:  # the table shall be whole
            sys.stdout.write(f"{name:<14} NOT BUILT: {type(error).__name__}: {str(error)[:120]}\n")
            wrong += 1
            continue
        try:
            found, worst = deviation(module)
            verdict = "wrapped" if worst < TOLERANCE else "WRONG"
            wrapped, wrong = wrapped + (worst < TOLERANCE), wrong + (worst >= TOLERANCE)
            sys.stdout.write(f"{name:<14} {verdict} ({worst:.0e}): {found}\n")
        except UnfitModuleError as error:
            refused += 1
            sys.stdout.write(f"{name:<14} refused: {str(error).partition(SAYS)[2][:200] or error}\n")
        except Exception as error:  # whatever a foreign module says to an image that it does not take
            wrong += 1
            sys.stdout.write(f"{name:<14} FAILS: {type(error).__name__}: {str(error)[:120]}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{wrapped} wrapped, {refused} refused, {wrong} wrong\n")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
