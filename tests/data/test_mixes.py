"""Several data sets as one: who comes how often, in which crops, and what is said of a set that is not there."""

from collections import Counter

import pytest
import torch

from gesso.data.generated import GeneratedPairs, WholeGenerated
from gesso.data.io import write_image
from gesso.data.mixes import MixDataset, mixed, open_mix, open_parts
from gesso.data.training_data import DataOptions, open_training_data
from gesso.degradations.noise import GaussianNoise
from gesso.tasks import find_task


class Numbered:
    """A data set whose samples say which they are."""

    def __init__(self, name, count):
        self.name, self.count = name, count

    def __len__(self):
        return self.count

    def __getitem__(self, key):
        return {"name": self.name, "number": key[0], "crop_size": key[1]}


SETS = [Numbered("rain", 4), Numbered("haze", 20)]


def test_repeats_multiply_what_a_part_has():
    dataset = MixDataset(SETS, [5, 1], seed=0)
    assert len(dataset) == 40
    for epoch in range(2):
        samples = [dataset[index, 8] for index in range(40 * epoch, 40 * epoch + 40)]
        assert Counter(sample["name"] for sample in samples) == {"rain": 20, "haze": 20}
        assert sorted(s["number"] for s in samples if s["name"] == "haze") == list(range(20 * epoch, 20 * epoch + 20))
    assert {sample["label"] for sample in samples} == {0, 1}


def test_balanced_parts_take_turns_however_many_samples_they_have():
    dataset = MixDataset(SETS, [1, 2], seed=0, balanced=True)
    samples = [dataset[index, 8] for index in range(60)]
    for turn in range(0, 60, 3):
        assert Counter(sample["name"] for sample in samples[turn : turn + 3]) == {"rain": 1, "haze": 2}
    assert sorted(sample["number"] for sample in samples if sample["name"] == "haze") == list(range(40))


@pytest.mark.parametrize("balanced", [False, True])
def test_crops_of_their_own_make_batches_of_one_part(balanced):
    dataset = MixDataset(SETS, [5, 1], seed=0, balanced=balanced, crop_sizes=[16, None], together=4)
    batches = [[dataset[index, 32] for index in range(start, start + 4)] for start in range(0, 4 * 120, 4)]
    for batch in batches:
        assert len({(sample["name"], sample["crop_size"]) for sample in batch}) == 1
    assert {(batch[0]["name"], batch[0]["crop_size"]) for batch in batches} == {("rain", 16), ("haze", 32)}
    numbers = [sample["number"] for batch in batches for sample in batch if sample["name"] == "rain"]
    assert sorted(numbers) == list(range(len(numbers))), "no sample of a part is left out"


def test_a_sample_does_not_depend_on_what_came_before():
    one, other = (MixDataset(SETS, [1, 1], seed=3, balanced=True) for _ in range(2))
    walked = [one[index, 8] for index in range(50)]
    assert other[49, 8] == walked[49]


def test_images_without_a_partner_are_told(tmp_path):
    for name in ("input/1", "input/2", "input/3", "target/1", "target/3"):
        write_image(tmp_path / f"{name}.png", torch.zeros(3, 8, 8))
    summary = open_training_data(find_task("derain"), DataOptions(data=tmp_path, holdout=0)).summary
    assert summary.endswith(f"images without a partner are left out: 1, such as {tmp_path / 'input/2.png'}")


# --------------------------------------------------------------------------------------------------------- procedural


@pytest.mark.parametrize(
    ("task", "lq", "gt"), [("denoise", (3, 16, 16), (3, 16, 16)), ("denoise_grey", (1, 16, 16), (1, 16, 16))]
)
def test_procedural_images_stand_in_for_photos(task, lq, gt):
    data = open_training_data(
        find_task(task), DataOptions(data="leaves", degradation={"name": "gaussian_noise", "sigma": 25})
    )
    sample = data.train[5, 16]
    assert (sample["lq"].shape, sample["gt"].shape) == (lq, gt)
    assert torch.equal(sample["lq"], data.train[5, 16]["lq"])
    assert not torch.equal(sample["gt"], data.train[6, 16]["gt"])
    assert len(data.validation) == 8
    assert data.validation[0]["gt"].shape[-1] == 192
    assert "procedural images" in data.summary
    with pytest.raises(IndexError):
        data.validation[8]


def test_procedural_images_are_shrunk_for_super_resolution():
    task = find_task("sr", scale=3)
    data = open_training_data(task, DataOptions(data="pink", holdout=1))
    assert data.train[0, 8]["gt"].shape == (3, 24, 24)
    whole = data.validation[0]
    assert (whole["lq"].shape, whole["gt"].shape) == ((3, 64, 64), (3, 192, 192))


def test_training_and_validation_images_differ():
    train = GeneratedPairs("leaves", GaussianNoise(25), seed=0)
    data = open_training_data(find_task("denoise"), DataOptions(data="leaves"))
    assert not torch.equal(train[0, 192]["gt"], data.validation[0]["gt"])
    assert len(WholeGenerated(train, 3)) == 3


# ------------------------------------------------------------------------------------------------------------- parts


def test_parts_have_protocols_repeats_and_crops_of_their_own():
    mix = [
        {"name": "rain", "task": "derain", "data": "leaves", "protocol": {"channel": "rgb"}, "repeats": 3},
        {"task": "denoise", "data": "leaves", "crop_size": 24},
    ]
    rain, noise = parts = open_mix(mix, seed=0)
    assert (rain.task.protocol.channel, rain.repeats, rain.crop_size) == ("rgb", 3, None)
    assert (noise.name, noise.task.protocol, noise.crop_size) == ("denoise", find_task("denoise").protocol, 24)
    sets = [part.samples.train for part in parts]
    dataset = mixed(parts, sets, seed=0, batch_sizes=[2])
    assert dataset.together == 2
    with pytest.raises(ValueError, match="stages, which set the crops, cannot be given"):
        mixed(parts, sets, seed=0, batch_sizes=[2, 4])


def test_crops_larger_than_the_images_are_mirrored_and_the_folder_is_named(tmp_path):
    for side in ("input", "target"):
        write_image(tmp_path / "small" / side / "0.png", torch.rand(3, 12, 40))
    mix = [
        {"task": "derain", "data": str(tmp_path / "small"), "crop_size": 16},
        {"task": "denoise", "data": "leaves"},
    ]
    parts = open_mix(mix, seed=0)
    dataset = mixed(parts, [part.samples.train for part in parts], seed=0, sampling="balanced", batch_sizes=[1])
    with pytest.warns(UserWarning, match=r"small/input: images smaller than the crop of 16 pixels are padded"):
        shapes = {dataset[index, 32]["lq"].shape for index in range(2)}
    assert shapes == {(3, 16, 16), (3, 32, 32)}


def test_every_part_that_is_missing_is_named_with_what_was_searched(tmp_path):
    mix = [
        {"name": "wet", "task": "derain", "data": str(tmp_path / "Rain13K")},
        {"task": "denoise", "data": "leaves"},
        {"name": "foggy", "task": "dehaze", "data": str(tmp_path / "OTS")},
    ]
    with pytest.raises(ValueError, match=r"mix part wet: .*Rain13K: no such folder\nmix part foggy: .*OTS: no such"):
        open_mix(mix, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repeats": 0}, "mix: denoise: repeats: expected a positive number, got 0"),
        ({"crop_size": -1}, "crop_size: expected a positive number"),
        ({"protocol": {"chanel": "y"}}, "protocol has no option 'chanel'; did you mean channel"),
        ({"repeat": 2}, "mix part denoise has no option 'repeat'"),
        ({"name": "derain"}, "two parts are called derain"),
        ({"task": "denoize"}, "did you mean denoise"),
        ({"task": "defocus_dual"}, "two views of a scene cannot be made from one"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_part_that_makes_no_sense_is_refused(change, message):
    mix = [{"task": "derain", "data": "leaves"}, {"task": "denoise", "data": "leaves"} | change]
    with pytest.raises(ValueError, match=message):
        open_mix(mix, seed=0)


def test_what_is_no_mix_is_refused():
    for mix in ([], [{"task": "derain", "data": "leaves"}]):
        with pytest.raises(ValueError, match="a list of two parts or more"):
            open_parts("all-in-one", mix, seed=0)
    with pytest.raises(ValueError, match="every part needs a task"):
        open_mix([{"data": "leaves"}, {"task": "derain", "data": "leaves"}], seed=0)
    with pytest.raises(ValueError, match="mix: it is for the task all-in-one, got the task derain"):
        open_parts("derain", [{"task": "derain"}], seed=0, data="leaves")
    for option in ({"data": "pink"}, {"holdout": 0}, {"pair_by": "order"}):
        with pytest.raises(ValueError, match=f"{next(iter(option))}: it has no effect with --mix"):
            open_parts("all-in-one", [{"task": "derain"}, {"task": "dehaze"}], seed=0, **option)
    with pytest.raises(ValueError, match="mix part dehaze has no option 'crop_siz'; did you mean crop_size"):
        open_mix([{"task": "derain"}, {"task": "dehaze", "crop_siz": 8}], seed=0)
    with pytest.raises(ValueError, match="sampling: expected repeats or balanced, got 'equal'"):
        mixed([], [], seed=0, sampling="equal", batch_sizes=[1])
