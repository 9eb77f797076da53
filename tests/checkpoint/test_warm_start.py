"""Pre-trained weights nearer to random ones, and what starts from them."""

import pytest
import torch

import gesso
from gesso.backbones import create_backbone
from gesso.checkpoint import shrink_and_perturb
from gesso.commands._finetune import start


def nafnet(seed):
    torch.manual_seed(seed)
    return create_backbone("nafnet_tiny", width=8)


@pytest.fixture(scope="module")
def primed(tmp_path_factory):
    """A file of weights three times as large as random ones, its factors beta and gamma no longer zero."""
    net = nafnet(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3).add_(0.01)
    path = tmp_path_factory.mktemp("primed") / "backbone.safetensors"
    gesso.save(net, path)
    return path


def test_half_of_each_weight_is_random(primed):
    fresh, loaded = nafnet(0).state_dict(), gesso.load(primed).state_dict()
    mixed = start(nafnet(0), str(primed), "network", shrink=0.5)
    body = [name for name in fresh if not mixed.is_head(name)]
    assert body
    for name in body:
        torch.testing.assert_close(mixed.state_dict()[name], (fresh[name] + loaded[name]) / 2)


def test_kernels_get_the_norms_of_random_ones_and_factors_stay(primed):
    fresh, loaded = nafnet(0).state_dict(), gesso.load(primed).state_dict()
    rescaled = start(nafnet(0), str(primed), "network", rescale=True).state_dict()
    kernel, beta = "encoders.0.0.conv1.weight", "encoders.0.0.beta"
    assert rescaled[kernel].norm() == pytest.approx(float(fresh[kernel].norm()), rel=1e-5)
    cosine = torch.nn.functional.cosine_similarity(rescaled[kernel].flatten(), loaded[kernel].flatten(), dim=0)
    assert cosine == pytest.approx(1.0)
    assert torch.equal(rescaled["encoders.0.0.conv1.bias"], loaded["encoders.0.0.conv1.bias"])
    assert loaded[beta].any()
    assert torch.equal(rescaled[beta], loaded[beta])  # zero in random weights: a norm of zero would silence the block


def test_as_loaded_when_nothing_is_asked(primed):
    fresh, loaded = nafnet(0), gesso.load(primed)
    shrink_and_perturb(loaded, dict(fresh.named_parameters()), [name for name, _ in loaded.named_parameters()])
    again = gesso.load(primed).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in loaded.state_dict().items())


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5])
def test_a_share_out_of_range_is_refused(primed, share):
    with pytest.raises(ValueError, match=r"shrink: expected a share .* in \(0, 1\]"):
        start(nafnet(0), str(primed), "network", shrink=share)


@pytest.mark.parametrize("keep_last", [True, False])
def test_the_last_convolution_is_kept_or_zero(primed, keep_last):
    last = start(nafnet(0), str(primed), "network", keep_last=keep_last).state_dict()["ending.weight"]
    assert torch.equal(last, gesso.load(primed).state_dict()["ending.weight"] if keep_last else torch.zeros_like(last))


def test_a_last_convolution_that_the_file_has_not_is_zero_though_it_shall_be_kept(tmp_path):
    gesso.save(
        create_backbone("nafnet_tiny", width=8, out_channels=64, image_residual=False), tmp_path / "ifp.safetensors"
    )
    last = start(nafnet(0), str(tmp_path / "ifp.safetensors"), "network", keep_last=True).state_dict()["ending.weight"]
    assert not last.any()
