# SPDX-License-Identifier: Apache-2.0
"""Figures of detections, cutoffs and comparisons: what is drawn, against the numbers."""

from dataclasses import fields
from itertools import combinations

import numpy as np
import pytest
from matplotlib import colors, pyplot
from matplotlib.collections import QuadMesh

from figures import all_apart
from jaxinter.nid import plot, suite
from jaxinter.nid.additive import Cutoff
from jaxinter.nid.detection import Detection
from jaxinter.nid.outputs import OutputComparison
from jaxinter.nid.plot import _looks
from jaxinter.nid.ranking import Ranking
from jaxinter.nid.table import Encoder
from jaxinter.plot import NEGATIVE, POSITIVE

NAMES = ("age", "MedInc", "hours-per-week", "$tate", "a name that is much too long for any axes")


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


def pairs_of(rng, p):
    x = np.triu(rng.random((p, p)) + 0.01, 1)
    return x + x.T


class Found(Detection):
    """A detection that is nothing but its results."""

    interactions = ((0, 1, 2), (0, 1), (3, 4), (2, 4), (0, 1, 2, 3, 4))
    strengths = np.array([5.0, 4.0, 2.0, 1.0, 0.01])
    spread = np.array([0.5, 1.0, 0.1, 2.0, 0.0])
    found = np.array([1.0, 1.0, 2 / 3, 1 / 3, 1.0])
    column_names = (0, 1, 2, 3, 4)
    pairwise = pairs_of(np.random.default_rng(0), 5)


FOUND = Found(None, None, (None, None, None))
RANKED = Ranking(Found.interactions, Found.strengths, Found.pairwise, np.ones(3))
TRUTH = [(0, 1, 2), (3, 4)]


def nothing_overlaps(figure):
    """Texts and legends, drawn, do not lie on each other, nor beyond the figure."""
    figure.canvas.draw()
    texts = [t for ax in figure.axes for t in (ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts)]
    texts += [t for ax in figure.axes if ax.get_legend() for t in ax.get_legend().get_texts()]
    for ax in figure.axes:
        for axis, (low, high) in (
            (ax.xaxis, sorted(ax.get_xlim())),
            (ax.yaxis, sorted(ax.get_ylim())),
        ):
            shown = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            texts += [label for tick in shown for label in (tick.label1, tick.label2)]
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts if t.get_visible()]
    boxes = [(text, box) for text, box in boxes if text and box.width]
    all_apart(figure, boxes)


def marks(ax):
    """marker -> points, of the marks of truth."""
    return {
        line.get_marker(): {tuple(xy) for xy in line.get_xydata()}
        for line in ax.lines if colors.to_hex(line.get_color()).upper() == _looks.MARK
    }  # fmt: skip


def marks_stand_free(ax):
    """Those beside the axes are off the bars, and off the labels."""
    ax.figure.canvas.draw()
    boxes = [
        label.get_window_extent()
        for axis in (ax.xaxis, ax.yaxis)
        for label in axis.get_ticklabels()
    ]
    half = 3 * ax.figure.dpi / 72
    for line in ax.lines:
        if colors.to_hex(line.get_color()).upper() == _looks.MARK:
            for x, y in line.get_transform().transform(line.get_xydata()):
                assert not ax.bbox.contains(x, y)
                for box in boxes:
                    apart = (
                        x + half < box.x0,
                        box.x1 < x - half,
                        y + half < box.y0,
                        box.y1 < y - half,
                    )
                    assert any(apart)


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def shades(ax):
    """The one map of the axes."""
    return next(c for c in ax.collections if c.get_array() is not None)


# --- pairs


@pytest.mark.parametrize("p", [2, 3, 8, 30])
def test_heat_map_has_each_pair_once(p, rng):
    strength = pairs_of(rng, p)
    ax = plot.heat_map(strength, truth=[(0, 1)])
    drawn = shades(ax)
    assert len(drawn.get_paths()) == p * (p - 1) // 2
    expected = sorted(strength[np.tril_indices(p, -1)])
    np.testing.assert_allclose(sorted(drawn.get_array().compressed()), expected)
    assert drawn.get_clim() == (0, pytest.approx(strength.max()))
    centre = drawn.get_paths()[0].vertices[:4].mean(0)  # of the pair 1, 0
    np.testing.assert_allclose(centre, (0, 1))
    assert drawn.get_array().compressed()[0] == strength[1, 0]
    assert marks(ax) == {"x": {(0, 1)}}
    nothing_overlaps(ax.figure)


def test_heat_map_of_many_columns(rng):
    strength = pairs_of(rng, 200)
    ax = plot.heat_map(strength, truth=[(3, 9, 150)])
    drawn = shades(ax)
    assert isinstance(drawn, QuadMesh)
    below = np.tril(np.ones((200, 200), bool), -1)
    np.testing.assert_array_equal(drawn.get_array()[below], strength[below])
    assert drawn.get_array().mask[~below].all()
    assert marks(ax) == {"x": {(3, 9), (3, 150), (9, 150)}}
    assert 10 < len(labels(ax.xaxis)) < 50 and labels(ax.yaxis)[0] == "5"
    nothing_overlaps(ax.figure)


def test_heat_map_of_what_has_pairs_and_names(rng):
    for given in (FOUND, RANKED):
        ax = plot.heat_map(given)
        expected = Found.pairwise[np.tril_indices(5, -1)]
        np.testing.assert_allclose(shades(ax).get_array().compressed(), expected)
        assert labels(ax.xaxis) == list("0123") and labels(ax.yaxis) == list("1234")
    ax = plot.heat_map(Found.pairwise, column_names=NAMES, truth=[("$tate", "age")])
    short = "a name that is much too…"
    assert labels(ax.yaxis) == [*NAMES[1:4], short]
    assert marks(ax) == {"x": {(0, 3)}}
    assert legend(ax) == ["part of a true interaction"]
    nothing_overlaps(ax.figure)
    given = pyplot.subplots()[1]
    assert plot.heat_map(np.zeros((3, 3)), given) is given
    ax = plot.heat_map(suite_pairs := pairs_of(rng, 10), truth=suite.F5)
    true = {pair for i in suite.F5.interactions for pair in combinations(i, 2)}
    assert marks(ax)["x"] == true and len(suite_pairs) == 10


def test_crosses_show_on_any_shade(rng):
    ax = plot.heat_map(pairs_of(rng, 6), truth=[(0, 1)])
    [cross] = [line for line in ax.lines if line.get_marker() == "x"]
    assert cross.get_path_effects()  # a white edge
    luma = np.dot(colors.to_rgb(cross.get_color()), (0.299, 0.587, 0.114))
    assert 0.35 < luma < 0.65


# --- rankings


def test_ranking_is_bars_with_spread_and_share():
    ax = plot.ranking(FOUND, truth=TRUTH)
    bars = ax.containers[-1].patches if hasattr(ax.containers[-1], "patches") else ax.patches
    np.testing.assert_allclose([bar.get_width() for bar in bars], Found.strengths)
    middles = [bar.get_y() + bar.get_height() / 2 for bar in bars]
    assert middles == sorted(middles) and ax.yaxis_inverted()  # the strongest on top
    assert labels(ax.yaxis) == ["0, 1, 2", "0, 1", "3, 4", "2, 4", "0, 1, 2, 3, 4"]
    [ends] = [c for c in ax.collections if len(c.get_segments()) == 5]
    widths = [np.ptp(segment[:, 0]) / 2 for segment in ends.get_segments()]
    np.testing.assert_allclose(widths, Found.spread)
    shares = {t.get_text(): t.get_position()[1] for t in ax.texts}
    assert list(shares) == ["100 %", "67 %", "33 %", "of trials"]
    assert shares["67 %"] == middles[2]
    found = {marker: [y for _, y in sorted(points)] for marker, points in marks(ax).items()}
    assert found == {"x": [middles[0], middles[2]], "o": [middles[1]]}
    assert legend(ax) == ["true", "part of a true one"]
    assert ax.get_xlim()[0] == 0
    marks_stand_free(ax)
    nothing_overlaps(ax.figure)


def test_ranking_of_one_network_has_no_spread():
    for one in (RANKED, Found(None, None, (None,))):
        ax = plot.ranking(one, k=2)
        np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [5, 4])
        assert not ax.texts and not ax.collections and not ax.get_legend()
        assert ax.get_xlabel() == "strength"
        nothing_overlaps(ax.figure)


def test_long_interactions_go_on_in_the_next_line():
    everything = Ranking(
        (NAMES, NAMES[:2]), np.array([2.0, 1.0]), np.zeros((5, 5)), np.ones(1), NAMES
    )
    ax = plot.ranking(everything, truth=[NAMES[:3]])
    first, second = labels(ax.yaxis)
    assert first.count("\n") == 1 and "hours-per-week" in first and second == "age, MedInc"
    assert list(marks(ax)) == ["o"]
    marks_stand_free(ax)
    nothing_overlaps(ax.figure)


# --- the cutoff


class Made(Cutoff):
    """A cutoff that is nothing but its results."""

    def main_effect(self, column, at=None):
        j = self.column_names.index(column)
        if j in self.encoder.categories:
            at = np.array(self.encoder.categories[j])
            return at, self._last(np.linspace(-1, 2, len(at)))
        return np.linspace(j, j + 1, 100), self._last((j + 1) * np.sin(np.linspace(0, 6, 100)))

    def interaction_effect(self, interaction, at=None):
        ends = [self.main_effect(name)[0] for name in interaction]
        a, b = (np.linspace(-1, 1, len(at)) for at in ends)
        return tuple(ends), self._last(a[:, None] * b + 0.25)

    def _last(self, values):
        """Of more than two classes, the values times the class."""
        outputs = self.encoder.n_outputs
        return values if outputs == 1 else values[..., None] * np.arange(outputs)


def made(names=(0, 1, 2, 3), categories=None, classes=None, **changes):
    task = "regression" if classes is None else "classification"
    encoder = Encoder(tuple(names), not isinstance(names[0], int), categories or {}, task, classes)
    some = {
        "tried": ((0, 1), (1, 2), (0, 1, 2)),
        "interactions": tuple(combinations(names, 2)),
        "errors": np.array([0.9, 0.5, 0.45, 0.2]),
        "test_errors": np.array([0.8, 0.6, 0.5, 0.3]),
        "goal": 0.25,
        "k": 3,
        "reached": True,
        "encoder": encoder,
    }
    return Made(**{f.name: None for f in fields(Cutoff)} | some | changes)


def test_errors_as_interactions_are_added():
    ax = plot.cutoff(made(), truth=[(0, 1, 2), (0, 3)])
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], [0.9, 0.5, 0.45, 0.2])
    assert labels(ax.xaxis) == ["∅", "0, 1", "1, 2", "0, 1, 2"]
    dashed = [line for line in ax.lines if set(line.get_ydata()) == {0.25}]
    assert len(dashed) == 1 and dashed[0].get_linestyle() != "-"
    tests = [line for line in ax.lines if line.get_marker() == "D"]
    np.testing.assert_allclose(tests[0].get_ydata(), [0.8, 0.6, 0.5, 0.3])
    found = {marker: sorted(x for x, _ in points) for marker, points in marks(ax).items()}
    assert found == {"x": [3], "o": [1, 2]}
    edges = [bar.get_linewidth() > 1 and bar.get_edgecolor()[:3] == (0, 0, 0) for bar in ax.patches]
    assert edges == [False, False, False, True]
    assert len({bar.get_facecolor() for bar in ax.patches}) == 1
    names = ["validation", "cutoff", "test", "goal", "true", "part of a true one"]
    assert legend(ax) == names
    assert ax.get_ylim()[0] == 0 and "RMSE" in ax.get_ylabel()
    marks_stand_free(ax)
    nothing_overlaps(ax.figure)


def test_a_goal_that_was_not_reached():
    nothing = np.full(4, np.nan)
    ax = plot.cutoff(made(reached=False, k=1, test_errors=nothing, classes=("a", "b")))
    assert legend(ax) == ["validation", "least error", "goal, not reached"]
    pale = [bar.get_facecolor()[0] > 0.8 for bar in ax.patches]
    assert pale == [False, False, True, True]
    assert [bar.get_linewidth() > 1 for bar in ax.patches] == [False, True, False, False]
    assert ax.get_ylabel() == "error: 1 - AUC"
    assert plot.cutoff(made(classes=("a", "b", "c"))).get_ylabel() == "error: cross-entropy"


def test_labels_of_long_interactions_stand_apart():
    many = tuple(f"feature {k}" for k in range(16))
    ax = plot.cutoff(
        made(many, tried=(many, many[:2], many[3:9], many[4:12]), errors=np.ones(5),
             test_errors=np.ones(5), k=4), truth=[many[:4]],
    )  # fmt: skip
    assert labels(ax.xaxis)[1].count("\n") > 3
    nothing_overlaps(ax.figure)
    nothing_overlaps(
        plot.cutoff(made(tried=(), errors=np.ones(1), test_errors=np.ones(1), k=0)).figure
    )


def polygons(ax):
    """Colour -> least and most y of what is filled."""
    found = {}
    for one in ax.collections:
        y = np.concatenate([path.vertices[:, 1] for path in one.get_paths()])
        found[colors.to_hex(one.get_facecolor()[0]).upper()] = (y.min(), y.max())
    return found


def test_main_effects_are_a_panel_a_column():
    axes = plot.main_effects(made())
    assert len(axes) == 4
    for j, ax in enumerate(axes):
        [curve] = [line for line in ax.lines if len(line.get_xdata()) == 100]
        at, values = made().main_effect(j)
        np.testing.assert_array_equal(curve.get_xydata(), np.stack([at, values], axis=1))
        filled = polygons(ax)
        assert filled[POSITIVE] == (0, pytest.approx(values.max()))
        assert filled[NEGATIVE] == (pytest.approx(values.min()), 0)
        assert ax.get_xlabel() == f"column {j}"
    low, high = axes[0].get_ylim()
    assert len({ax.get_ylim() for ax in axes}) == 1 and low < -3.9 and high > 3.9
    assert [bool(ax.get_ylabel()) for ax in axes] == [True, False, False, False]
    nothing_overlaps(axes[0].figure)


def test_main_effects_each_on_its_scale():
    axes = plot.main_effects(made(), shared=False)
    tops = [ax.get_ylim()[1] for ax in axes]
    np.testing.assert_allclose(tops, [1.12, 2.24, 3.36, 4.48], rtol=0.01)
    assert all(ax.yaxis.get_tick_params()["labelleft"] for ax in axes)
    zeros = made()
    object.__setattr__(
        zeros, "main_effect", lambda j: (np.arange(9.0), np.sin(np.arange(9)) * 10.0 ** (-5 * j))
    )
    ends = [ax.get_ylim() for ax in plot.main_effects(zeros, columns=[0, 1, 2], shared=False)]
    assert ends[0] == ends[1] == ends[2]  # 1e-5 and 1e-10 are flat beside 1
    nothing_overlaps(axes[0].figure)


def test_main_effects_of_categories_and_classes():
    found = made(("a", "$b", "c"), {1: ("one", "two", "three", "four")}, classes=("x", "y", "z"))
    axes = plot.main_effects(found, columns=["$b", "a"], target="z")
    assert [ax.get_xlabel() for ax in axes] == ["$b", "a"]
    assert axes[0].get_ylabel() == "effect on the\nlogit of z"
    assert labels(axes[0].xaxis) == ["one", "two", "three", "four"]
    heights = [bar.get_height() for bar in axes[0].patches]
    np.testing.assert_allclose(heights, [0, 0, 2, 4, -2, 0, 0, 0])  # raises, lowers
    nothing_overlaps(axes[0].figure)
    given = pyplot.subplots(2)[1]
    assert plot.main_effects(found, given, columns=["c", "a"], target="x") is given
    two = plot.main_effects(made(classes=("no", "yes")), columns=[1])
    assert two[0].get_ylabel() == "effect on the\nlog-odds of yes"


def test_a_category_in_every_place_where_there_is_room():
    found = made((0, 1), {0: tuple(f"category {k}" for k in range(60))})
    [ax] = plot.main_effects(found, columns=[0])
    shown = labels(ax.xaxis)
    assert 5 < len(shown) < 31 and shown[0] == "category 0"
    nothing_overlaps(ax.figure)


def test_a_pair_is_a_map_centred_at_0():
    found = made()
    ax = plot.interaction(found, (1, 3))
    (a, b), values = found.interaction_effect((1, 3))
    drawn = shades(ax)
    np.testing.assert_allclose(np.ravel(drawn.get_array()), values.T.ravel())
    corners = drawn.get_coordinates()
    np.testing.assert_allclose((corners[0, 1:, 0] + corners[0, :-1, 0]) / 2, a)
    np.testing.assert_allclose((corners[1:, 0, 1] + corners[:-1, 0, 1]) / 2, b)
    assert drawn.get_clim() == (-1.25, 1.25)
    hexes = [colors.to_hex(drawn.cmap(x)).upper() for x in (0.0, 0.5, 1.0)]
    assert hexes[::2] == [NEGATIVE, POSITIVE] and min(drawn.cmap(0.5)[:3]) > 0.98
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("column 1", "column 3")
    assert len(ax.collections) == 2  # and lines of equal effect
    assert ax.figure.axes[1].get_ylabel() == "effect on the target"
    nothing_overlaps(ax.figure)
    other = plot.interaction(found, (3, 1))  # which column is along x
    np.testing.assert_allclose(np.ravel(shades(other).get_array()), values.ravel())
    np.testing.assert_allclose(shades(other).get_coordinates()[0, :, 0], corners[:, 0, 1])
    assert other.get_xlabel() == "column 3"


@pytest.mark.parametrize("pair", [("a", "b"), ("b", "c"), ("a", "c")])
def test_a_pair_of_categories(pair):
    categories = {0: ("left", "right"), 1: ("one", "two", "three")}
    found = made(("a", "b", "c"), categories, ("x", "y", "z"))
    ax = plot.interaction(found, pair, target="y")
    _, values = found.interaction_effect(pair)
    np.testing.assert_allclose(np.ravel(shades(ax).get_array()), values[..., 1].T.ravel())
    for axis, name in zip((ax.xaxis, ax.yaxis), pair):
        if name != "c":
            assert labels(axis) == list(categories["abc".index(name)])
    numbers = {t.get_position(): t.get_text() for t in ax.texts}
    assert numbers == ({} if "c" in pair else {
        (0, 0): "+1.2", (0, 1): "+0.2", (0, 2): "-0.8",
        (1, 0): "-0.8", (1, 1): "+0.2", (1, 2): "+1.2",
    })  # fmt: skip
    assert ax.figure.axes[1].get_ylabel() == "effect on the logit of y"
    nothing_overlaps(ax.figure)


def test_rows_are_dots(rng):
    found = made((0, 1, 2), {1: (5.0, 7.0)})
    X = np.stack([rng.random(4), [5.0, 7.0, 7.0, 5.0], rng.random(4)], axis=1)
    ax = plot.interaction(found, (0, 1), X=X)
    x, y = ax.lines[0].get_data()
    np.testing.assert_allclose(x, X[:, 0])
    np.testing.assert_array_equal(np.round(y), [0, 1, 1, 0])
    cells = np.ma.getmaskarray(shades(ax).get_array()).reshape(2, -1)  # [b, a]
    (a, _), _ = found.interaction_effect((0, 1))
    for row, category in enumerate((5.0, 7.0)):  # blank but within two cells of a row
        at = np.abs(X[X[:, 1] == category, :1] - a).argmin(1)
        near = np.abs(np.arange(len(a)) - at[:, None]).min(0) <= 2
        np.testing.assert_array_equal(cells[row], ~near)
    many = np.tile(X, (2000, 1))
    assert 1000 < len(plot.interaction(found, (0, 2), X=many).lines[0].get_xdata()) <= 2000


# --- both sides


def comparison_of(rng, p=6, names=None):
    weights = pairs_of(rng, p)
    tables = [weights, weights**2, pairs_of(rng, p)]
    return OutputComparison(*np.stack(tables)[:, None], tuple(range(p)) if names is None else names)


def test_pairs_by_weights_and_outputs(rng):
    comparison = comparison_of(rng)
    axes = plot.outputs(comparison, truth=[(0, 1, 2)])
    true = {(0, 1), (0, 2), (1, 2)}
    for ax, measure in zip(axes, (comparison.delta_v, comparison.shapley)):
        expected = {
            pair: (comparison.weights[pair], measure[pair]) for pair in combinations(range(6), 2)
        }
        grey = {tuple(xy) for xy in ax.collections[0].get_offsets()}
        assert grey == {xy for pair, xy in expected.items() if pair not in true}
        assert marks(ax) == {"x": {expected[pair] for pair in true}}
        assert ax.get_xscale() == ax.get_yscale() == "log"
        for text in ax.texts:  # a name stands at its point
            assert text.xy == expected[tuple(map(int, text.get_text().split(", ")))]
        assert ax.texts
    assert axes[0].get_title() == "rank correlation 1.00"
    assert axes[1].get_title() == f"rank correlation {comparison.correlations['shapley']:.2f}"
    nothing_overlaps(axes[0].figure)


def test_pairs_of_no_strength_stand_at_the_edge(rng):
    comparison = comparison_of(rng, names=tuple(f"column named {k}" for k in range(6)))
    comparison.weights_by_trial[0, 0, 1] = 0
    axes = plot.outputs(comparison)
    x = axes[0].collections[0].get_offsets()[0, 0]
    assert x == pytest.approx(1e-4 * comparison.weights.max())
    nothing_overlaps(axes[0].figure)
    given = pyplot.subplots(1, 2)[1]
    assert plot.outputs(comparison_of(rng, 2), given) is given
    flat = OutputComparison(*np.zeros((3, 1, 3, 3)), (0, 1, 2))
    plot.outputs(flat)[0].figure.canvas.draw()


# --- averaging functions, ROC


def test_averaging_is_a_bar_a_name():
    ax = plot.averaging({"max": 3, "min": 24})
    assert [bar.get_height() for bar in ax.patches] == [3, 24]
    assert labels(ax.xaxis) == ["max", "min"] and not ax.collections
    ax = plot.averaging({"max": [1, 2, 3], "min": (4, 4)})
    assert [bar.get_height() for bar in ax.patches] == [2, 4]
    ends = [np.ptp(segment[:, 1]) / 2 for segment in ax.collections[0].get_segments()]
    np.testing.assert_allclose(ends, [1, 0])
    nothing_overlaps(ax.figure)


def test_roc_is_a_line_that_says_its_area(rng):
    truth = [(0, 1), (2, 3)]
    tables = [pairs_of(rng, 6) for _ in range(3)]
    ax = None
    for k, table in enumerate(tables):
        ax = plot.roc(table, truth, ax, label=f"{k}" if k else None)
    drawn = [line for line in ax.lines if not line.get_label().startswith("_")]
    for line, table in zip(drawn, tables, strict=True):
        np.testing.assert_array_equal(line.get_data(), suite.roc_curve(table, truth))
    areas = [f"area {suite.pairwise_auc(table, truth):.3f}" for table in tables]
    assert legend(ax) == [areas[0], f"1: {areas[1]}", f"2: {areas[2]}"]
    assert len({line.get_color() for line in drawn}) == 3
    assert len({str(line._dash_pattern) for line in drawn}) == 3
    nothing_overlaps(ax.figure)


# --- errors

RNG = np.random.default_rng(1)
BAD_CALLS = [
    (lambda: plot.heat_map(np.ones((2, 3))), ValueError, r"strengths \[p, p\].*shape \(2, 3\)"),
    (lambda: plot.heat_map(np.ones((1, 1))), ValueError, r"p >= 2; got shape \(1, 1\)"),
    (lambda: plot.heat_map(np.array([[0, 1], [2, 0]])), ValueError, "finite and symmetric"),
    (lambda: plot.heat_map(np.full((2, 2), np.nan)), ValueError, "finite and symmetric"),
    (
        lambda: plot.heat_map(np.ones((3, 3)), column_names="ab"),
        ValueError,
        "column_names must be 3, one a column; got 2",
    ),
    (
        lambda: plot.heat_map(np.ones((3, 3)), truth=[(0, 3)]),
        ValueError,
        r"heat_map: truth must be of columns .*; got \[3\]",
    ),
    (
        lambda: plot.ranking(np.ones((3, 3))),
        TypeError,
        "found must be a Detection or a Ranking; got ndarray. Use nid.detect or nid.rank",
    ),
    (lambda: plot.ranking(FOUND, k=0), ValueError, "k must be a whole number >= 1"),
    (lambda: plot.ranking(FOUND, truth=[(0, 9)]), ValueError, r"truth must be of columns.*\[9\]"),
    (lambda: plot.ranking(FOUND, truth=[0, 1]), TypeError, "truth must be interactions"),
    (lambda: plot.cutoff(FOUND), TypeError, "found must be a Cutoff; got Found. Use .*nid.cutoff"),
    (lambda: plot.cutoff(made(), truth=[("a", "b")]), ValueError, "truth must be of columns"),
    (lambda: plot.main_effects(FOUND), TypeError, "main_effects: found must be a Cutoff"),
    (lambda: plot.main_effects(made(), columns=[]), ValueError, "columns must be one or more"),
    (
        lambda: plot.main_effects(made(), pyplot.subplots(3)[1]),
        ValueError,
        "axes must be 4, one a panel; got 3",
    ),
    (lambda: plot.main_effects(made(), target=1), ValueError, "more than two classes; got 1"),
    (
        lambda: plot.main_effects(made(classes=("x", "y", "z"))),
        ValueError,
        r"target must be one of \['x', 'y', 'z'\]; got None",
    ),
    (lambda: plot.interaction(RANKED, (0, 1)), TypeError, "interaction: found must be a Cutoff"),
    (
        lambda: plot.interaction(made((0, 1)), (1, 1)),
        ValueError,
        r"pair must be one of \[\(0, 1\)\]; got \(1, 1\)",
    ),
    (
        lambda: plot.interaction(made(interactions=((0, 1, 2),)), (0, 1, 2)),
        ValueError,
        r"pair must be one of \[\]; got",
    ),
    (
        lambda: plot.interaction(made(), (0, 1), X=np.ones((2, 3))),
        ValueError,
        "nid.plot.interaction: X must have 4 columns",
    ),
    (lambda: plot.outputs(FOUND), TypeError, "comparison must be .*OutputComparison; got Found"),
    (
        lambda: plot.outputs(comparison_of(RNG), pyplot.subplots(3)[1]),
        ValueError,
        "axes must be 2, one a panel; got 3",
    ),
    (lambda: plot.outputs(comparison_of(RNG), truth=[(0, 7)]), ValueError, "truth must be of col"),
    (lambda: plot.averaging({}), ValueError, r"counts must be name -> number .*; got \{\}"),
    (lambda: plot.averaging([1, 2]), ValueError, r"counts must be name -> .*; got \[1, 2\]"),
    (lambda: plot.averaging({"min": []}), ValueError, "counts must be finite numbers, one or"),
    (lambda: plot.averaging({"min": np.nan}), ValueError, "counts must be finite numbers"),
    (
        lambda: plot.roc(np.ones((3, 3)), [(0, 7)]),
        ValueError,
        "roc_curve: truth must be of columns",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_CALLS)
def test_bad_calls_leave_no_figure(call, error, message):
    with pytest.raises(error, match=message):
        call()
    assert not pyplot.get_fignums() or "axes" in message
