"""Every published configuration: recognised from names and shapes alone, and given back as it came."""

import pytest
import torch
from lightning.pytorch import LightningModule

from gesso.backbones import create_backbone, list_backbones
from gesso.checkpoint import CheckpointError, export, load, save
from gesso.checkpoint.files import find_states
from gesso.checkpoint.loading import Fit, _claims
from tests._golden import check_manifest, manifest, manifest_names

NO_BACKBONES = ("DCPT_DC_", "DCPT_DC10", "PTG_RM", "SNR_PTG")  # classifiers and refiners
CANNOT_RUN = "PromptIR_decoder_False"  # the official class without prompts fails in its first forward
PUBLISHED = [name for name in manifest_names() if not name.startswith(NO_BACKBONES) and name != CANNOT_RUN]
TINY = [name for name in list_backbones() if name.endswith("_tiny")]


def published(name, **options):
    """The state of a published configuration, names and shapes alone or zeros."""
    return {key: torch.zeros(shape, dtype=dtype, **options) for key, (shape, dtype, _) in manifest(name).items()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_is_recognised_and_given_back(name):
    state = published(name, device="meta")
    claims = list(_claims(state))
    assert len(claims) == 1, f"claimed by {claims}"
    network, options = claims[0]
    with torch.device("meta"):
        net = network(**options)
    assert not Fit.of(net, network.from_official(state)).misfits
    check_manifest(net.to_official(), name)


def test_a_file_of_a_network_that_cannot_run_is_refused(tmp_path):
    torch.save(published(CANNOT_RUN), tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="chnl_reduce1"):
        load(tmp_path / "net.pth")


def untold(net):
    """Options of a network that its tensors do not tell."""
    ((_, options),) = _claims(net.to_official())
    return {key: value for key, value in net.options.items() if key not in options}


@pytest.mark.parametrize("name", TINY)
def test_official_to_gesso_to_official_is_bit_equal(tmp_path, name):
    torch.manual_seed(0)
    net = create_backbone(name)
    torch.save(net.official_file(), tmp_path / "official.pth")
    save(load(tmp_path / "official.pth", **untold(net)), tmp_path / "ours.safetensors")
    export(tmp_path / "ours.safetensors", tmp_path / "again.pth", "official")
    files = [tmp_path / "official.pth", tmp_path / "again.pth"]
    before, after = (torch.load(file, weights_only=True) for file in files)
    assert list(before) == list(after)
    before, after = (
        next(iter(find_states(content, file).values())) for content, file in zip((before, after), files, strict=True)
    )
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_each_official_file_has_the_form_that_its_authors_read():
    forms = {
        name: create_backbone(f"{name}_tiny").official_file() for name in ("restormer", "uformer", "promptir", "ipt")
    }
    assert list(forms["restormer"]) == ["params", "params_ema"]
    assert list(forms["uformer"]) == ["epoch", "state_dict", "optimizer"]
    assert all(key.startswith("module.") for key in forms["uformer"]["state_dict"])
    assert all(key.startswith("net.") for key in forms["promptir"]["state_dict"])
    assert "body.query_embed.weight" in forms["ipt"]


def test_the_authors_lightning_module_opens_promptir(tmp_path):
    class PromptIRModel(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = create_backbone("promptir_tiny")

    net = create_backbone("promptir_tiny")
    export(net, tmp_path / "net.ckpt", "official")
    again = PromptIRModel.load_from_checkpoint(tmp_path / "net.ckpt", weights_only=True).net
    assert all(torch.equal(again.state_dict()[key], tensor) for key, tensor in net.state_dict().items())


@pytest.mark.parametrize("name", TINY)
def test_a_recognised_network_computes_the_same(tmp_path, name):
    torch.manual_seed(0)
    net = create_backbone(name)
    torch.save(net.to_official(), tmp_path / "official.pth")
    again = load(tmp_path / "official.pth", **untold(net))
    image = torch.rand(1, net.in_channels, 48, 64)
    with torch.no_grad():
        assert torch.equal(again.eval()(image), net.eval()(image))
