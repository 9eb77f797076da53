"""Inspection: what is measured is true, whatever the network; figures are drawn; what is not known is said."""

import json
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import yaml

import gesso
from gesso.backbones import create_backbone
from gesso.functional.random import generator_for
from gesso.lab import charts
from gesso.lab import diagnosis as _diagnosis
from gesso.lab.diagnosis import own_response, part_of, weight_changes
from gesso.lab.inspect import inspect
from gesso.lab.provenance import open_trained, own_output, random_start
from gesso.lab.sweeps import Measured, Sweep, read_sweep
from gesso.report.svg import standalone
from tests.report._results import make_results

SMALL = {"count": 4, "crop_size": 16}
TINY = {"backbone": "nafnet_tiny", "steps": 2, "crop_size": 16, "precision": "float32", "sample_every": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of IFP on noise, and on noise alone."""
    out = tmp_path_factory.mktemp("runs") / "ifp"
    gesso.pretrain(out=out, pretext="ifp", seed=3, **TINY)
    return out


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(4):
        gesso.write_image(folder / f"{i}.png", torch.rand(3, 40, 48, generator=generator_for(i)))
    return folder


@pytest.fixture(scope="module")
def seen(tmp_path_factory, run, photos):
    """A run that was looked at with every figure, against a network of another kind."""
    out = tmp_path_factory.mktemp("seen")
    results = inspect(
        str(run), out=out, images=photos, against="restormer_tiny", spectra=True, embeddings=True,
        degradations=["rain", "low_light", {"name": "gaussian_noise", "sigma": 50}], **SMALL,
    )  # fmt: skip
    return out, results


def test_the_json_holds_what_is_returned(seen):
    out, results = seen
    assert json.loads((out / "inspection.json").read_text()) == results
    assert results["networks"] == ["random start", "ifp", "restormer_tiny"]
    assert results["images"]["photos"] == [4, 3, 16, 16]


def test_every_map_of_every_network_is_described_on_every_kind_of_image(seen):
    features = seen[1]["features"]
    assert set(features) == {"noise", "leaves", "photos"}
    for by_name in features.values():
        assert [len(maps) for maps in by_name.values()] == [4, 4, 4]
        for one in (one for maps in by_name.values() for one in maps):
            assert 1 <= one["effective_rank"] <= one["channels"]
            assert 0 <= one["correlation"] <= 1
            assert one["scale"] > 0
    alignment = seen[1]["alignment"]["photos"]
    assert np.shape(alignment["random start"]) == (4, 4)
    assert np.shape(alignment["restormer_tiny"]) == (4, 4)
    assert all(alignment["random start"][i][i] > 0.9 for i in range(4))  # two steps change little


def test_pictures_are_drawn_and_well_formed(seen):
    names = {"features", "alignment", "weights", "rings", "rings-by-itself", "spectra", "embeddings"}
    assert {path.stem for path in seen[0].glob("*.svg")} == names
    for path in seen[0].glob("*.svg"):
        text = "".join(ElementTree.parse(path).getroot().itertext())
        assert "nan" not in path.read_text().split("</style>")[1]
        assert len(text) > 50
    assert gesso.read_image(seen[0] / "masked-rings.png").shape[-1] > 5 * 256


def test_a_network_starts_where_its_run_began(run, seen):
    words = seen[1]["start"]["words"]
    assert "seed 3 (as config.yaml beside the file says)" in words
    change = seen[1]["weights"]["its beginning"]["tensors"]
    assert max(one["relative"] or 0 for one in change.values()) < 0.03
    assert min(1 if one["cosine"] is None else one["cosine"] for one in change.values()) > 0.999
    origin = open_trained(str(run), {})
    other = weight_changes(origin.network, random_start(origin, seed=4), key=str)
    assert max(one.relative or 0 for one in other.values()) > 1


def test_without_its_recipe_a_start_is_assumed_and_a_wrong_one_is_noticed(run, tmp_path, capsys):
    lone = tmp_path / "lone.safetensors"
    shutil.copy(run / "backbone.safetensors", lone)
    words = inspect(str(lone), out=tmp_path / "right", seed=3, **SMALL)["start"]["words"]
    assert "assumed" in words
    assert "warning" not in capsys.readouterr().out
    inspect(str(lone), out=tmp_path / "wrong", seed=4, **SMALL)
    assert "weights barely correlate with this beginning" in capsys.readouterr().out


def test_a_run_that_began_with_a_file_is_compared_with_that_file(run, tmp_path):
    gesso.pretrain(out=tmp_path / "on", pretext="ifp", init=run / "backbone.safetensors", **TINY)
    found = inspect(str(tmp_path / "on"), out=tmp_path / "out", **SMALL)
    assert str(run / "backbone.safetensors") in found["start"]["words"]
    assert max(one["relative"] for one in found["weights"]["its beginning"]["parts"].values()) < 0.03


def test_the_decoder_is_taken_from_the_run_while_it_is_there(run, seen, tmp_path):
    rings = seen[1]["rings"]
    assert "decoder that it was pre-trained with" in rings["words"]
    kinds = ["the noise it was trained on", "other noise", "leaves", "photos"]
    assert list(rings["by itself"]) == kinds
    shutil.copytree(run, tmp_path / "cleaned")
    (tmp_path / "cleaned" / "last.ckpt").unlink()
    own, words = own_output(open_trained(str(tmp_path / "cleaned"), {}))
    assert own is None
    assert "thrown away" in words


def test_the_decoder_is_that_of_the_run(run):
    """What it makes of the run's noise has the error that the run logged last, up to the step that followed."""
    own, _ = own_output(open_trained(str(run), {}))
    again, _ = own_output(open_trained(str(run), {}))
    assert own.noise.shape == (1, 3, 16, 16)
    assert torch.equal(own.restore(own.noise), again.restore(own.noise))
    image = 0.5 + 0.1 * own.noise
    assert torch.allclose(own.restore(image), 0.5 + 0.1 * own.restore(own.noise), atol=0.02)  # brought to its scale


def test_an_oracle_restores_every_band_and_the_identity_none():
    images = torch.rand(3, 3, 32, 32, generator=generator_for(0))
    assert own_response(lambda _: images, images).restored == pytest.approx([1.0] * 12)
    assert own_response(lambda corrupted: corrupted, images).restored == pytest.approx([0.0] * 12, abs=1e-4)


def test_features_that_know_the_missing_band_give_it_back():
    image = torch.rand(1, 3, 32, 32, generator=generator_for(1))

    class Oracle(type(create_backbone("nafnet_tiny"))):
        def features(self, corrupted):
            return [torch.cat([corrupted, image.expand_as(corrupted)], dim=1)]

    oracle = Oracle(**create_backbone("nafnet_tiny").options)
    found = _diagnosis.last_convolution_response(oracle, image.expand(6, -1, -1, -1), seed=0)
    assert min(found.restored) > 0.9
    assert found.frequency == sorted(found.frequency)


@pytest.mark.parametrize(
    "name", [name for name in gesso.list_backbones() if name.endswith("_tiny") and name != "restormer_tiny"]
)
def test_every_network_can_be_looked_at_by_its_name(name, tmp_path):
    found = inspect(name, out=tmp_path, **SMALL)
    assert found["networks"] == ["random start"]
    assert found["weights"] == {}
    assert found["rings"]["by itself"] == {}
    assert (tmp_path / "rings.svg").exists()


def test_a_restorer_restores_by_itself(tmp_path, photos):
    gesso.save(create_backbone("nafnet_tiny"), tmp_path / "net.safetensors", task="derain")
    found = inspect(str(tmp_path / "net.safetensors"), out=tmp_path / "out", images=photos, **SMALL)
    assert list(found["rings"]["by itself"]) == ["leaves", "photos"]
    assert "the network itself" in found["rings"]["words"]


def test_tokens_are_those_of_ipt(tmp_path):
    options = {"scale": [2, 3, 4, 1, 1, 1], "num_queries": 6}
    net = create_backbone("ipt_tiny", **options)
    with torch.no_grad():
        net.body.query_embed.weight[1] = 2 * net.body.query_embed.weight[0]
    gesso.save(net, tmp_path / "ipt.safetensors")
    tokens = inspect(str(tmp_path / "ipt.safetensors"), out=tmp_path / "out", tokens=True, **SMALL)["tokens"]
    assert np.shape(tokens["positions"]) == (64, 64)
    assert np.allclose(np.diag(tokens["positions"]), 1, atol=1e-4)
    assert tokens["tasks"][0][1] == pytest.approx(1, abs=1e-4)
    assert abs(tokens["tasks"][0][2]) < 0.2
    assert tokens["names"] == ["x2", "x3", "x4", "rain", "noise 30", "noise 50"]
    assert {"positions.svg", "tasks.svg"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_parts_are_blocks():
    assert part_of("encoder_level1.0.attn.qkv.weight") == "encoder_level1.0"
    assert part_of("body.encoder.layers.11.norm1.weight") == "body.encoder.layers.11"
    assert part_of("patch_embed.proj.weight") == "patch_embed"


# ---------------------------------------------------------------------------------------------------------- sweeps


def make_pretraining(folder, **recipe):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"pretext": "ifp", "backbone": "nafnet_tiny"} | recipe))
    return folder / "backbone.safetensors"


@pytest.fixture
def swept(tmp_path):
    """A comparison of three mask ratios whose gains are known."""
    gains = {"ifp": 0.6, "low": 0.1, "high": -0.5}
    folder = make_results(tmp_path / "compared", gains, images=4, folds=1)
    for name, ratio in (("ifp", None), ("low", 0.25), ("high", 0.9)):
        args = {} if ratio is None else {"pretext_args": {"mask_ratio": ratio}}
        init = make_pretraining(folder / f"starts/{name}-12345678", **args)
        place = folder / f"runs/0020-pairs/seed-0-fold-0/{name}-12345678"
        place.mkdir(parents=True)
        (place / "config.yaml").write_text(yaml.safe_dump({"task": "derain", "init": str(init)}))
    return folder


def test_a_sweep_shows_the_gain_over_the_option_that_varies(swept, tmp_path):
    found = inspect(sweep=str(swept), out=tmp_path / "out")["sweep"]
    assert list(found["options"]) == ["pretext_args.mask_ratio"]
    lines = found["options"]["pretext_args.mask_ratio"]
    assert list(lines) == [f"after {step} fine-tuning steps" for step in (200, 100, 50)]
    middle = {value: numbers[0] for value, numbers in lines["after 200 fine-tuning steps"].items()}
    assert middle["0.75"] > middle["0.25"] > middle["0.9"]  # 0.75 is the default of the pretext, which is not said
    assert middle["0.75"] == pytest.approx(0.6, abs=0.2)
    assert (tmp_path / "out" / "sweep-mask_ratio.svg").exists()


def test_lines_are_named_after_what_sets_them_apart():
    made = [({"mask_ratio": ratio, "steps": steps, "count": count}, 0.1 * ratio) for ratio, steps, count in
            ((0.25, 10, 1), (0.75, 10, 1), (0.25, 20, 1), (0.75, 20, 1), (0.75, 20, 100))]  # fmt: skip
    sweep = Sweep([Measured(options, value, value, value, 9) for options, value in made], "gain", 0.0)
    lines = {option: list(lines) for option, lines in sweep.charts()}
    assert lines["mask_ratio"] == [f"steps {steps}, after 9 fine-tuning steps" for steps in (10, 20)]
    assert lines["count"] == ["after 9 fine-tuning steps"]


def test_a_sweep_may_have_been_moved(swept, tmp_path):
    shutil.move(swept, tmp_path / "elsewhere")
    assert [option for option, _ in read_sweep([tmp_path / "elsewhere"]).charts()] == ["pretext_args.mask_ratio"]


def test_fine_tuning_runs_are_a_sweep_too(tmp_path):
    for steps, psnrs in ((100, (20.0, 20.4)), (1000, (21.0, 21.2)), (None, (19.0, 19.2))):
        for seed, psnr in enumerate(psnrs):
            run = tmp_path / f"tuned/{steps}-{seed}"
            run.mkdir(parents=True)
            start = tmp_path / f"pre/{steps}-{seed}"
            init = "random" if steps is None else str(make_pretraining(start, steps=steps, seed=seed))
            (run / "config.yaml").write_text(yaml.safe_dump({"task": "derain", "init": init, "seed": seed}))
            (run / "images.csv").write_text(f"set,step,image,psnr,ssim\nderain,5,a,1,0\nderain,9,a,{psnr},0.5\n")
    sweep = read_sweep([tmp_path / "tuned"])
    assert sweep.baseline == pytest.approx(19.1)
    ((option, lines),) = sweep.charts()
    assert option == "steps"
    expected = {100: (20.2, 20.0, 20.4), 1000: (21.1, 21.0, 21.2)}
    assert {value: pytest.approx(numbers) for value, numbers in lines["after 9 fine-tuning steps"].items()} == expected


def test_a_start_that_was_taken_over_otherwise_is_another(swept):
    tuned = swept / "runs/0020-pairs/seed-0-fold-0/high-12345678/config.yaml"
    init = make_pretraining(swept / "starts/shrunk-12345678")
    tuned.write_text(yaml.safe_dump({"task": "derain", "init": str(init), "shrink": 0.5}))
    charts = {option: lines["after 200 fine-tuning steps"] for option, lines in read_sweep([swept]).charts()}
    assert {option: list(line) for option, line in charts.items()} == {
        "pretext_args.mask_ratio": [0.25, 0.75], "finetune.shrink": [0.5, 1.0]
    }  # fmt: skip
    assert charts["finetune.shrink"][1.0] == charts["pretext_args.mask_ratio"][0.75]


def test_words_and_numbers_can_be_swept():
    line = {"masked": (0.1, 0.0, 0.2), "paper": (0.2, 0.1, 0.3)}
    words = standalone(charts.sweep_chart("loss", {"a": line}, "gain (dB)", baseline=0.0))
    numbers = standalone(charts.sweep_chart("steps", {"a": {1: (0, 0, 0), 1000: (1, 1, 1)}}, "dB", baseline=None))
    assert "paper" in "".join(ElementTree.fromstring(words).itertext())
    assert "random weights" in words
    assert "random weights" not in "".join(ElementTree.fromstring(numbers).itertext())


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"what": None}, "expected a file, a folder or the name"),
        ({"what": None, "sweep": "x", "tokens": True}, "--sweep stands alone"),
        ({"what": "nafnet_tinny"}, "did you mean nafnet_tiny"),
        ({"what": "gone.safetensors"}, "no such file"),
        ({"what": "nafnet_tiny", "tokens": True}, "IPT has position and task embeddings"),
        ({"what": "nafnet_tiny", "count": 3}, "4 images or more"),
        ({"what": "nafnet_tiny", "backbone_args": {"img_channel": 2}}, "1, 3 or 4 channels, the network takes 2"),
        ({"what": "nafnet_tiny", "mask_ratio": 1.0}, "mask_ratio"),
        ({"what": "nafnet_tiny", "images": "gone"}, "gone"),
        ({"what": None, "sweep": "gone"}, "no folder gone"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(tmp_path, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        inspect(**{"out": tmp_path / "out", **SMALL, **options})
    assert not (tmp_path / "out").exists()


def test_a_folder_without_results_is_no_sweep(tmp_path):
    with pytest.raises(ValueError, match="0 comparisons and 0 fine-tuning runs"):
        inspect(sweep=str(tmp_path), out=tmp_path / "out")


def test_results_are_not_replaced_unasked(seen, run):
    with pytest.raises(FileExistsError, match="--overwrite"):
        inspect(str(run), out=seen[0], **SMALL)


def test_a_primed_network_is_inspected_by_its_name(tmp_path):
    inspect("primed:derain/nafnet_tiny", out=tmp_path / "out", **SMALL)
    assert (tmp_path / "out/features.svg").exists()
