"""What to know before acting: each rule at both of its sides."""

import numpy as np
import pytest

from gesso.report.advice import find_best, find_rising, reconcile_tests, warn_of_few_seeds, warn_of_rising
from gesso.report.statistics import Score, judge
from tests.report.test_statistics import noisy, scores


def curve(psnrs, start="ifp", image="a.png"):
    """Scores of one seed whose PSNR is given by step."""
    return [Score(0, 0, start, step, image, psnr, 0.5) for step, psnr in psnrs.items()]


@pytest.mark.parametrize(
    ("psnrs", "rise"),
    [
        ({0: 15, 50: 19, 75: 20, 100: 20.11}, 0.11),
        ({0: 15, 50: 19, 75: 20, 100: 20.09}, None),
        ({0: 15, 50: 19, 80: 21, 100: 20}, 1),  # from the last step of the first three quarters
        ({0: 15, 75: 20, 100: 19}, None),
        ({0: 15, 100: 25}, None),  # nothing says how it went
        ({0: 15, 80: 20, 100: 25}, None),
        ({75: float("inf"), 100: float("inf")}, None),
    ],
)
def test_a_curve_rises_where_its_last_quarter_does(psnrs, rise):
    found = find_rising(curve(psnrs), ["ifp", "mfm"])
    assert found == ({} if rise is None else {"ifp": pytest.approx(rise)})


def test_images_that_are_identical_at_one_end_do_not_make_a_curve_rise():
    rows = curve({75: 20, 100: 20}) + curve({75: 40, 100: float("inf")}, image="b.png")
    assert find_rising(rows, ["ifp"]) == {}


def test_curves_that_rise_are_named_with_the_rule():
    assert warn_of_rising({}, {}) == ""
    told = warn_of_rising({"random": 0.25, "ifp": 0.5}, {"random": "random", "ifp": "IFP"})
    assert told == (
        "Still rising at the end: random (+0.25 dB in the last quarter of the steps), IFP (+0.50 dB). "
        "A longer run may end otherwise."
    )


@pytest.mark.parametrize(
    ("seeds", "folds", "said"),
    [
        (1, 1, "One seed is too few"),
        (1, 4, "One seed is too few"),
        (2, 1, "Two seeds are too few here"),
        (2, 2, ""),
        (3, 1, ""),
    ],
)
def test_seeds_are_called_too_few_where_they_are(seeds, folds, said):
    verdicts = judge(scores(noisy(0.3, seeds=seeds), np.arange(12) % folds))
    told = warn_of_few_seeds(verdicts)
    assert told.startswith(said)
    assert bool(told) == bool(said)


CLEAR, NONE = noisy(0.3, seeds=6), noisy(0.0, seeds=6)
SPLIT = np.array([1, 1, 1, 1, 1, -0.2])[:, None] + noisy(0.0, seeds=6)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (CLEAR, "both tests find the difference"),
        (NONE, "neither test finds a difference"),
        (CLEAR[:3], "with so few runs they never fall below 0.25: they neither confirm nor contradict it"),
    ],
)
def test_the_two_tests_are_reconciled_in_one_sentence(table, said):
    (sentence,) = reconcile_tests(judge(scores(table), {"ifp": "IFP"}))
    assert sentence.startswith("IFP: ")
    assert sentence.endswith(f"{said}.")
    assert sentence.count(". ") == 0


def test_sign_flips_that_find_what_p_does_not_do_not_decide():
    (verdict,) = judge(scores(SPLIT + 0.0))
    alone = verdict.__class__(**{**vars(verdict), "p_corrected": 0.2, "p_flip": 0.03, "starts": 3})
    (sentence,) = reconcile_tests([alone])
    assert "sign flips find a difference for these runs; p, corrected for 3 starts, also asks about other" in sentence
    unsure = verdict.__class__(**{**vars(verdict), "p_corrected": 0.03, "p_flip": 0.2, "p_flip_floor": 0.01})
    assert "p finds a difference that sign flips do not confirm" in reconcile_tests([unsure])[0]


def test_starts_of_which_the_same_can_be_said_share_a_sentence():
    rows = scores(CLEAR) + [row for row in scores(-CLEAR, start="mfm") if row.start != "random"]
    assert reconcile_tests(judge(rows)) == ["ifp, mfm: both tests find the difference."]


def test_the_best_start_helps_or_is_the_reference():
    rows = scores(CLEAR) + [row for row in scores(2 * CLEAR, start="mfm") if row.start != "random"]
    assert find_best(judge(rows), "random") == "mfm"
    assert find_best(judge(scores(NONE)), "random") == "random"
    assert find_best(judge(scores(-CLEAR)), "random") == "random"
