"""The tables of a comparison: what was reached, chosen and spent, as rows of cells."""

from collections import Counter

from gesso.metrics import beside, mean_psnr
from gesso.report.comparison import Comparison
from gesso.report.console import duration
from gesso.report.statistics import Estimate


def gain_table(comparison: Comparison) -> list[list[str]]:
    """Header and one row for each start; the gain comes first, for narrow screens show but two columns."""
    header = ["start", "gain (dB), 95 % interval", "PSNR (dB)", "SSIM", "SSIM gain", "p", "p (sign flips)"]
    rows = [
        header,
        [
            comparison.labels[comparison.reference],
            "–",
            cell(comparison, comparison.reference),
            f"{comparison.mean(comparison.reference, 'ssim'):.4f}",
            *"–––",
        ],
    ]
    for verdict in comparison.verdicts:
        start, found = verdict.gains.start, verdict.estimate
        rows.append(
            [
                verdict.label,
                interval(found),
                cell(comparison, start),
                f"{comparison.mean(start, 'ssim'):.4f}",
                f"{comparison.ssim_gains[start].mean:+z.4f}",
                p_value(verdict.p_corrected),
                sign_flips(verdict.p_flip, verdict.p_flip_floor),
            ]
        )
    if any(score.step == 0 for score in comparison.scores):
        starts = [comparison.reference, *(verdict.gains.start for verdict in comparison.verdicts)]
        column = ["no pair (dB)", *map(comparison.before, starts)]
        rows = [[*row[:3], before, *row[3:]] for row, before in zip(rows, column, strict=True)]
    return with_perceptual(comparison, rows)


def with_perceptual(comparison: Comparison, rows: list[list[str]]) -> list[list[str]]:
    """The rows of a table of starts, with a column for each further metric behind them."""
    metrics = dict.fromkeys(name for means in comparison.facts.perceptual.values() for name in means)
    starts = (comparison.reference, *(verdict.gains.start for verdict in comparison.verdicts))
    means = [comparison.facts.perceptual.get(start, {}) for start in starts]
    cells = [[f"{mean[name]:.4f}" if name in mean else "–" for name in metrics] for mean in means]
    return [row + more for row, more in zip(rows, [[name.upper() for name in metrics], *cells], strict=True)]


def cell(comparison: Comparison, start: str) -> str:
    """The mean PSNR of a start, with the number of identical images beside it where there are any."""
    return f"{comparison.mean(start, 'psnr'):.2f}{beside(comparison.last(start))}"


def cost_table(comparison: Comparison) -> list[list[str]]:
    """Header and one row for each start: what they took."""
    rows = [["start", "pre-training", "one fine-tuning run", "both"]]
    for start, name in comparison.labels.items():
        cost = comparison.facts.costs[start]
        before = cost.pretraining
        total = "–" if before is None else duration(before + cost.finetuning)
        rows.append([name, "elsewhere" if before is None else duration(before), duration(cost.finetuning), total])
    return rows


def choice_table(comparison: Comparison) -> list[list[str]]:
    """Header and one row for each start that chose values for itself: mean PSNR of what it tried, and the choices.

    Of several numbers of training pairs the largest is shown.
    """
    rows = [["start", "tried (mean dB on training pairs left out)", "chosen"]]
    for start, name in comparison.labels.items():
        own = [c for c in comparison.facts.choices if (c["arm"], c["count"]) == (start, comparison.facts.pairs)]
        if not own:
            continue
        tried = {words: [c["psnrs"][words] for c in own] for words in own[0]["psnrs"]}
        means = {words: "failed" if None in found else f"{mean_psnr(found):.2f}" for words, found in tried.items()}
        count = Counter(c["best"] for c in own)
        times = {words: f" ({n} of {len(own)} folds)" if len(own) > 1 else "" for words, n in count.most_common()}
        edge = "; the best may lie beyond what was tried" if any(c["at_the_edge"] for c in own) else ""
        cells = (
            "; ".join(f"{words}: {mean}" for words, mean in means.items()),
            ", ".join(map("".join, times.items())),
        )
        rows.append([name, cells[0], cells[1] + edge])
    return rows


def equal_table(comparison: Comparison) -> list[list[str]]:
    """Header and one row for each start at equal total compute."""
    rows = [["start", "steps left", "measured after", "gain (dB), 95 % interval"]]
    for row in comparison.equal_compute:
        if row.gain is None:
            why = "not measured so early" if row.budget else "pre-training alone takes longer"
            rows.append([row.label, str(row.budget), "–", why])
        else:
            rows.append([row.label, str(row.budget), str(row.step), interval(row.gain)])
    return rows


def interval(found: Estimate) -> str:
    """A gain with its interval: `+0.31 [+0.12, +0.49]`."""
    return f"{found.mean:+z.2f} [{found.low:+z.2f}, {found.high:+z.2f}]"


def p_value(p: float) -> str:
    """A p-value in two digits: `0.031`, `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def sign_flips(p: float, floor: float) -> str:
    """A p-value of the sign-flip test, with the smallest that so few runs can give where that says something.

    Example:
        >>> sign_flips(0.25, 0.25), sign_flips(0.0017, 0.0001)
        ('0.25 (≥ 0.25)', '0.0017')
    """
    return p_value(p) if floor < 0.001 else f"{p_value(p)} (≥ {p_value(floor)})"
