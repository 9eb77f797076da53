"""SNR-Net: the released names and sizes, its formulas, and any size."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gesso.backbones import create_backbone
from gesso.backbones.snr_net import SNRNet
from gesso.functional.snr import snr_map, snr_peak
from gesso.refiner import Prior, Refined
from gesso.restorer import Restorer
from tests._golden import manifest
from tests._networks import photo_like


def tiny(**options):
    torch.manual_seed(0)
    return create_backbone("snr_net_tiny", **options).eval()


def test_has_the_names_and_sizes_of_the_released_network():
    expected = {key: shape for key, (shape, *_) in manifest("SNR_PTG").items() if not key.startswith("refinement11.")}
    with torch.device("meta"):
        net = create_backbone("snr_net")
    assert {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()} == expected


class Embedding(torch.nn.Module):
    """As long as CLIP's."""

    def forward(self, image):
        return image.mean((1, 2, 3))[:, None].expand(-1, 512)


def test_behind_it_the_refiner_gives_the_released_file():
    net = Refined.around(create_backbone("snr_net"), Prior(Embedding(), "mean"))
    expected = {key: shape for key, (shape, *_) in manifest("SNR_PTG").items()}
    assert {key: tuple(tensor.shape) for key, tensor in net.to_official().items()} == expected
    assert sum(parameter.numel() for parameter in net.parameters()) == 39_795_834


def test_recognise_deduces_every_option():
    depths = {"front_RBs": 2, "back_RBs": 3, "light_RBs": 1, "n_layers": 2}
    net = SNRNet(4, 2, nf=4, **depths, n_head=3, d_inner=10, image_residual=False)
    assert SNRNet.recognise(net.to_official()) == net.options


def test_the_map_is_that_of_the_paper():
    import cv2

    image = photo_like(3, 21, 30).double()
    grey = (0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]).numpy()
    signal = cv2.blur(grey, (5, 5))
    ratio = signal / (np.abs(grey - signal) + 1e-4)
    expected = np.clip(ratio / (ratio.max() + 1e-4), 0, 1)
    assert np.abs(snr_map(image[None])[0, 0].numpy() - expected).max() < 1e-9
    part = image[None, :, 4:20, 4:20]
    whole = snr_map(image[None])
    torch.testing.assert_close(snr_map(part, snr_peak(image[None]))[..., 2:-2, 2:-2], whole[..., 6:18, 6:18])


def plain_attention(layer, tokens, visible):
    """Softmax of what is masked by -1e9, written out."""
    normed = F.layer_norm(tokens, tokens.shape[-1:], layer.layer_norm.weight, layer.layer_norm.bias, 1e-6)
    heads = layer.w_qs.out_features // 64
    q, k, v = (
        (normed @ part.weight.T).reshape(*tokens.shape[:2], heads, 64).transpose(1, 2)
        for part in (layer.w_qs, layer.w_ks, layer.w_vs)
    )
    logits = (q / 8) @ k.mT
    logits = logits.masked_fill(~visible[:, None, None, :], -1e9)
    return tokens + (logits.softmax(-1) @ v).transpose(1, 2).flatten(2) @ layer.fc.weight.T


def test_no_patch_without_signal_is_looked_at_and_without_any_all_count_alike():
    layer = create_backbone("snr_net_tiny", n_head=2).transformer.layer_stack[0].slf_attn
    torch.manual_seed(1)
    tokens = torch.randn(3, 5, 128)
    visible = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    torch.testing.assert_close(layer(tokens, visible), plain_attention(layer, tokens, visible))
    changed = tokens.clone()
    changed[:, 1] += 1
    others = [0, 2, 3, 4]
    assert torch.equal(layer(changed, visible)[0, others], layer(tokens, visible)[0, others])


def test_branches_are_mixed_by_the_map():
    net = tiny()
    image = photo_like(3, 32, 48)[None] / 4
    feature = torch.rand(1, 8, 8, 12)
    signal = snr_map(image)[:, :, ::4, ::4]
    visible_mean = F.avg_pool2d(signal, 4)
    assert 0 < (visible_mean > 0.5).float().mean() < 1 or signal.std() > 0
    expected = net.transformer(feature, signal) * (1 - signal) + net.recon_trunk_light(feature) * signal
    torch.testing.assert_close(net.fuse(feature, image), expected)


def test_tiles_are_judged_by_the_whole_image():
    net, image = tiny(), photo_like(3, 64, 96)
    image[:, :8, :8] = 0.9  # no noise here: the largest ratio of all
    seen = []
    features = net.features
    net.features = lambda part: seen.append(net.peak.item()) or features(part)
    Restorer(net, tile=32, device="cpu", precision="float32")(image)
    assert len(seen) > 0
    assert set(seen) == {snr_peak(image[None]).item()}
    assert net.peak is None


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (21, 30)])
def test_any_size(size):
    image = torch.rand(1, 3, *size)
    assert tiny()(image).shape == image.shape


def test_tiny_is_small():
    assert 0.1e6 < sum(parameter.numel() for parameter in tiny().parameters()) < 1e6
