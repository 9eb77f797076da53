import pytest
import torch

from gesso._discovery import UnknownNameError
from gesso.backbones import create_backbone
from gesso.backbones._transfer import PaperTransfer
from gesso.checkpoint import CheckpointError, load, load_features, recognise, save

from .conftest import same, small_restormer

# ------------------------------------------------------------------------------------------------- a whole network


def test_a_saved_network_comes_back(tmp_path, net):
    save(net, tmp_path / "net.safetensors", task="derain")
    found = recognise(tmp_path / "net.safetensors")
    assert same(found.network.state_dict(), net.state_dict())
    assert found.network.options == net.options | {"num_blocks": [1, 1, 1, 2], "heads": [1, 2, 4, 8]}
    assert found.header["task"] == "derain"
    assert str(found) == "Restormer (no published size), recognised by the header of the file"


def test_a_published_size_is_named(tmp_path):
    save(create_backbone("restormer_tiny"), tmp_path / "net.safetensors")
    assert str(recognise(tmp_path / "net.safetensors")).startswith(
        "Restormer (restormer_tiny), recognised by the header"
    )


def wrapped(state, prefix):
    return {prefix + key: tensor for key, tensor in state.items()}


FORMS = {
    "BasicSR": lambda state: {"params": state},
    "BasicSR with averages": lambda state: {"params": {k: v + 1 for k, v in state.items()}, "params_ema": state},
    "DataParallel": lambda state: {"epoch": 3, "state_dict": wrapped(state, "module."), "optimizer": {}},
    "twice parallel": lambda state: {"state_dict": wrapped(state, "module.module.")},
    "Lightning": lambda state: {"state_dict": wrapped(state, "net."), "global_step": 9},
    "compiled": lambda state: wrapped(state, "_orig_mod."),
    "BasicSR, parallel": lambda state: {"params": wrapped(state, "net_g.module.")},
    "flat": lambda state: state,
    "MFM": lambda state: {"model": wrapped(state, "encoder."), "epoch": 1},
}


@pytest.mark.parametrize("form", FORMS)
def test_the_files_of_others_load_without_options(tmp_path, net, form):
    torch.save(FORMS[form](net.state_dict()), tmp_path / "theirs.pth")
    found = recognise(tmp_path / "theirs.pth")
    assert same(found.network.state_dict(), net.state_dict())
    assert found.network.image_residual
    assert "recognised by the tensors of the file" in str(found)


def test_what_tensors_do_not_tell_is_said_and_can_be_given(tmp_path, net):
    torch.save(net.state_dict(), tmp_path / "theirs.pth")
    found = recognise(tmp_path / "theirs.pth")
    assert found.assumed["attention"] == "softmax"
    assert "assumed, because tensors do not tell: " in str(found)
    found = recognise(tmp_path / "theirs.pth", attention="relu")
    assert found.network.options["attention"] == "relu"
    assert "attention" not in found.assumed


def test_facts_replace_those_of_a_header(tmp_path, net):
    save(net, tmp_path / "net.safetensors")
    assert load(tmp_path / "net.safetensors", image_residual=False).image_residual is False


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_an_unknown_fact_is_an_error(tmp_path, net, suffix):
    path = tmp_path / f"net.{suffix}"
    save(net, path) if suffix == "safetensors" else torch.save(net.state_dict(), path)
    with pytest.raises(UnknownNameError, match="Restormer has no option 'atention'; did you mean attention"):
        load(path, atention="relu")


def test_half_precision_weights_load_as_float32(tmp_path, net):
    torch.save({key: tensor.half() for key, tensor in net.state_dict().items()}, tmp_path / "half.pth")
    assert load(tmp_path / "half.pth").output.weight.dtype == torch.float32


def test_a_network_that_gesso_does_not_have_is_an_error(tmp_path):
    torch.save({"conv.weight": torch.ones(1), "conv.bias": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"no network of gesso \(.*Restormer.*\) has its tensors: conv\.weight"):
        load(tmp_path / "other.pth")


def test_missing_and_unexpected_tensors_are_listed(tmp_path, net):
    state = net.state_dict()
    del state["latent.1.attn.qkv.weight"]
    state["latent.0.attn.extra"] = torch.ones(1)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError) as error:
        load(tmp_path / "odd.pth")
    lines = str(error.value).splitlines()
    assert lines[1].split() == ["loaded", str(len(net.state_dict()) - 1)]
    assert lines[2].split() == ["missing", "1", "latent.1.attn.qkv.weight"]
    assert lines[3].split() == ["misshapen", "0"]
    assert lines[4].split() == ["unexpected", "1", "latent.0.attn.extra"]


# ------------------------------------------------------------------------------------------------- features alone


def test_the_head_is_relearned_and_the_body_loaded(tmp_path, net, pretrained):
    save(pretrained, tmp_path / "ifp.safetensors", pretext="ifp")
    before = net.output.weight.clone()
    report = load_features(net, tmp_path / "ifp.safetensors")
    total = len(net.state_dict())
    assert str(report) == (
        f"loaded {total - 1}/{total} tensors, relearned 1: output.weight; left 1 in the file: output.weight"
    )
    assert torch.equal(net.output.weight, before)
    assert all(torch.equal(v, pretrained.state_dict()[k]) for k, v in net.state_dict().items() if k != "output.weight")


def test_official_weights_prime_a_network_for_pretraining(tmp_path, net, pretrained):
    torch.save({"params": net.state_dict()}, tmp_path / "official.pth")
    assert load_features(pretrained, tmp_path / "official.pth").relearned == ["output.weight"]


def test_the_head_is_kept_on_demand_where_it_fits(tmp_path, net, pretrained):
    save(net, tmp_path / "net.safetensors")
    fresh = net.twin()
    assert load_features(fresh, tmp_path / "net.safetensors").relearned == ["output.weight"]
    assert load_features(fresh, tmp_path / "net.safetensors", keep_head=True).relearned == []
    assert same(fresh.state_dict(), net.state_dict())
    assert load_features(pretrained, tmp_path / "net.safetensors", keep_head=True).relearned == ["output.weight"]


def test_the_encoder_of_a_pretraining_file_loads_and_its_decoder_stays(tmp_path, net, pretrained):
    decoder = {"decoder.conv_first.weight": torch.ones(64, 64, 3, 3), "decoder.conv_first.bias": torch.ones(64)}
    model = wrapped(pretrained.state_dict(), "encoder.") | decoder
    assert "encoder.encoder_level1.0.attn.temperature" in model  # loses one `encoder.` only
    torch.save({"model": model, "optimizer": {}, "max_accuracy": 0.0, "epoch": 3, "config": {}}, tmp_path / "ifp.pth")
    report = load_features(net, tmp_path / "ifp.pth")
    assert report.relearned == ["output.weight"]
    assert report.left == [*decoder, "output.weight"]
    assert recognise(tmp_path / "ifp.pth").left == list(decoder)
    assert recognise(tmp_path / "ifp.pth").network.out_channels == 64


def test_a_network_whose_second_half_is_called_decoder_is_put_together(tmp_path, net):
    first = {f"encoder.{key}": tensor for key, tensor in net.state_dict().items() if not key.startswith(("dec", "ref"))}
    second = {f"decoder.{key}": tensor for key, tensor in net.state_dict().items() if key.startswith(("dec", "ref"))}
    torch.save({"model": first | second}, tmp_path / "halves.pth")
    fresh = net.twin()
    assert load_features(fresh, tmp_path / "halves.pth", keep_head=True).relearned == []
    assert all(torch.equal(tensor, net.state_dict()[key]) for key, tensor in fresh.state_dict().items())


def test_a_flat_file_of_degae_loads(tmp_path, net, pretrained):
    torch.save(pretrained.state_dict(), tmp_path / "400_E.pth", _use_new_zipfile_serialization=False)
    assert load_features(net, tmp_path / "400_E.pth").relearned == ["output.weight"]


def rejected(net, path) -> str:
    """The error that `load_features` raises, after a look that the network is untouched."""
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_features(net, path)
    assert same(net.state_dict(), before)
    return str(error.value)


def test_another_network_is_refused_by_name(tmp_path, net):
    other = create_backbone("nafnet_tiny")
    save(other, tmp_path / "other.safetensors")
    assert "its features do not fit Restormer; it holds a NAFNet with" in rejected(net, tmp_path / "other.safetensors")
    torch.save({"params": other.to_official()}, tmp_path / "other.pth")
    assert "its features do not fit Restormer; it holds a NAFNet with" in rejected(net, tmp_path / "other.pth")


def test_another_size_is_refused_with_its_shapes(tmp_path, net):
    save(small_restormer(dim=16), tmp_path / "wide.safetensors")
    message = rejected(net, tmp_path / "wide.safetensors")
    assert "'dim': 16" in message
    assert "patch_embed.proj.weight (16, 3, 3, 3), expected (8, 3, 3, 3)" in message


def test_a_deeper_network_is_refused_although_it_has_all_that_is_needed(tmp_path, net):
    save(small_restormer(num_blocks=(1, 1, 1, 3)), tmp_path / "deep.safetensors")
    message = rejected(net, tmp_path / "deep.safetensors")
    assert "unexpected" in message
    assert "latent.2.attn.qkv.weight" in message


def test_missing_tensors_of_the_body_are_listed(tmp_path, net):
    state = {key: tensor for key, tensor in net.state_dict().items() if not key.startswith("latent.1.")}
    torch.save(state, tmp_path / "gap.pth")
    message = rejected(net, tmp_path / "gap.pth")
    assert "missing      11  latent.1.norm1.body.weight" in message
    assert "... and 3 more" in message


def test_a_file_without_what_networks_are_recognised_by_is_refused(tmp_path, net):
    state = net.state_dict()
    del state["latent.0.attn.temperature"]
    torch.save(state, tmp_path / "gap.pth")
    assert "missing       1  latent.0.attn.temperature" in rejected(net, tmp_path / "gap.pth")
    with pytest.raises(CheckpointError, match="no network of gesso"):
        load(tmp_path / "gap.pth")


def test_tensors_of_nothing_known_are_refused(tmp_path, net):
    torch.save({"weight": torch.ones(1), "bias": torch.ones(1)}, tmp_path / "other.pth")
    assert "no network of gesso has its tensors" in rejected(net, tmp_path / "other.pth")


# ------------------------------------------------------------------------------------------------- paper transfer


def test_a_paper_transfer_keeps_the_whole_pretrained_network(tmp_path, pretrained):
    save(pretrained, tmp_path / "ifp.safetensors")
    net = PaperTransfer(pretrained.twin())
    report = load_features(net, tmp_path / "ifp.safetensors")
    assert report.relearned == ["conv_last.weight", "conv_last.bias"]
    assert same(net.backbone.state_dict(), pretrained.state_dict())


def test_a_paper_transfer_from_official_weights_learns_the_64_channels_too(tmp_path, net, pretrained):
    torch.save({"params": net.state_dict()}, tmp_path / "official.pth")
    report = load_features(PaperTransfer(pretrained), tmp_path / "official.pth")
    assert report.relearned == ["backbone.output.weight", "conv_last.weight", "conv_last.bias"]


def test_a_paper_transfer_opens_by_its_header(tmp_path, pretrained):
    net = PaperTransfer(pretrained)
    save(net, tmp_path / "paper.safetensors", transfer="paper")
    again = load(tmp_path / "paper.safetensors")
    image = torch.rand(1, 3, 21, 30)
    with torch.no_grad():
        assert torch.equal(again(image), net(image))
    other = PaperTransfer(pretrained.twin())
    assert load_features(other, tmp_path / "paper.safetensors").relearned == ["conv_last.weight", "conv_last.bias"]


def test_the_network_inside_a_paper_transfer_primes_a_plain_one(tmp_path, net, pretrained):
    save(PaperTransfer(pretrained), tmp_path / "paper.safetensors")
    report = load_features(net, tmp_path / "paper.safetensors")
    assert report.relearned == ["output.weight"]
    assert report.left == ["conv_last.bias", "conv_last.weight", "output.weight"]


def test_the_two_files_of_degae_make_one_model(tmp_path, pretrained):
    net = PaperTransfer(pretrained)
    head = wrapped(net.conv_last.state_dict(), "conv_last.")
    unused = {"HRconv.weight": torch.zeros(64, 64, 3, 3), "HRconv.bias": torch.zeros(64)}
    torch.save(pretrained.state_dict(), tmp_path / "E.pth")
    torch.save(wrapped(head | unused, "module."), tmp_path / "De1.pth")
    found = load(tmp_path / "E.pth", decoder=tmp_path / "De1.pth")
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(found(image), net(image))


@pytest.mark.parametrize(
    "head", [{"weight": torch.ones(1), "bias": torch.ones(1)}, {"conv_last.weight": torch.ones(3, 48, 3, 3)}]
)
def test_a_decoder_that_is_none_is_an_error(tmp_path, pretrained, head):
    torch.save(pretrained.state_dict(), tmp_path / "E.pth")
    torch.save(head, tmp_path / "De1.pth")
    with pytest.raises(CheckpointError, match=r"De1\.pth: (expected conv_last|its layers do not stand)"):
        load(tmp_path / "E.pth", decoder=tmp_path / "De1.pth")
