"""How often the interval of `gesso compare` holds the truth, how often its tests cry wolf, and what they find.

    python benchmarks/coverage.py [EXPERIMENTS]

Simulated gains are run + image + residual with the standard deviations (dB) in the table; `skewed` draws images and
residuals from an exponential distribution. Small real comparisons
had 0.05 to 0.3 dB between runs and 0.1 to 0.5 dB between images. Prints Markdown; 1600 experiments take two minutes.
"""

import sys

import numpy as np

from gesso.report.statistics import Gains, bootstrap, sign_flip_test

SHAPES = [
    (3, 1, 12),
    (5, 1, 12),
    (10, 1, 12),
    (3, 1, 100),
    (3, 4, 3),
    (5, 4, 5),
    (3, 10, 1),
    (3, 1, 4),
    (2, 1, 12),
    (1, 1, 12),
]
DEVIATIONS = [(0.3, 0.3, 0.3), (0.1, 0.5, 0.2), (0.3, 0.1, 0.1), (0.0, 0.3, 0.2), (0.0, 0.0, 0.3)]


def simulate(shape, deviations, number, random, skewed=False):
    seeds, folds, per_fold = shape
    runs, images, residual = deviations
    fold = np.repeat(np.arange(folds), per_fold)

    def draw(*size):
        return random.exponential(size=size) - 1 if skewed else random.standard_normal(size)

    of_runs = runs * random.standard_normal((number, seeds, folds))[..., fold]
    return of_runs + images * draw(number, 1, len(fold)) + residual * draw(number, seeds, len(fold)), fold


def coverage(table, fold):
    """Share of intervals that hold 0, and their median width."""
    low, high = np.concatenate(
        [np.quantile(bootstrap(part, fold, draws=1000), [0.025, 0.975], axis=-1) for part in np.split(table, 8)], axis=1
    )
    return np.mean((low <= 0) & (high >= 0)), np.median(high - low)


def plain_percentile(table, random, draws=500):
    """Share of intervals that hold 0 when seeds and images are resampled and nothing else is done."""
    of_seeds, of_images = (random.multinomial(n, np.full(n, 1 / n), draws) / n for n in table.shape[1:])
    low, high = np.quantile(((of_seeds @ table) * of_images).sum(-1), [0.025, 0.975], axis=1)
    return np.mean((low <= 0) & (high >= 0))


def false_alarms(shape, random, number=600):
    """Share of experiments in which the start changes nothing and the sign-flip test says p <= 0.05."""
    table, fold = simulate(shape, (0.2, 0.0, 0.3), number, random)
    seeds, images = table.shape[1:]
    names = tuple(map(str, range(images)))
    gains = (Gains("start", "psnr", one, tuple(range(seeds)), names, fold) for one in table)
    return np.mean([sign_flip_test(each, draws=999)[0] <= 0.05 for each in gains])


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1600
    random = np.random.default_rng(0)
    print(
        "| seeds x folds x images | runs, images, residual (dB) | coverage | skewed | plain percentile | width (dB) |"
    )
    print("|---|---|---|---|---|---|")
    for shape in SHAPES:
        for deviations in DEVIATIONS:
            table, fold = simulate(shape, deviations, number, random)
            skewed, _ = simulate(shape, deviations, number, random, skewed=True)
            holds, width = coverage(table, fold)
            print(
                f"| {' x '.join(map(str, shape))} | {', '.join(map(str, deviations))} | {holds:.1%} "
                f"| {coverage(skewed, fold)[0]:.1%} | {plain_percentile(table[:1000], random):.1%} | {width:.2f} |",
                flush=True,
            )
    print("\n| seeds x folds x images | false alarms of the sign-flip test |\n|---|---|")
    for shape in [(5, 1, 12), (6, 1, 12), (3, 4, 3), (5, 4, 5), (1, 1, 12)]:
        print(f"| {' x '.join(map(str, shape))} | {false_alarms(shape, random):.1%} |", flush=True)


if __name__ == "__main__":
    main()
