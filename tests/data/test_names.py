"""Names of degraded images and of their ground truths, as they are published."""

import pytest

from gesso.data.names import match, match_template

SCHEMES = [
    ("Canon_001_LR4", "Canon_001_HR"),
    ("DSC_0983_x4", "DSC_0983_x1"),
    ("0001_bicLRx4", "0001"),
    ("0001x4m", "0001"),
    ("img1_q10", "img1"),
    ("img1_sigma25", "img1"),
    ("rain-001x2", "norain-001"),
    ("norain-001x2", "norain-001"),
    ("001_in", "001_GT"),
    ("scene1_ISO3200", "scene1_ISO100"),
    ("IMG_01", "img_01"),
    ("1", "0001"),
    ("01_noise", "01_gt"),
    ("1rain", "1ground_truth"),
    ("im_0001_s80_a04", "im_0001"),
    ("0_rain", "0_clean"),
    ("901_14", "901"),
    ("100", "100gt"),
    ("1_LRBI_x4", "1_HR_x4"),
    ("img_001_SRF_4_LR", "img_001_SRF_4_HR"),
    ("101_bicubic_x3", "101"),
    ("0001_LRx8", "0001"),
    ("0001x4d", "0001"),
    ("img_001_x4", "img_001"),
    ("kodim01_noise_25", "kodim01"),
    ("kodim01_n50", "kodim01"),
    ("c_01_jpeg_q30", "c_01"),
    ("t1_QF10", "t1"),
    ("S1_iso1600", "S1_iso50"),
    ("1_sigma50", "1_sigma0"),
    ("I01_01_1", "i01"),
    ("DSC01", "dsc01"),
    ("01", "001"),
    ("frame_000001", "frame_1"),
    ("rain_1", "norain_0001"),
    ("_MG_2375", "_MG_2375_no_shadow"),
    ("2375_shadow", "2375_shadow_free"),
    ("01_outdoor_hazy", "01_outdoor_GT"),
    ("0001_0.8_0.2", "0001"),
    ("t3lq", "t3hq"),
    ("0005_LQ", "0005"),
    ("0005_degraded", "0005_original"),
    ("0005_low-light", "0005_ref"),
    ("0005_underexposed", "0005_gt"),
    ("0005_input", "0005_output"),
    ("5_before", "5_after"),
    ("img5_noisy", "img5_clean"),
    ("blurred5", "sharp5"),
    ("hazy_5", "clear_5"),
    ("5_snow", "5_no_snow"),
    ("IMG_5Noisy", "IMG_5Reference"),
    ("5_corrupted", "5_target"),
    ("0001", "0001_expertC"),
    ("x1/blurry", "x1/sharp"),
    ("IMG_1/3", "IMG_1"),
    ("part1/0005_0.8_0.04", "0005"),
]


def shift(name: str) -> str:
    """The name of another image in the same scheme: each figure is one more."""
    return name.translate(str.maketrans("0123456789", "1234567890"))


@pytest.mark.parametrize(("lq", "gt"), SCHEMES)
def test_published_schemes_pair_alone(lq, gt):
    assert match([lq], [gt]) == {lq: gt}


@pytest.mark.parametrize("schemes", [
    [(f"{n}_foo", f"{n}_bar") for n in (1, 2, 10)],
    [(f"the_{n}_degr", f"result{n:03d}") for n in (1, 2, 10)],
    [(f"1P0A09{n}", f"1P0A09{n - 1}") for n in (17, 19, 21)],
    [(f"1P0A09{n}", f"1P0A09{n + 1}") for n in (17, 19, 25)],
    [(f"{n}_{k}", f"{n}") for n in (1, 11, 111) for k in (1, 2, 11)],
    [(f"rain-{n:03d}", f"norain-{n:03d}") for n in range(1, 120)],
    [(f"im_{n:04d}_s{s}_a0{a}", f"im_{n:04d}") for n in (1, 2) for s in (80, 85, 90, 95, 100) for a in (4, 5, 6)],
])  # fmt: skip
def test_schemes_pair_as_a_whole(schemes):
    lq, gt = ([pair[side] for pair in schemes] for side in (0, 1))
    assert match(lq, list(dict.fromkeys(gt))) == dict(schemes)


@pytest.mark.parametrize(
    ("lq", "gt"),
    [
        (["blur_1", "blurry_1"], ["sharp_1"]),
        (["12_3"], ["1", "2"]),
        (["123"], ["12"]),
        (["cathedral"], ["cat"]),
        (["1_2"], ["1", "01"]),
        (["01", "1"], ["001"]),
        (["img_1_q10"], ["img_2"]),
        (["paris_1", "paris_2"], ["rome_3", "rome_4"]),
        (["IMG_0917", "IMG_0919"], ["IMG_0920", "IMG_0930"]),
        (["a/1", "a/2"], ["b/1", "b/2"]),
        (["a/1", "b/1"], ["1"]),
        (["1"], ["1_a", "1_b"]),
        (["1", "2"], ["a", "b"]),
    ],
)
def test_names_that_do_not_say_it_do_not_pair(lq, gt):
    assert {name: truth for name, truth in match(lq, gt).items() if name != truth} in (
        {},
        {"1_2": "1"},  # an equal beginning is no doubt
    )


def test_the_longest_truth_that_begins_a_name_is_its_own():
    assert match(["1_2_3", "1_4", "10_1"], ["1", "1_2", "10"]) == {"1_2_3": "1_2", "1_4": "1", "10_1": "10"}


def test_a_few_names_that_fit_by_chance_make_no_pairs():
    assert match(["a_1", "b", "c", "d", "e"], ["a", "v", "w", "x", "y"]) == {}
    assert match(["a", "b", "c", "d", "e"], ["a", "v", "w", "x", "y"]) == {"a": "a"}, "what is equal is no chance"


@pytest.mark.parametrize(
    ("template", "lq", "gt", "expected"),
    [
        ("{gt}_s*", ["1_s80", "1_s85_a04", "1", "2_x"], ["1", "2"], {"1_s80": "1", "1_s85_a04": "1"}),
        ("{gt}x4", ["babyx4", "babyx2", "x4"], ["baby"], {"babyx4": "baby"}),
        ("{}x4", ["0001x4"], ["0001"], {"0001x4": "0001"}),
        ("rain-{gt}", ["rain-1", "1"], ["1"], {"rain-1": "1"}),
        ("{gt}*", ["1_a", "12_a"], ["1", "12"], {"1_a": "1", "12_a": "12"}),
        ("*_{gt}_?", ["x_1_a", "x_1_ab"], ["1"], {"x_1_a": "1"}),
        ("{gt}_{gt}", ["7_7", "7_8"], ["7", "8"], {"7_7": "7"}),
        ("{gt}/*", ["IMG_1/3", "IMG_2/1"], ["IMG_1"], {"IMG_1/3": "IMG_1"}),
        ("{gt}_lq", ["a/1_lq", "b/1_lq"], ["a/1"], {"a/1_lq": "a/1"}),
        ("{gt}.v[1]", ["a.v[1]", "a.v1"], ["a"], {"a.v[1]": "a"}),
        ("{gt}", ["1", "2"], ["1"], {"1": "1"}),
    ],
)
def test_a_template_says_what_an_inputs_name_is(template, lq, gt, expected):
    assert match_template(template, lq, gt) == expected
