"""Statistics on synthetic experiments whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, ttest_1samp

from gesso.report.statistics import (
    Gains,
    Score,
    bootstrap,
    estimate,
    holm,
    judge,
    paired_gains,
    sign_flip_test,
    spread,
)

EXPERIMENTS = 1500


def experiments(seeds, folds, per_fold, runs, images, residual, *, gain=0.0, skewed=False, number=EXPERIMENTS):
    """Gains (number, seeds, images) with the given standard deviations in dB, and the fold of each image."""
    random = np.random.default_rng([seeds, folds, per_fold, skewed])
    fold = np.repeat(np.arange(folds), per_fold)

    def draw(*shape):
        return random.gamma(4, size=shape) / 2 - 2 if skewed else random.standard_normal(shape)

    of_runs = runs * random.standard_normal((number, seeds, folds))[..., fold]
    table = gain + of_runs + images * draw(number, 1, len(fold)) + residual * draw(number, seeds, len(fold))
    return table, fold


def gains(table, fold=None, start="ifp"):
    seeds, images = table.shape
    fold = np.zeros(images, int) if fold is None else fold
    return Gains(start, "psnr", table, tuple(range(seeds)), tuple(f"{i}.png" for i in range(images)), fold)


def scores(table, fold=None, start="ifp", step=100):
    """Rows of a comparison in which random weights reach 20 dB and the start `20 + table`."""
    rows = []
    for seed, row in enumerate(table):
        for image, gain in enumerate(row):
            place = (0 if fold is None else int(fold[image]), step, f"{image}.png")
            rows.append(Score(seed, place[0], "random", place[1], place[2], 20.0, 0.8))
            rows.append(Score(seed, place[0], start, place[1], place[2], 20.0 + gain, 0.8 + gain / 100))
    return rows


SHAPES = [  # seeds, folds, images in a fold; standard deviations between runs, between images, residual
    (3, 1, 12, 0.3, 0.3, 0.3),
    (3, 1, 12, 0.1, 0.4, 0.2),
    (3, 4, 5, 0.2, 0.3, 0.2),
    (5, 1, 12, 0.1, 0.4, 0.2),
    (5, 1, 24, 0.2, 0.3, 0.3),
    (5, 4, 3, 0.2, 0.4, 0.2),
    (5, 12, 1, 0.2, 0.3, 0.2),
    (1, 1, 12, 0.0, 0.4, 0.2),
]


@pytest.mark.parametrize("skewed", [False, True], ids=["normal", "skewed"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_interval_holds_the_truth_in_93_to_97_percent_of_experiments(shape, skewed):
    table, fold = experiments(*shape, gain=0.25, skewed=skewed)
    low, high = np.quantile(bootstrap(table, fold, draws=600), [0.025, 0.975], axis=-1)
    assert 0.93 <= np.mean((low <= 0.25) & (high >= 0.25)) <= 0.97


def test_resampling_three_seeds_alone_would_not():
    table, _ = experiments(3, 1, 12, 0.3, 0.1, 0.1)
    picks = np.random.default_rng(0).integers(0, 3, (600, 3))
    low, high = np.quantile(table.mean(2)[:, picks].mean(-1), [0.025, 0.975], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) < 0.8


@pytest.mark.parametrize(
    "shape", [(3, 1, 12, 0.3, 0.3, 0.3), (4, 4, 3, 0.2, 0.4, 0.2), (3, 6, 1, 0.2, 0.3, 0.2)], ids=str
)
def test_the_variance_of_the_mean_is_estimated_without_bias(shape):
    table, fold = experiments(*shape, number=20_000)
    estimated, _ = spread(table, fold)
    assert np.mean(estimated) == pytest.approx(table.mean((1, 2)).var(), rel=0.06)


def test_with_one_seed_the_interval_is_students_over_images():
    table = np.random.default_rng(0).normal(0.2, 0.5, (1, 40))
    ours, students = estimate(gains(table)), ttest_1samp(table[0], 0).confidence_interval()
    assert (ours.low, ours.high) == pytest.approx((students.low, students.high), abs=0.015)


def test_the_p_value_and_the_interval_agree():
    for table in experiments(4, 1, 12, 0.2, 0.2, 0.2, gain=0.25, number=100)[0]:
        found = estimate(gains(table))
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


@given(st.integers(1, 5), st.integers(2, 12), st.integers(0, 9))
def test_equal_gains_everywhere_need_no_statistics(seeds, images, tenths):
    found = estimate(gains(np.full((seeds, images), tenths / 10)))
    assert found.low == pytest.approx(tenths / 10)
    assert found.high == pytest.approx(tenths / 10)
    assert found.p == (1.0 if tenths == 0 else 0.0)


@pytest.mark.parametrize(("seeds", "folds"), [(6, 1), (3, 4), (5, 4)])
def test_the_sign_flip_test_raises_five_false_alarms_in_a_hundred(seeds, folds):
    table, fold = experiments(seeds, folds, 3, 0.3, 0.0, 0.3, number=500)
    alarms = np.mean([sign_flip_test(gains(one, fold), draws=999)[0] <= 0.05 for one in table])
    assert 0.02 <= alarms <= 0.072


def test_the_sign_flip_test_finds_a_gain_larger_than_the_noise_of_runs():
    table, fold = experiments(3, 4, 3, 0.3, 0.0, 0.3, gain=0.4, number=200)
    assert np.mean([sign_flip_test(gains(one, fold))[0] <= 0.05 for one in table]) > 0.9


def test_the_sign_flip_test_does_not_take_images_of_one_run_for_independent():
    table = np.repeat([[0.5], [0.6], [0.4]], 100, axis=1)  # a hundred images, but three runs
    assert sign_flip_test(gains(table)) == (0.25, 0.25)


def test_with_one_seed_the_sign_flip_test_flips_images():
    p, floor = sign_flip_test(gains(np.full((1, 12), 0.3)))
    assert p == floor == 2**-11


def test_the_detectable_gain_is_found_in_four_experiments_of_five():
    table, _ = experiments(5, 1, 12, 0.2, 0.2, 0.2, number=EXPERIMENTS)
    seen = np.median([estimate(gains(one)).detectable() for one in table[:60]])
    low = np.quantile(bootstrap(table + seen, np.zeros(12, int), draws=600), 0.025, axis=-1)
    assert 0.72 <= np.mean(low > 0) <= 0.88


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_lies_between_no_correction_and_bonferroni(p_values):
    corrected = holm(p_values)
    assert all(p <= c <= min(1, len(p_values) * p) + 1e-12 for p, c in zip(p_values, corrected, strict=True))
    assert [c for _, c in sorted(zip(p_values, corrected, strict=True))] == sorted(corrected)
    assert all(c >= bh - 1e-12 for c, bh in zip(corrected, false_discovery_control(p_values), strict=True))


def test_holm_keeps_false_alarms_over_three_starts_below_five_percent():
    tables, fold = experiments(5, 1, 12, 0.2, 0.2, 0.2, number=900)
    means = bootstrap(tables, fold, draws=600)
    p_values = 2 * np.minimum((means <= 0).mean(-1), (means >= 0).mean(-1))
    assert np.mean([min(holm(three)) < 0.05 for three in p_values.reshape(300, 3)]) <= 0.075


# ------------------------------------------------------------------------------------------------------ from rows


def test_gains_are_paired_by_seed_and_image_at_the_last_step():
    table = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    rows = scores(table, step=200) + scores(-table, step=100)
    found = paired_gains(rows[::-1], "ifp")
    order = [found.images.index(name) for name in ("0.png", "1.png")]
    assert found.seeds == (0, 1, 2)
    assert found.table[:, order] == pytest.approx(table)
    assert paired_gains(rows, "ifp", step=100).table == pytest.approx(-table)
    assert paired_gains(rows, "ifp", metric="ssim").table == pytest.approx(table / 100)


def test_a_seed_with_a_missing_run_is_left_out():
    rows = [
        row for row in scores(np.ones((3, 4))) if not (row.seed == 1 and row.start == "ifp" and row.image == "2.png")
    ]
    assert paired_gains(rows, "ifp").seeds == (0, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [row for row in rows if row.start == "ifp"], "never measured at the same step"),
        (lambda rows: [row for row in rows if row.image != "1.png" or row.start == "ifp"], "no seed has a score"),
        (lambda rows: [row._replace(fold=row.seed) for row in rows], "fold"),
        (lambda rows: [row._replace(psnr=float("inf")) for row in rows], "finite"),
        (lambda rows: [row for row in rows if row.image == "0.png"], "at least 2 images"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message):
    with pytest.raises(ValueError, match=message), np.errstate(invalid="ignore"):
        paired_gains(change(scores(np.ones((3, 2)))), "ifp")


def noisy(mean, seeds=5, noise=0.1):
    return mean + noise * np.random.default_rng(1).standard_normal((seeds, 12))


def test_the_verdict_says_what_was_found_in_one_sentence():
    helps, hurts, none = (judge(scores(noisy(mean)), {"ifp": "IFP"})[0] for mean in (0.3, -0.3, 0.0))
    assert str(helps) == "IFP: +0.30 dB [+0.26, +0.33], 5 seeds, 12 images: helps"
    assert str(hurts) == "IFP: -0.30 dB [-0.34, -0.27], 5 seeds, 12 images: hurts"
    assert none.outcome == "open"
    assert str(none).endswith("12 images: no difference found; this experiment could have seen 0.04 dB")


def test_one_seed_is_said_to_give_an_interval_over_images_only():
    assert "12 images, 1 seed (interval over images only)" in str(judge(scores(noisy(0.3, seeds=1)))[0])


def test_several_starts_are_corrected_for():
    borderline = noisy(0.045, noise=0.1)
    alone = judge(scores(borderline))[0]
    assert alone.outcome == "helps"
    crowd = scores(borderline) + [
        row for k in range(4) for row in scores(noisy(0.0), start=f"s{k}") if row.start != "random"
    ]
    verdict = judge(crowd)[0]
    assert verdict.outcome == "open"
    assert "no difference found after correction for 5 starts" in str(verdict)
