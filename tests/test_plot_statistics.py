# SPDX-License-Identifier: Apache-2.0
"""Figures of strengths, pruning, fits and curves: what is drawn, against the numbers."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import colors, pyplot
from matplotlib.collections import PolyCollection

import jaxinter as ji
from figures import all_apart
from jaxinter.plot import NEGATIVE, POSITIVE

N = 5
NAN = float("nan")


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


def strengths(rng, *batch, n=N):
    return ji.OrderStrength(rng.random((*batch, n)), rng.random((*batch, n)))


def heights(ax):
    """Bars, in groups of one colour, ``[groups, n]``."""
    return np.array([[bar.get_height() for bar in group] for group in ax.containers])


def signed(strength):
    return np.stack([strength.positive, -strength.negative])


def grey(colour):
    """Luma, as printers and `convert -colorspace gray` have it."""
    return float(np.dot(colors.to_rgb(colour), (0.299, 0.587, 0.114)))


def lines(ax):
    """label -> y, of the labelled ones."""
    named = {line.get_label(): line.get_ydata() for line in ax.lines}
    return {label: y for label, y in named.items() if not label.startswith("_")}


def legend(owner):
    return [text.get_text() for text in owner.get_texts()]


def nothing_overlaps(figure):
    """Titles, labels and legends, drawn, do not lie on each other, nor beyond the figure."""
    figure.canvas.draw()
    texts = [t for ax in figure.axes for t in (ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts)]
    texts += [t for ax in figure.axes if ax.get_legend() for t in ax.get_legend().get_texts()]
    texts += [t for one in figure.legends for t in one.get_texts()]
    for ax in figure.axes:
        low, high = ax.get_xlim()
        shown = ax.xaxis.get_major_ticks() if ax.xaxis.get_visible() else []
        texts += [tick.label1 for tick in shown if low <= tick.get_loc() <= high]
    texts = [t for t in texts if t.get_text() and t.get_visible()]
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts]
    all_apart(figure, boxes)


# --- strength by order


def test_a_part_stands_inside_the_whole(rng):
    strength = strengths(rng, 3)
    part = ji.OrderStrength(strength.positive / 2, strength.negative / 4)
    ax = ji.plot.order_strength(strength, part=part, part_label="preserved")
    whole = signed(strength.mean())
    np.testing.assert_allclose(heights(ax), [*whole, *signed(part.mean())])
    assert legend(ax.get_legend()) == [
        "positive, all", "negative, all", "positive, preserved", "negative, preserved"
    ]  # fmt: skip
    outer, _, inner, _ = ax.containers
    for a, b in zip(outer, inner):
        assert a.get_x() < b.get_x() and b.get_x() + b.get_width() < a.get_x() + a.get_width()
    nothing_overlaps(ax.figure)


def test_whole_part_and_signs_differ_in_grey(rng):
    ax = ji.plot.order_strength(strengths(rng), part=strengths(rng))
    shades = [grey(group[0].get_facecolor()[:3]) for group in ax.containers]
    whole, part = shades[:2], shades[2:]
    assert abs(part[0] - part[1]) > 0.2  # the signs
    assert min(whole) - max(part) > 0.15 and max(whole) < 0.95  # and all stand out from white
    edges = [colors.to_hex(group[0].get_edgecolor()).upper() for group in ax.containers[:2]]
    assert edges == [POSITIVE, NEGATIVE]


def test_bars_without_a_part_are_full(rng):
    ax = ji.plot.order_strength(strengths(rng))
    drawn = [colors.to_hex(group[0].get_facecolor()).upper() for group in ax.containers]
    assert drawn == [POSITIVE, NEGATIVE]
    assert legend(ax.get_legend()) == ["positive: for the output", "negative: against it"]
    nothing_overlaps(ax.figure)


@pytest.mark.parametrize("n", [0, 1, 3, 10, 20, 30])
def test_any_number_of_orders(n, rng):
    ax = ji.plot.order_strength(strengths(rng, 2, n=n), part=strengths(rng, n=n))
    nothing_overlaps(ax.figure)
    assert set(ax.get_xticks()) <= set(range(1, n + 1))
    low, high = ax.get_xlim()
    assert low < 1 and high > n


def test_strengths_of_a_given_axes_and_of_other_arrays(torch, rng):
    given = pyplot.subplots()[1]
    strength = strengths(rng, 2)
    tensors = ji.OrderStrength(torch.tensor(strength.positive), torch.tensor(strength.negative))
    assert ji.plot.order_strength(tensors, given) is given
    np.testing.assert_allclose(heights(given), signed(strength.mean()))


def test_a_nan_is_a_bar_left_out(rng):
    strength = strengths(rng)
    strength.positive[1] = NAN
    ax = ji.plot.order_strength(strength, part=strength)
    ax.figure.canvas.draw()
    assert np.isfinite(ax.get_ylim()).all()


# --- pruning


RATIOS = [0.0, 1.21, 14.65, 39.68]


def series_of(rng, ratios=RATIOS, accuracy=True, n=N, **changes):
    k = len(ratios)
    whole, new = strengths(rng, k, n=n), strengths(rng, k, n=n)
    half = ji.OrderStrength(whole.positive / 2, whole.negative / 2)
    series = ji.PruningSeries(
        ratios=np.asarray(ratios),
        accuracy=np.linspace(0.9, 0.1, k) if accuracy else None,
        low=3,
        pair_mode="fixed",
        rho_low=np.linspace(1, 0.6, k),
        rho_high=np.linspace(1, 0.1, k),
        removed=np.linspace(0, 8, k),
        removed_generalizable=np.linspace(0, 2, k),
        salient=np.full(k, 10.0),
        efficiency=np.full(k - 1, 0.75),
        original=whole,
        generalizable=half,
        preserved=ji.OrderStrength(whole.positive / 3, whole.negative / 3),
        emerged=new,
        emerged_generalizable=ji.OrderStrength(new.positive / 4, new.negative / 4),
    )
    return replace(series, **changes)


WHOLE_AND_PART = {
    "preserved": ("original", "preserved"),
    "emerged": ("emerged", "emerged_generalizable"),
    "generalizable": ("original", "generalizable"),
}


@pytest.mark.parametrize("which", WHOLE_AND_PART)
def test_a_panel_a_ratio(which, rng):
    series = series_of(rng)
    axes = ji.plot.pruning_orders(series, which=which)
    assert len(axes) == 4
    for i, ax in enumerate(axes):
        whole, part = (getattr(series, name)[i] for name in WHOLE_AND_PART[which])
        np.testing.assert_allclose(heights(ax), [*signed(whole), *signed(part)])
    assert len({ax.get_ylim() for ax in axes}) == 1
    low, high = axes[0].get_ylim()
    everything = getattr(series, WHOLE_AND_PART[which][0])
    assert low < -everything.negative.max() and high > everything.positive.max()
    titles = [ax.get_title() for ax in axes]
    assert titles[:2] == ["pruned: 0 %\naccuracy 90.0 %", "pruned: 1.21 %\naccuracy 63.3 %"]
    [figure_legend] = axes[0].figure.legends
    assert legend(figure_legend)[3].startswith("negative, ")
    nothing_overlaps(axes[0].figure)


def test_some_ratios_on_given_axes(rng):
    series = series_of(rng, accuracy=False)
    figure, row = pyplot.subplots(1, 2, layout="constrained")
    assert ji.plot.pruning_orders(series, row, ratios=[39.68, 1.21]) is row
    assert [ax.get_title() for ax in row] == ["pruned: 39.68 %", "pruned: 1.21 %"]
    np.testing.assert_allclose(heights(row[0])[:2], signed(series.original[3]))
    assert row[0].get_ylabel() and not row[1].get_ylabel()
    assert not figure.legends
    stacked = pyplot.subplots(2, 1)[1]
    ji.plot.pruning_orders(series, stacked, ratios=[0, 1.21])
    assert all(ax.get_ylabel() for ax in stacked)
    assert [bool(ax.get_xlabel()) for ax in stacked] == [False, True]
    loose = pyplot.figure().add_axes((0, 0, 1, 1))
    ji.plot.pruning_orders(series, loose, ratios=[0])
    assert loose.get_xlabel() and loose.get_ylabel()


def test_one_panel_alone(rng):
    [ax] = ji.plot.pruning_orders(series_of(rng, n=10), which="generalizable", ratios=[0])
    nothing_overlaps(ax.figure)


def test_many_ratios_go_on_in_the_next_row(rng):
    axes = ji.plot.pruning_orders(series_of(rng, np.arange(1.0, 8.0), n=10))
    places = [ax.get_subplotspec() for ax in axes]
    assert {place.get_gridspec().get_geometry() for place in places} == {(2, 4)}
    # The fourth of the first row has none below, and so the label.
    assert [bool(ax.get_xlabel()) for ax in axes] == [False] * 3 + [True] * 4
    nothing_overlaps(axes[0].figure)


@pytest.mark.parametrize(
    ("ratios", "title"), [([0.1, 0.5], "pruned: 0.1"), ([0.5, 200.0], "pruned: 0.5")]
)
def test_ratios_that_are_no_percentages_are_shown_as_given(ratios, title, rng):
    series = series_of(rng, ratios, accuracy=False)
    assert ji.plot.pruning_orders(series)[0].get_title() == title
    assert ji.plot.pruning_ratios(series).get_xlabel() == "pruning ratio"


def test_lines_over_the_ratios(rng):
    series = series_of(rng)
    ax = ji.plot.pruning_ratios(series)
    drawn = list(lines(ax).values())
    for y, expected in zip(drawn, (series.rho_low, series.rho_high, series.accuracy), strict=True):
        np.testing.assert_array_equal(y, expected)
    for line in ax.lines:
        np.testing.assert_array_equal(line.get_xdata(), series.ratios)
    assert len({line.get_marker() for line in ax.lines}) == 3
    assert len({str(line._dash_pattern) for line in ax.lines}) == 3
    assert ax.get_xlabel() == "pruning ratio (%)"
    assert ax.get_legend()._ncols == 3
    nothing_overlaps(ax.figure)
    assert len(lines(ji.plot.pruning_ratios(series_of(rng, accuracy=False)))) == 2


def phases_of(*edges, efficiency=(0.92, 0.78, 0.38)):
    return ji.PruningPhases(np.zeros(4, int), np.array(edges), np.array(efficiency))


@pytest.mark.parametrize(
    "edges", [(0.0, 14.65, 20.0, 39.68), (0.0, 0.1, 0.2, 39.68), (0.0, 39.5, 39.6, 39.68)]
)
def test_phases_are_bands_with_texts_apart(edges, rng):
    ax = ji.plot.pruning_ratios(series_of(rng), phases=phases_of(*edges))
    bands = [(band.get_x(), band.get_x() + band.get_width()) for band in ax.patches]
    np.testing.assert_allclose(bands, list(itertools.pairwise(edges)))
    texts = [text.get_text() for text in ax.texts]
    assert [text.split("e = ")[1] for text in texts] == ["0.92", "0.78", "0.38"]
    assert all(text.startswith(f"phase {k}: ") for k, text in enumerate(texts, 1))
    nothing_overlaps(ax.figure)


def test_texts_are_shorter_where_there_is_little_room(rng):
    given = pyplot.subplots(2, 3, figsize=(10, 7), layout="constrained")[1]
    ji.plot.pruning_ratios(series_of(rng), given[0, 0], phases=phases_of(0.0, 14.65, 20.0, 39.68))
    assert given[0, 0].texts[0].get_text() == "phase 1\ne = 0.92"
    strength = strengths(rng, n=10)
    ji.plot.order_strength(strength, given[0, 1], part=strength)
    assert given[0, 1].get_xlabel() == "order"
    nothing_overlaps(given[0, 0].figure)


def test_phases_that_are_not_there_have_no_band(rng):
    phases = phases_of(0.0, 0.0, 39.68, 39.68, efficiency=(NAN, NAN, NAN))
    ax = ji.plot.pruning_ratios(series_of(rng), phases=phases)
    assert [text.get_text() for text in ax.texts] == ["phase 2: 0 to 39.68 %\ne = unknown"]
    assert len(ax.patches) == 1
    nowhere = phases_of(0.0, 0.0, 0.0, 0.0, efficiency=(NAN, NAN, NAN))
    assert not ji.plot.pruning_ratios(series_of(rng, [0.0]), phases=nowhere).texts


def test_a_series_with_holes(rng):
    zeros = ji.OrderStrength(np.zeros((4, N)), np.zeros((4, N)))
    series = series_of(
        rng, rho_low=np.array([1, NAN, 0.5, NAN]), rho_high=np.full(4, NAN), emerged=zeros,
        emerged_generalizable=zeros,
    )  # fmt: skip
    ax = ji.plot.pruning_ratios(series)
    assert ["(none salient)" in text for text in legend(ax.get_legend())] == [False, True, False]
    axes = ji.plot.pruning_orders(series, which="emerged")
    nothing_overlaps(axes[0].figure)


def test_a_real_series():
    v = np.array([[0.0, 1.0, 2.0, 5.0]])
    a, *pruned = (ji.extract(share * v, tie_break=0) for share in (1.0, 1.0, 0.5, 0.0))
    series = ji.pruning_series(a, pruned, a, ratios=[0, 50, 100], accuracy=[0.9, 0.6, 0.1])
    assert np.isnan(series.rho_high).all()
    ji.plot.pruning_ratios(series, phases=series.phases()).figure.canvas.draw()
    for which in WHOLE_AND_PART:
        ji.plot.pruning_orders(series, which=which)[0].figure.canvas.draw()


# --- decay and spindle


@pytest.fixture(scope="module")
def fits():
    """Three fits: a decay with more and more of a spindle."""
    last = np.random.default_rng(0).normal(size=(4, 2, 1 << N)) * 0.5 ** ji.orders(N)
    decay = ji.decay_strength(last, 3e-3)
    noise = ji.spindle(N, 0.9, np.array([0.01, 0.05, 0.1]))
    wiggle = 1 + 0.05 * np.cos(np.arange(N))
    strength = ji.OrderStrength(decay.positive + noise * wiggle, decay.negative + noise)
    return ji.fit_distributions(strength, last, delta_max=0.1, reference_name="the $last$ epoch")


def spindles(*sizes):
    noise = ji.spindle(N, 0.9, np.array(sizes))
    return ji.fit_distributions(ji.OrderStrength(noise, noise), parts="spindle")


def test_a_row_a_fit_a_column_a_part(fits):
    axes = ji.plot.distributions(fits, titles=["a", "b $c", "d"])
    assert axes.shape == (3, 4)
    for row, one in zip(axes, fits):
        for ax, name in zip(row, ("strength", "decay", "spindle", "residual")):
            np.testing.assert_allclose(heights(ax), signed(getattr(one, name)))
        drawn = [line.get_ydata() for line in row[0].lines if len(line.get_ydata()) == N]
        np.testing.assert_allclose(drawn, signed(one.decay) + signed(one.spindle))
    assert len({ax.get_ylim() for ax in axes.ravel()}) == 1
    titles = [[ax.get_title() for ax in row] for row in axes]
    assert "the $last$ epoch" in titles[0][1].replace("\n", " ")
    for row, one in zip(titles, fits):
        for at, name, letter in ((1, "gamma", "γ"), (1, "delta", "δ"), (2, "beta", "β")):  # noqa: RUF001
            assert f"{letter} {getattr(one, name):.3g}" in row[at]
        assert row[3].endswith(f"relative {100 * one.relative_residual:.2g} %")
    labels = [row[0].get_ylabel() for row in axes]
    assert labels == ["a\n(log-odds)", "b $c\n(log-odds)", "d\n(log-odds)"]
    assert "decay + spindle" in legend(axes[0, 0].figure.legends[0])
    nothing_overlaps(axes[0, 0].figure)


def test_one_fit(fits):
    axes = ji.plot.distributions(fits[1], unit="logit")
    assert axes.shape == (1, 4)
    np.testing.assert_allclose(heights(axes[0, 2]), signed(fits[1].spindle))
    assert axes[0, 0].get_ylabel() == "summed effects\n(logit)"
    nothing_overlaps(axes[0, 0].figure)


def test_fits_by_the_spindle_alone_have_no_decay():
    fit = spindles(0.01, 1.0)
    axes = ji.plot.distributions(fit)
    assert [ax.get_title().split("\n")[0] for ax in axes[0]] == [
        "measured", "spindle", "|measured less fitted|"
    ]  # fmt: skip
    # The first would vanish beside the second: each row has a range of its own.
    ranges = [{ax.get_ylim() for ax in row} for row in axes]
    assert [len(r) for r in ranges] == [1, 1] and ranges[0] != ranges[1]
    assert axes[1, 0].get_ylim()[1] > 20 * axes[0, 0].get_ylim()[1]
    assert legend(axes[0, 0].figure.legends[0])[-1] == "the spindle"
    assert axes[1, 2].get_title() == "relative < 0.01 %"


def test_a_parameter_at_the_end_of_its_range_is_said_to_be():
    noise = ji.spindle(N, 1.3, 0.1)
    with pytest.warns(UserWarning, match="alpha of 1 of 1 fits"):
        fit = ji.fit_distributions(
            ji.OrderStrength(noise, noise), parts="spindle", alpha_range=(0.5, 1.0)
        )
    assert "1 (end of range)" in ji.plot.distributions(fit)[0, 1].get_title()


def test_fits_on_given_axes(fits):
    figure, grid = pyplot.subplots(3, 4)
    assert ji.plot.distributions(fits, grid) is grid
    assert not figure.legends
    np.testing.assert_allclose(heights(grid[2, 1]), signed(fits[2].decay))


def test_a_column_a_checkpoint(fits):
    gap, accuracy = [0.0, NAN, 0.4], [0.1, 0.5, 0.9]
    axes = ji.plot.checkpoints(fits, labels=[1, "$ten", 100], gap=gap, accuracy=accuracy)
    assert len(axes) == 10
    panels = axes[:9].reshape(3, 3)
    for column, one in zip(panels.T, fits):
        for ax, name in zip(column, ("strength", "decay", "spindle")):
            np.testing.assert_allclose(heights(ax), signed(getattr(one, name)))
    assert len({ax.get_ylim() for ax in panels.ravel()}) == 1
    assert [ax.get_title().split("\n")[0] for ax in panels[0]] == ["1", "$ten", "100"]
    below = axes[9]
    assert [label.get_text() for label in below.get_xticklabels()] == ["1", "$ten", "100"]
    [twin] = [ax for ax in below.figure.axes if ax not in set(axes)]
    np.testing.assert_array_equal(lines(below)["loss gap"], gap)
    np.testing.assert_allclose(lines(twin)["spindle's share"], fits.spindle_share)
    np.testing.assert_array_equal(lines(twin)["accuracy"], accuracy)
    assert legend(twin.get_legend()) == ["loss gap", "spindle's share", "accuracy"]
    markers = [line.get_marker() for ax in (below, twin) for line in ax.lines]
    assert {"o", "s", "^"} <= set(markers)
    nothing_overlaps(below.figure)
    # A point of the lines is below the middle of its column.
    middles = [sum(ax.get_window_extent().intervalx) / 2 for ax in panels[0]]
    points = below.transData.transform([(i, 0) for i in range(3)])[:, 0]
    width = panels[0, 0].get_window_extent().width
    np.testing.assert_allclose(points, middles, atol=0.1 * width)


def test_checkpoints_without_lines_and_with_shares_alone(fits):
    assert len(ji.plot.checkpoints(fits, labels=list("abc"))) == 9
    axes = ji.plot.checkpoints(fits, labels=list("abc"), accuracy=[0.1, 0.5, 0.9])
    assert list(lines(axes[-1])) == ["spindle's share", "accuracy"]
    assert set(axes) == set(axes[-1].figure.axes)  # no twin
    nothing_overlaps(axes[-1].figure)
    assert len(ji.plot.checkpoints(spindles(0.1, 0.2), labels=[1, 2])) == 4
    figure, grid = pyplot.subplots(3, 3)
    assert ji.plot.checkpoints(fits, grid, labels=[1, 2, 3]) is grid
    assert not figure.legends


# --- lines


def jaccard_of(*per_class, classes=("a", "b")):
    table = np.array(per_class, float)
    known = ~np.isnan(table)
    mean = np.where(known, table, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    mean = np.where(known.any(axis=0), mean, NAN)
    return ji.JaccardByOrder(mean, table, np.array(classes))


def test_similarity_by_order(rng):
    one = jaccard_of([0.9, 0.5, NAN], [0.7, NAN, NAN])
    ax = ji.plot.jaccard(one, label="one")
    thin, thick = ax.lines[:2], ax.lines[2]
    for line, expected in zip(thin, one.per_class):
        np.testing.assert_array_equal(line.get_ydata(), expected)
        assert line.get_linewidth() < thick.get_linewidth() / 2
    np.testing.assert_allclose(thick.get_ydata(), [0.8, 0.5, NAN])
    assert not [label for label in legend(ax.get_legend()) if label.startswith("_")]
    ax.figure.canvas.draw()


def test_several_on_one_axes_differ(rng):
    ax = None
    for label in "abc":
        ax = ji.plot.jaccard(jaccard_of(rng.random(4), classes="a"), ax, label=label)
    assert legend(ax.get_legend()) == list("abc")
    assert len(ax.lines) == 3  # one class is its own mean
    for look in ("marker", "color"):
        assert len({getattr(line, f"get_{look}")() for line in ax.lines}) == 3
    assert len({str(line._dash_pattern) for line in ax.lines}) == 3
    nothing_overlaps(ax.figure)


def bands(ax):
    """The y of each band, its least and its most at each x."""
    found = []
    for band in ax.collections:
        assert isinstance(band, PolyCollection)
        x, y = band.get_paths()[0].vertices.T
        found.append([(y[x == at].min(), y[x == at].max()) for at in np.unique(x)])
    return np.array(found)


def test_sparsity_is_a_median_in_a_band(rng):
    strength = -np.sort(-np.exp(rng.normal(size=(11, 62))), axis=-1)
    curve = ji.SparsityCurve(strength)
    ax = ji.plot.sparsity_curve(curve, label="a")
    [line] = ax.lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 63))
    np.testing.assert_allclose(line.get_ydata(), np.median(strength, axis=0))
    np.testing.assert_allclose(bands(ax)[0].T, np.quantile(strength, [0.1, 0.9], axis=0))
    assert ax.get_xscale() == ax.get_yscale() == "log"
    share = ji.plot.sparsity_curve(curve, share=True)
    np.testing.assert_allclose(share.lines[0].get_ydata(), np.median(curve.cumulative, axis=0))
    assert share.get_yscale() == "linear"
    one = ji.plot.sparsity_curve(curve[0])
    assert not one.collections and not one.get_legend()


def test_zeros_leave_a_logarithmic_axes_at_its_bottom():
    ax = ji.plot.sparsity_curve(ji.SparsityCurve(np.array([[2.0, 1.0, 1e-9, 0.0]] * 2)))
    bottom, top = ax.get_ylim()
    assert bottom == pytest.approx(2e-4) and 2 < top < 10
    assert (ax.lines[0].get_ydata()[2:] < bottom).all()
    ji.plot.sparsity_curve(ji.SparsityCurve(np.array([30.0, 20.0, 1.0, 0.0])), ax)
    assert ax.get_ylim()[1] > 30 and ax.get_ylim()[0] == pytest.approx(3e-3)


@pytest.mark.parametrize(
    "strength", [np.zeros((2, 6)), np.zeros(0), np.full((2, 6), NAN), np.zeros((0, 6))]
)
@pytest.mark.parametrize("share", [True, False])
def test_sparsity_of_nothing(strength, share):
    ji.plot.sparsity_curve(ji.SparsityCurve(strength), share=share).figure.canvas.draw()


def test_many_effects_are_a_line_of_few_points():
    ax = ji.plot.sparsity_curve(ji.SparsityCurve(np.geomspace(1, 1e-3, 1 << 14)))
    x = ax.lines[0].get_xdata()
    assert len(x) <= 300 and x[0] == 1 and x[-1] == 1 << 14


def test_matching_is_a_median_in_a_band_over_the_counts():
    errors = np.array([[1.0, 0.1, 0.6], [1.0, 0.3, 0.8], [1.0, np.inf, 0.7], [1.0, np.inf, 0.7]])
    ax = ji.plot.matching_curve(ji.MatchingCurve(np.array([0, 10, 2]), errors), label="a")
    [line] = ax.lines
    np.testing.assert_array_equal(line.get_xdata(), [2, 10])
    np.testing.assert_allclose(line.get_ydata(), [0.7, 0.2])
    expected = np.quantile([0.1, 0.3], [0.1, 0.9])
    np.testing.assert_allclose(bands(ax)[0][1], expected)
    assert ax.get_xscale() == "log" and ax.get_ylim()[0] == 0
    ji.plot.matching_curve(ji.MatchingCurve(np.array([2, 10]), np.array([5.0, 4.0])), ax)
    assert ax.get_ylim()[1] > 5 and ax.get_ylim()[0] == 0


@pytest.mark.parametrize(
    ("counts", "errors"), [([0], [[1.0]]), ([], []), ([1, 2], [[np.inf, np.inf]] * 2)]
)
def test_matching_of_nothing(counts, errors):
    curve = ji.MatchingCurve(np.array(counts, int), np.array(errors))
    ji.plot.matching_curve(curve).figure.canvas.draw()


def test_curves_of_real_tables(table):
    result = ji.extract(table[:3], tol=1e-2)
    ax = ji.plot.sparsity_curve(ji.sparsity_curve(result))
    expected = ji.sparsity_curve(result).strength.max(axis=-1)
    assert ax.lines[0].get_ydata()[0] == pytest.approx(np.median(expected))
    ax = ji.plot.matching_curve(ji.matching_curve(result))
    assert ax.lines[0].get_ydata()[-1] < 0.05


# --- errors

RNG = np.random.default_rng(1)
SERIES, STRENGTH, CURVE = series_of(RNG), strengths(RNG), ji.SparsityCurve(np.ones(6))
TWO = spindles(0.1, 0.2)
PLOT = ji.plot
BAD_CALLS = [
    (lambda: PLOT.distributions(TWO[:0]), ValueError, r"at least one fit; got .* shape \(0,\)"),
    (
        lambda: PLOT.order_strength(SERIES),
        TypeError,
        r"strength must be an OrderStrength; got PruningSeries. Use ji.order_strength",
    ),
    (
        lambda: PLOT.order_strength(STRENGTH, part=np.ones(N)),
        TypeError,
        r"part must be an OrderStrength; got ndarray",
    ),
    (
        lambda: PLOT.order_strength(STRENGTH, part=strengths(RNG, n=4)),
        ValueError,
        r"part must have orders 1 to 5; got 1 to 4",
    ),
    (
        lambda: PLOT.order_strength(strengths(RNG, 0)),
        ValueError,
        r"strength must hold a sample; got a batch of shape \(0,\)",
    ),
    (
        lambda: PLOT.pruning_orders(STRENGTH),
        TypeError,
        r"series must be a PruningSeries; got .* Use ji.pruning_series",
    ),
    (
        lambda: PLOT.pruning_orders(SERIES, which="removed"),
        ValueError,
        r"which must be one of \('preserved', .*\); got 'removed'",
    ),
    (
        lambda: PLOT.pruning_orders(SERIES, ratios=[2.0]),
        ValueError,
        r"ratios must be some of the series', \[0.0, 1.21, .*\]; got \[2.0\]",
    ),
    (
        lambda: PLOT.pruning_orders(SERIES, ratios=[]),
        ValueError,
        r"ratios must be some of the series'",
    ),
    (
        lambda: PLOT.pruning_orders(SERIES, ratios=0.0),
        ValueError,
        r"ratios must be some of the series'",
    ),
    (
        lambda: PLOT.pruning_orders(SERIES, pyplot.subplots(3)[1]),
        ValueError,
        r"axes must be 4, one a panel; got 3",
    ),
    (
        lambda: PLOT.pruning_ratios(STRENGTH),
        TypeError,
        r"pruning_ratios: series must be a PruningSeries",
    ),
    (
        lambda: PLOT.pruning_ratios(SERIES, phases=True),
        TypeError,
        r"phases must be PruningPhases; got bool. Use series.phases\(\)",
    ),
    (
        lambda: PLOT.distributions(STRENGTH),
        TypeError,
        r"fit must be FittedDistributions; got .* Use ji.fit_distributions",
    ),
    (
        lambda: PLOT.distributions(TWO, titles=["a"]),
        ValueError,
        r"titles must be one for each of 2 fits; got 1",
    ),
    (
        lambda: PLOT.distributions(TWO, titles="ab"),
        ValueError,
        r"titles must be one for each of 2 fits; got 'ab'",
    ),
    (
        lambda: PLOT.distributions(TWO, pyplot.subplots(2)[1]),
        ValueError,
        r"axes must be 6, one a panel; got 2",
    ),
    (
        lambda: PLOT.checkpoints(TWO[0], labels=["a"]),
        ValueError,
        r"fit must be a batch of fits, one a checkpoint; got one fit",
    ),
    (
        lambda: PLOT.checkpoints(TWO, labels=["a"]),
        ValueError,
        r"labels must be one for each of 2 fits; got 1",
    ),
    (
        lambda: PLOT.checkpoints(TWO, labels=None),
        ValueError,
        r"labels must be one for each of 2 fits; got None",
    ),
    (
        lambda: PLOT.checkpoints(TWO, labels=[1, 2], gap=[0.1]),
        ValueError,
        r"gap must be one number for each .*; got shape \(1,\)",
    ),
    (
        lambda: PLOT.checkpoints(TWO, labels=[1, 2], accuracy=0.5),
        ValueError,
        r"accuracy must be one number .*; got shape \(\)",
    ),
    (
        lambda: PLOT.jaccard(np.ones(3)),
        TypeError,
        r"similarity must be a JaccardByOrder; got ndarray. Use ji.jaccard_by_order",
    ),
    (
        lambda: PLOT.sparsity_curve(np.ones(3)),
        TypeError,
        r"curve must be a SparsityCurve; got ndarray. Use ji.sparsity_curve",
    ),
    (
        lambda: PLOT.matching_curve(CURVE),
        TypeError,
        r"curve must be a MatchingCurve; got SparsityCurve. Use ji.matching_curve",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_CALLS)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_bad_calls_leave_no_figure():
    for call, error, _ in BAD_CALLS:
        if "axes" not in str(_):
            pyplot.close("all")
            with pytest.raises(error):
                call()
            assert not pyplot.get_fignums()


# --- counts, offsetting, conditions


def test_salient_counts_are_bars_side_by_side(rng):
    counts = ji.SalientCounts(*rng.integers(0, 9, size=(2, 3, N)))
    ax = ji.plot.salient_counts(counts)
    expected = [counts.and_counts.mean(axis=0), counts.or_counts.mean(axis=0)]
    np.testing.assert_allclose(heights(ax), expected)
    assert legend(ax.get_legend()) == ["AND", "OR"]
    plain, hatched = (group[0] for group in ax.containers)
    assert hatched.get_hatch() and not plain.get_hatch()
    assert grey(hatched.get_facecolor()[:3]) - grey(plain.get_facecolor()[:3]) > 0.4
    assert plain.get_x() + plain.get_width() == pytest.approx(hatched.get_x())
    nothing_overlaps(ax.figure)


def test_offsetting_is_that_of_the_mean(rng):
    strength = strengths(rng, 4)
    strength.negative[:, 1] = strength.positive[:, 1] = 0  # an order without strength: a gap
    ax = ji.plot.offsetting(strength, label="one")
    ji.plot.offsetting(strength[0], ax, label="two")
    found = lines(ax)
    np.testing.assert_allclose(found["one"], strength.mean().offsetting)
    assert np.isnan(found["one"][1]) and found["two"].shape == (N,)
    assert len({line.get_color() for line in ax.lines}) == 2


def test_sparsity_conditions_draw_the_mean_output_and_its_least(rng):
    values = np.cumsum(np.r_[0, rng.random(2**N - 1)]) / 5
    conditions = ji.sparsity_conditions(values)
    ax = ji.plot.sparsity_conditions(conditions, label="v")
    np.testing.assert_allclose(lines(ax)["v"], conditions.average_output)
    least = ax.lines[-1].get_ydata()
    assert np.isfinite(conditions.power) and (least <= conditions.average_output + 1e-12).all()
    assert least[-1] == pytest.approx(conditions.average_output[-1])
    many = ji.sparsity_conditions(np.stack([values, 2 * values, -values]))
    ax = ji.plot.sparsity_conditions(many)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), conditions.average_output)
    assert len(ax.lines) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ji.plot.salient_counts(3),
            "salient_counts: counts must be a SalientCounts; got int",
        ),
        (
            lambda: ji.plot.salient_counts(ji.SalientCounts(*np.zeros((2, 0, N)))),
            "salient_counts: counts must hold a sample",
        ),
        (lambda: ji.plot.offsetting(3), "offsetting: strength must be an OrderStrength; got int"),
        (
            lambda: ji.plot.sparsity_conditions(3),
            "conditions must be a SparsityConditions; got int. Use ji.sparsity_conditions",
        ),
    ],
)
def test_bad_counts_and_conditions(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
    assert not pyplot.get_fignums()
