# SPDX-License-Identifier: Apache-2.0
"""Statistics of interactions beside a bound or a peer of the same run.

    python bench/bench_statistics.py [--smoke]

1. Strength by order of 1,000 samples: beside one read of the same bytes (np.max), and numpy's sums
   over the coalitions of each order.
2. All indices of a table up to order 2: beside shapiq's ExactComputer for k-SII (where installed).
3. M(delta): beside the papers' dense solve, and where that cannot exist.
4. 1,000 fits of decay and spindle, each by a reference of its own, and all by one of 50 samples.
5. A study of pruning: ten ratios of 100 samples.
"""

import argparse
import time
import warnings
from functools import partial

import numpy as np
from timing import best_seconds, machine, median_seconds

import jaxinter as ji


def strengths(n: int, samples: int, repeats: int) -> None:
    print(f"\n1. order_strength, {samples:,} samples of {n} players; then times that")
    order_of = ji.orders(n)
    rng = np.random.default_rng(0)
    for dtype in (np.float64, np.float32):
        effects = rng.normal(size=(2, samples, 2**n)).astype(dtype)
        zeros = np.zeros(samples)
        result = ji.Interactions(
            *effects, zeros, effects[0], zeros, zeros, zeros, zeros, zeros == 0, zeros
        )

        def by_numpy(effects=effects):
            return [
                np.maximum(sign * effects[..., order_of == m], 0).sum(axis=(0, 2))
                for sign in (1, -1)
                for m in range(1, n + 1)
            ]

        ours = best_seconds(partial(ji.order_strength, result), repeats)
        tau = best_seconds(partial(ji.order_strength, result, 0.5), repeats)
        read = best_seconds(effects.max, repeats)
        slow = best_seconds(by_numpy, 1)
        print(
            f"{np.dtype(dtype).name}: {1e3 * ours:.2f} ms, {effects.nbytes / ours / 1e9:.0f} GB/s; "
            f"with a threshold {tau / ours:.2f}, np.max on one thread {read / ours:.2f}, "
            f"numpy by order {slow / ours:.0f}"
        )


def indices(n: int, repeats: int) -> None:
    from jaxinter.indices import NAMES

    v = np.random.default_rng(0).normal(size=2**n)
    all_of_them = median_seconds(lambda: ji.all_indices(v, max_order=2), repeats)
    one = median_seconds(lambda: ji.index(v, "k-SII", 2), repeats)
    print(f"\n2. {len(NAMES)} indices up to order 2 of one table of {n} players")
    print(f"all: {1e3 * all_of_them:.1f} ms; k-SII alone: {1e3 * one:.2f} ms")
    try:
        import shapiq
    except ImportError as error:
        print(f"shapiq: not measured, {error}")
        return
    powers = 2 ** np.arange(n)
    start = time.perf_counter()
    theirs = shapiq.ExactComputer(lambda masks: v[masks @ powers], n)("k-SII", 2)
    seconds = time.perf_counter() - start
    ours = ji.index(v, "k-SII", 2)
    worst = max(abs(ours[sum(1 << i for i in s)] - x) for s, x in theirs.interactions.items() if s)
    print(
        f"shapiq's ExactComputer, k-SII: {seconds:.2f} s, {seconds / one:,.0f} times k-SII alone, "
        f"{seconds / all_of_them:,.0f} times all; largest difference {worst:.0e}"
    )


def attenuation(n: int, large: int, repeats: int) -> None:
    print(f"\n3. M(delta) of one table of {n} players; dense: solve of 2^{n} x 2^{n}, J^T J given")
    index = np.arange(2**n)
    j = (index[:, None] & index == index).astype(float)
    gram, c = j.T @ j, 2.0 ** (n + ji.orders(n))
    effects = np.random.default_rng(0).normal(size=2**n)
    right = gram @ effects
    for delta in (1e-4, 1e-3):

        def dense(delta=delta):
            return np.linalg.solve(gram + np.diag(c * delta), right)

        ours = best_seconds(lambda delta=delta: ji.attenuate(effects, delta), repeats)
        theirs = best_seconds(dense, 1)
        error = abs(ji.attenuate(effects, delta) - dense()).max()
        print(
            f"delta {delta:g}: {1e6 * ours:.0f} us, dense {theirs / ours:,.0f} times that; "
            f"largest difference {error:.0e}"
        )
    effects = np.random.default_rng(0).normal(size=2**large)
    seconds = best_seconds(lambda: ji.attenuate(effects, 1e-4), min(repeats, 5))
    worn = ji.attenuate(effects, 1e-4)
    normal = ji.superset_zeta(ji.zeta(worn)) + 1e-4 * 2.0 ** (large + ji.orders(large)) * worn
    right = ji.superset_zeta(ji.zeta(effects))
    left_over = np.linalg.norm(normal - right) / np.linalg.norm(right)
    print(
        f"n = {large}: {1e3 * seconds:.0f} ms; relative residual of the normal equations "
        f"{left_over:.0e} (dense: {4.0**large * 8 / 1e12:,.1f} TB)"
    )


def fits(n: int, count: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    own = rng.normal(size=(count, 1, 2, 2**n)) * 0.5 ** ji.orders(n)
    truth = rng.uniform(0.5, 1.2, count), rng.uniform(0.02, 0.2, count)
    deltas = 10 ** rng.uniform(-5.5, -3.2, count)
    bump = ji.spindle(n, *truth)
    print(f"\n4. {count:,} fits of {n} players, 100 values of delta, 111 of alpha")
    for name, reference in (("own references", own), ("one of 50 samples", own[:50, 0])):
        if len(reference) == count and reference.ndim > 4:
            decays = [ji.decay_strength(r, d) for r, d in zip(reference, deltas)]
            sides = [np.stack([getattr(d, s) for d in decays]) for s in ("positive", "negative")]
        else:
            decay = ji.decay_strength(reference, deltas)
            sides = [decay.positive, decay.negative]
        noisy = [side + bump + 1e-4 * rng.normal(size=bump.shape) for side in sides]
        strength = ji.OrderStrength(*(np.maximum(side, 0) for side in noisy))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a fit at the end of its range
            start = time.perf_counter()
            fit = ji.fit_distributions(strength, reference)
            first = time.perf_counter() - start
            seconds = best_seconds(
                lambda s=strength, r=reference: ji.fit_distributions(s, r), repeats
            )
        print(
            f"{name}: {seconds:.2f} s ({first:.1f} s the first time, compilation in it); "
            f"alpha off by {np.median(abs(fit.alpha - truth[0])):.0e} in the median"
        )


def pruning(n: int, samples: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(samples, 2**n))
    original = ji.extract(values, noise_ratio=0.05, tol=1e-2)
    pruned = [ji.extract(values * k, noise_ratio=0.05, tol=1e-2) for k in (0.9, 0.5, 0.2)] * 3
    ratios = np.linspace(0, 0.9, len(pruned))
    call = partial(ji.pruning_series, original, pruned, original, ratios=ratios)
    seconds = median_seconds(call, repeats)
    print(f"\n5. pruning_series, {len(pruned)} ratios of {samples} samples of {n} players")
    print(f"{1e3 * seconds:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="small, few repeats")
    smoke = parser.parse_args().smoke
    print(machine())
    strengths(8 if smoke else 12, 100 if smoke else 1000, 2 if smoke else 20)
    indices(8 if smoke else 16, 2 if smoke else 21)
    attenuation(6 if smoke else 10, 12 if smoke else 20, 2 if smoke else 20)
    fits(6 if smoke else 12, 20 if smoke else 1000, 1 if smoke else 3)
    pruning(6 if smoke else 10, 5 if smoke else 100, 1 if smoke else 5)


if __name__ == "__main__":
    main()
