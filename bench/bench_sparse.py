# SPDX-License-Identifier: Apache-2.0
"""Sparse extraction with a proof, beside HiGHS, optax Adam and the published SGD.

    python bench/bench_sparse.py [--smoke] [--tables DIR]

`--tables`: a folder of {lstm_sst2,mnist_lenet}_n{12,14}.npz, "values" as in tests/data. Where there
are no real tables of n players, the tables are log-odds of a random MLP ("synthetic").

Ours: wall time of `extract` on a batch of 64 distinct tables over 64, without a tie-break unless
said. Peers are timed on a few of the same tables. HiGHS: the faster, for each table, of simplex and
interior point, both on one thread (from n = 12 the latter alone: the former took over 40 s). Adam:
the best of four learning rates at n = 10, a middle one above. SGD, the published optimiser, with
dense matrices: at n = 12 its time is that of a hundredth of its steps, times 100.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from peers_sparse import adam, highs, published
from timing import machine, median_seconds

import jaxinter as ji

DATA = Path(__file__).parent.parent / "tests" / "data"
ROWS = {"lstm_sst2": 10, "mnist_lenet": 20}  # of 10 players
BATCH, STEPS = 64, 10_000
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
# players, noise ratio, tolerances
CASES = [
    (10, 0.0, (1e-3, 1e-4)),
    (10, 0.02, (1e-3,)),
    (12, 0.0, (1e-3,)),
    (12, 0.02, (1e-3,)),
    (14, 0.0, (1e-3,)),
    (14, 0.02, (1e-2, 1e-3)),
    (16, 0.0, (1e-2, 1e-3)),
]
SMOKE_CASES = [(10, 0.0, (1e-3,)), (10, 0.02, (1e-2,)), (12, 0.0, (1e-2,))]
PEER_ROWS = {10: [0, 5, 10, 20]}  # else the first


def real_tables(folder: Path | None, n: int) -> np.ndarray | None:
    files = [folder / f"{name}_n{n}.npz" for name in ROWS] if folder else []
    found = [np.load(file)["values"] for file in files if file.exists()]
    return np.concatenate(found) if found else None


def distinct(rows: np.ndarray) -> np.ndarray:
    """A batch of the rows, v(N without T) of each, both with players permuted; 4 mixtures.

    Without noise v(N without T) has the optimum of v, AND and OR swapped. With noise it has not:
    the residual that is held at 0 is that of another coalition.
    """
    games, rng = np.concatenate([rows, rows[:, ::-1]]), np.random.default_rng(0)
    n, both = rows.shape[1].bit_length() - 1, games
    while len(games) < BATCH - 4:
        games = np.concatenate([games, permuted(both, rng.permutation(n))])
    return np.concatenate([games[: BATCH - 4], 0.6 * rows[:4] + 0.4 * rows[1:5]])


def permuted(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    axes = values.reshape(len(values), *(2,) * len(order))
    return axes.transpose(0, *(1 + np.asarray(order))).reshape(values.shape)


def synthetic(n: int) -> np.ndarray:
    """A random ReLU network (3 hidden layers of 64) on masked inputs, each table another input."""
    rng = np.random.default_rng(0)
    masks = np.arange(1 << n)[:, None] >> np.arange(n) & 1
    sizes = (n, 64, 64, 64, 1)
    weights = [rng.normal(size=(a, b)) * np.sqrt(2 / a) for a, b in pairwise(sizes)]
    tables = []
    for _ in range(BATCH):
        x = masks * rng.normal(size=n)
        for w in weights[:-1]:
            x = np.maximum(x @ w, 0.0)
        tables.append((x @ weights[-1])[:, 0])
    return np.stack(tables)


def timed(call: Callable) -> tuple[float, ji.Interactions]:
    """Median seconds of 5 calls after the first; of the first alone where that takes long."""
    start = time.perf_counter()
    result = call()
    once = time.perf_counter() - start
    return (once if once > 5 else median_seconds(call, 5)), result


def transform_seconds(values: np.ndarray) -> float:
    """A table, of the plain transform of the whole batch."""
    out = np.empty_like(values)

    def call(times: int = 20) -> None:
        for _ in range(times):
            ji.mobius(values, out=out)

    return median_seconds(call, 11) / 20 / len(values)


def peers(values: np.ndarray, ratio: float, smoke: bool) -> dict[str, tuple[float, np.ndarray]]:
    """Seconds a table, and the L1 strength where each ends (NaN where it has no time to)."""
    n = values.shape[1].bit_length() - 1
    steps, limit = (20, 1.0) if smoke else (STEPS, 60.0)
    w = values - values[:, :1]
    zeta = ratio * np.abs(w[:, -1])
    found = {}
    if n <= 12:
        solvers = ("ds", "ipm") if n <= 10 else ("ipm",)
        runs = [
            [highs(*game, solver, limit) for solver in solvers] for game in zip(w, zeta.tolist())
        ]
        ends, seconds = np.moveaxis(runs, -1, 0)
        found["HiGHS"] = seconds.min(axis=1).mean(), np.fmin.reduce(ends, axis=1)
        few = steps if n <= 10 else max(1, steps // 100)
        try:
            ends, seconds = published(w, zeta, steps=few)
            found["SGD"] = seconds.mean() * steps / few, ends if few == steps else ends * np.nan
        except ImportError:
            print("  published SGD: skipped, torch is not installed")
    rates = RATES if n <= 10 and not smoke else RATES[2:3]
    ends, seconds = zip(*(adam(w, zeta, steps, rate) for rate in rates))
    found["Adam"] = float(np.median(seconds)), np.min(ends, axis=0)
    return found


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.3g} ms" if seconds < 0.9995 else f"{seconds * 1e3:,.0f} ms"


def span(x: np.ndarray) -> str:
    return f"{x.min():.4f} .. {x.max():.4f}" if len(x) > 1 else f"{x[0]:.4f}"


def work(split: ji.Interactions) -> str:
    return (
        f"iterations {np.median(split.iterations):.0f}, at most {split.iterations.max()}, "
        f"gap at most {split.gap.max():.2g}"
    )


def optima(ratio: float) -> np.ndarray:
    """Of the rows of tests/data."""
    recorded = json.loads((DATA / "optima.json").read_text())
    keys = [f"{name}_n10/{row}/{ratio}" for name, rows in ROWS.items() for row in range(rows)]
    return np.array([recorded[key]["primal"] for key in keys])


def batch(n: int, ratio: float, tols: tuple[float, ...], tables: Path | None, smoke: bool) -> None:
    rows = real_tables(DATA if n == 10 else tables, n)
    kind = "synthetic" if rows is None else f"{len(rows)} real ones and made of these"
    values = (synthetic(n) if rows is None else distinct(rows))[: 2 if smoke else BATCH]
    few = [0] if smoke else PEER_ROWS.get(n, [0])
    print(f"n = {n}, noise ratio {ratio:g}: {len(values)} tables, {kind}; {len(few)} for peers")
    others = peers(values[few], ratio, smoke)
    transform = transform_seconds(values)
    for tol in tols:
        solve = partial(ji.extract, noise_ratio=ratio, tol=tol, throw=False)
        batch_seconds, split = timed(partial(solve, values, tie_break=0))
        own = batch_seconds / len(values)
        settling, settled = timed(partial(solve, values))
        alone, _ = timed(lambda s=solve: [s(table, tie_break=0) for table in values[::8]])
        line = (
            f"  to {tol:g}: {milliseconds(own)} a table, {own / transform:,.0f} transforms of "
            f"{transform * 1e6:.3g} us; {work(split)}"
        )
        if n == 10:
            true = optima(ratio)[: len(values)]
            line += f", L1 over the optimum {span(split.primal[: len(true)] / true)}"
        print(line)
        print(
            f"    one table alone {milliseconds(alone / len(values[::8]))}; tie-break settled "
            f"{milliseconds(settling / len(values))} ({np.isnan(settled.tie_break).sum()} not)"
        )
        for name, (seconds, ends) in others.items():
            known = not np.isnan(ends).any()
            least = "" if known or name != "HiGHS" else "more than "  # cut off
            excess = f", L1 over ours {span(ends / split.primal[few])}" if known else ""
            times = f"{seconds / own:,.0f} times ours{excess}"
            print(f"    {name} {least}{milliseconds(seconds)}, {least}{times}")


def warm_starts(values: np.ndarray) -> None:
    print(f"start=, {len(values)} tables of n = 10 to 1e-3: a table, without and with it")
    w = values - values[:, :1]
    noise = np.random.default_rng(0).normal(size=w.shape) * np.abs(w).max(axis=1, keepdims=True)
    noise[:, 0] = 0.0
    for eps in (0.0, 0.1):
        solve = partial(ji.extract, tol=1e-3, tie_break=eps, throw=False)
        for label, v, ratio, before, ratio_before in (
            ("the same again, noise ratio 0.02", values, 0.02, values, 0.02),
            ("noise ratio 0.02 from 0.04", values, 0.02, values, 0.04),
            ("v + 1 % noise from v, noise ratio 0", values + 0.01 * noise, 0.0, values, 0.0),
            ("v + 0.1 % noise from v, noise ratio 0", values + 0.001 * noise, 0.0, values, 0.0),
            ("v + 1 % noise from v, noise ratio 0.02", values + 0.01 * noise, 0.02, values, 0.02),
        ):
            start = solve(before, noise_ratio=ratio_before)
            print(f"  {label}, tie_break={eps:g}")
            for name, given in (("cold", None), ("warm", start)):
                seconds, split = timed(partial(solve, v, noise_ratio=ratio, start=given))
                print(f"    {name} {milliseconds(seconds / len(v))}, {work(split)}")


def joint(values: np.ndarray) -> None:
    pairs = values.reshape(-1, 2, values.shape[1])
    print(f"joint=True, {len(pairs)} pairs of tables of n = 10 to 1e-3, a pair")
    for ratio in (0.0, 0.02):
        solve = partial(ji.extract, noise_ratio=ratio, tol=1e-3, tie_break=0, throw=False)
        apart, _ = timed(partial(solve, values))
        seconds, split = timed(partial(solve, pairs, joint=True))
        print(
            f"  noise ratio {ratio:g}: {milliseconds(seconds / len(pairs))}, "
            f"{seconds / apart:.2f} times both apart; {work(split)}"
        )


def small(values: np.ndarray) -> None:
    """Games of 6 of the 10 players, the others held present or absent."""
    orders = (np.roll(np.arange(10), shift) for shift in (0, 2, 5, 7))
    games = np.concatenate([permuted(values, order).reshape(-1, 64) for order in orders])
    print(f"{len(games):,} tables of n = 6 (parts of those of n = 10) to 1e-4")
    for ratio in (0.0, 0.02):
        solve = partial(ji.extract, games, noise_ratio=ratio, tol=1e-4, throw=False)
        seconds, split = timed(partial(solve, tie_break=0))
        tie_break, _ = timed(solve)
        print(
            f"  noise ratio {ratio:g}: {seconds / len(games) * 1e6:.1f} us a table, with the "
            f"tie-break {tie_break / len(games) * 1e6:.1f}; {work(split)}"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="two tables, few steps")
    parser.add_argument("--tables", type=Path, help="folder of real tables of 12 and 14 players")
    options = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)  # gaps and tie-breaks are in the lines
    print(machine())
    for n, ratio, tols in SMOKE_CASES if options.smoke else CASES:
        batch(n, ratio, tols, options.tables, options.smoke)
    values = distinct(real_tables(DATA, 10))[: 2 if options.smoke else BATCH]
    warm_starts(values)
    joint(values)
    small(values)


if __name__ == "__main__":
    main()
