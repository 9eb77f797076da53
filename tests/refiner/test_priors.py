"""Priors: frozen models as vectors of length 1."""

import copy
import json
import sys

import pytest
import torch

from gesso import checkpoint
from gesso.backbones import create_backbone
from gesso.refiner._priors import LOOK, PooledFeatures, Prior, glimpses, open_prior
from tests.refiner._models import Brightness

SMALL = {"dim": 8, "num_blocks": (1, 1, 1, 1)}
BRIGHTNESS = "tests.refiner._models:Brightness"


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    checkpoint.save(create_backbone("restormer_tiny", **SMALL), tmp_path / "prior.safetensors")
    return tmp_path / "prior.safetensors"


def opened(source) -> Prior:
    return open_prior(str(source), checkpoint.load)


def test_a_network_says_the_means_of_its_feature_maps_beyond_those_of_grey(file):
    prior, image = opened(file), torch.rand(2, 3, 20, 27)
    seen = prior(image)
    assert seen.shape == (2, prior.dim) == (2, 32 + 16 + 16 + 16)
    torch.testing.assert_close(seen.norm(dim=1), torch.ones(2))
    backbone = checkpoint.load(file)
    last, grey = (
        backbone.features(backbone.pad(picture))[-1].mean((2, 3))
        for picture in (image, torch.full((1, 3, 128, 128), 0.5))
    )
    expected = torch.nn.functional.normalize(last - grey, dim=1) / 2  # four maps of the same length
    torch.testing.assert_close(seen[:, -16:], expected)


def test_of_large_images_a_network_sees_four_windows():
    image = torch.rand(1, 3, 300, 400)
    windows = glimpses(image)
    assert [window.shape[2:] for window in windows] == [(128, 128)] * 4
    torch.testing.assert_close(windows[0], image[..., 43:171, 68:196])
    assert [window.shape[2:] for window in glimpses(torch.rand(1, 3, 50, 2000))] == [(50, 128)] * 4
    assert len(glimpses(torch.rand(1, 3, LOOK, LOOK))) == 1


def test_a_prior_is_frozen_and_no_part_of_its_owner(file):
    owner = torch.nn.Module()
    owner.prior = opened(file)
    assert owner.state_dict() == {}
    assert list(owner.parameters()) == []
    owner.train()
    assert not owner.prior.model.training
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    assert not owner.prior(image).requires_grad


def test_precision_of_its_owner_does_not_touch_it(file):
    owner = torch.nn.Module()
    owner.prior = opened(file)
    image = torch.rand(1, 3, 16, 16)
    before = owner.prior(image)
    owner.bfloat16()
    torch.testing.assert_close(owner.prior(image), before, rtol=0, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(owner.prior(image), before, rtol=0, atol=0)
    assert owner.prior(image.double()).dtype == torch.float64
    assert next(copy.deepcopy(owner).to("meta").prior.model.parameters()).device.type == "meta"


def test_a_fingerprint_tells_priors_from_each_other(file):
    one, same, other = Prior(Brightness(), "a"), Prior(Brightness(), "b"), Prior(Brightness(1.001), "a")
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert opened(file).fingerprint() == opened(file).fingerprint()


def test_grey_dual_pixel_and_unclamped_images():
    prior, image = opened(BRIGHTNESS), torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(prior(image[:, :1]), prior(image[:, :1].expand(-1, 3, -1, -1)))
    torch.testing.assert_close(prior(torch.cat([image, image], 1)), prior(image))
    torch.testing.assert_close(prior(image * 4 - 2), prior((image * 4 - 2).clamp(0, 1)))


def test_a_class_of_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "my_prior.py").write_text(
        "import torch\nclass Mine(torch.nn.Module):\n    def forward(self, image):\n        return image.mean((2, 3))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert opened("my_prior:Mine").dim == 3


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere.safetensors", FileNotFoundError, "nowhere.safetensors"),
        ("image", FileNotFoundError, r"prior: expected a file of weights, clip:.*; there is no file image$"),
        ("clip:nowhere", FileNotFoundError, "expected clip:FOLDER .* or clip:NAME@FILE"),
        ("clip:ViT-B-32@nowhere.pt", FileNotFoundError, "no CLIP weights"),
        ("sd:nowhere", FileNotFoundError, "expected sd:FOLDER with vae/config.json"),
        ("no_such_module:Class", ValueError, "cannot import no_such_module"),
        ("tests.refiner._models:Brightnes", ValueError, "did you mean Brightness"),
        ("tests.refiner._models:function", ValueError, "has no nn.Module 'function'"),
        ("tests.refiner._models:Picture", ValueError, r"\(1, 3, 64, 64\) -> \(1, D\), it returned \(1, 3, 64, 64\)"),
    ],
)
def test_what_is_no_prior_is_said(source, error, message):
    with pytest.raises(error, match=message):
        opened(source)


def test_a_prior_for_grey_images_is_refused():
    with pytest.raises(ValueError, match="RGB images, this takes 1 channels"):
        PooledFeatures(create_backbone("restormer_tiny", **SMALL, inp_channels=1, out_channels=1))


@pytest.mark.parametrize("package", ["transformers", "open_clip"])
def test_without_its_package_clip_says_what_to_install(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "config.json").write_text("{}")
    word = tmp_path if package == "transformers" else f"ViT-B-32@{tmp_path / 'config.json'}"
    with pytest.raises(ValueError, match=rf"needs {package}, .* pip install 'gesso\[clip\]'"):
        opened(f"clip:{word}")


@pytest.fixture
def clip_folder(tmp_path):
    """A CLIP image encoder of one layer, as `transformers` saves it."""
    transformers = pytest.importorskip(
        "transformers", reason="CLIP priors need transformers: pip install 'gesso[clip]'"
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPVisionConfig(**sizes, image_size=32, patch_size=16, projection_dim=12)
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


def test_clip_of_transformers(clip_folder):
    prior, image = opened(f"clip:{clip_folder}"), torch.rand(2, 3, 50, 70)
    assert prior(image).shape == (2, 12)
    assert prior.map(image).shape == (2, 12, 2, 2)
    torch.testing.assert_close(prior.map(image).norm(dim=1), torch.ones(2, 2, 2))
    assert prior.source == f"clip:{clip_folder}"


def test_what_a_file_holds_beside_the_image_encoder_is_not_listed_on_the_terminal(tmp_path, capfd):
    transformers = pytest.importorskip(
        "transformers", reason="CLIP priors need transformers: pip install 'gesso[clip]'"
    )
    small = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": 16, "max_position_embeddings": 8, "eos_token_id": 1, "bos_token_id": 0}
    vision = {**small, "image_size": 32, "patch_size": 16, "projection_dim": 12}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    transformers.CLIPModel(config).save_pretrained(tmp_path / "clip")
    level = transformers.logging.get_verbosity()
    capfd.readouterr()
    assert opened(f"clip:{tmp_path / 'clip'}").dim == 12
    assert capfd.readouterr() == ("", "")
    assert transformers.logging.get_verbosity() == level


@pytest.fixture
def diffusion_folder(tmp_path):
    """The autoencoder of a Stable Diffusion that shrinks to a half, in the folder of its pipeline."""
    diffusers = pytest.importorskip("diffusers", reason="needs diffusers: pip install 'gesso[sd]'")
    torch.manual_seed(0)
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    sizes = {"block_out_channels": [8, 16], "norm_num_groups": 4, "latent_channels": 4, "sample_size": 32}
    diffusers.AutoencoderKL(**blocks, **sizes).save_pretrained(tmp_path / "pipeline/vae")
    return tmp_path / "pipeline"


def test_the_image_encoder_of_stable_diffusion(diffusion_folder, capfd):
    capfd.readouterr()
    prior, image = opened(f"sd:{diffusion_folder}"), torch.rand(2, 3, 21, 30)
    assert capfd.readouterr() == ("", "")
    assert prior(image).shape == (2, 16)
    assert prior.map(image).shape == (2, 16, 11, 15)
    assert opened(f"sd:{diffusion_folder / 'vae'}").fingerprint() == prior.fingerprint()
    diffusers = pytest.importorskip("diffusers")
    encoder = diffusers.AutoencoderKL.from_pretrained(diffusion_folder / "vae").encoder
    padded = torch.cat([image, image[:, :, -2:-1]], 2)
    latent = encoder(2 * padded - 1)
    torch.testing.assert_close(encoder.conv_out(prior.model.map(image)), latent, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(prior(image), torch.nn.functional.normalize(prior.model.map(image).mean((2, 3)), dim=1))


def test_weights_that_are_not_stable_diffusions_are_refused(diffusion_folder):
    from safetensors.torch import load_file, save_file

    weights = diffusion_folder / "vae/diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    del state["encoder.conv_in.weight"]
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 weights are missing: encoder.conv_in.weight"):
        opened(f"sd:{diffusion_folder}")


def test_without_its_package_stable_diffusion_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"needs diffusers, .* pip install 'gesso\[sd\]'"):
        opened(f"sd:{tmp_path}")


def test_maps_of_a_network_and_priors_without_one(file):
    prior, image = opened(file), torch.rand(1, 3, 21, 30)
    assert prior.map(image).shape == (1, prior.dim, 5, 7)
    with pytest.raises(ValueError, match=r"describes whole images, and a map is asked for; expected a file"):
        opened(BRIGHTNESS).map(image)


def test_weights_that_are_not_clips_are_refused(clip_folder):
    from safetensors.torch import load_file, save_file

    weights = clip_folder / "model.safetensors"
    state = load_file(weights)
    del state["visual_projection.weight"]
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="1 weights are missing: visual_projection"):
        opened(f"clip:{clip_folder}")


def test_clip_of_open_clip(tmp_path):
    open_clip = pytest.importorskip("open_clip", reason="CLIP priors need open_clip: pip install 'gesso[clip]'")
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1}
    (tmp_path / "tiny.json").write_text(json.dumps({"embed_dim": 12, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(tmp_path / "tiny.json")
    torch.save(open_clip.create_model("tiny").state_dict(), tmp_path / "tiny.pt")
    assert opened(f"clip:tiny@{tmp_path / 'tiny.pt'}")(torch.rand(2, 3, 50, 70)).shape == (2, 12)
    with pytest.raises(ValueError, match="unknown model of open_clip"):
        opened(f"clip:tinny@{tmp_path / 'tiny.pt'}")
