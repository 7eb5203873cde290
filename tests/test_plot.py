# SPDX-License-Identifier: Apache-2.0
"""Figures: what is drawn, against the effects. Interactions are made by hand, so that it is known
what must stand where."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import colors, pyplot

import jaxinter as ji
from jaxinter.plot import NEGATIVE, POSITIVE

COLOUR = {True: POSITIVE, False: NEGATIVE}  # by effect > 0


def planted(n, ands=(), ors=(), names=None):
    """Interactions of one sample with these (effect, players) and no others."""
    effects = np.zeros((2, 1 << n))
    for kind, given in enumerate((ands, ors)):
        for effect, players in given:
            effects[kind, sum(1 << i for i in players)] = effect
    none = ji.extract(np.zeros(1 << n), player_names=names)
    return replace(none, and_effects=effects[0], or_effects=effects[1])


def strokes(ax):
    """(colour, dashed, width, lines) of all that is stroked; below each lies a halo, wider."""
    found = []
    for under, over in zip(ax.collections[::2], ax.collections[1::2], strict=True):
        colour = colors.to_hex(over.get_color()[0]).upper()
        dashed = over.get_linestyle()[0][1] is not None
        assert under.get_linestyle()[0][1] is None
        assert under.get_linewidth()[0] > over.get_linewidth()[0]
        found.append((colour, dashed, over.get_linewidth()[0], over.get_segments()))
    return found


def texts(ax):
    return {text.get_text(): text for text in ax.texts}


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


def test_order_strength_bars(rng):
    strength = ji.order_strength(ji.extract(rng.normal(size=(2, 16)), tol=1e-2))
    heights = [bar.get_height() for bar in ji.plot.order_strength(strength).patches]
    expected = [*strength.positive.mean(axis=0), *-strength.negative.mean(axis=0)]
    np.testing.assert_allclose(heights, expected)


# --- images

PATCHES = ji.patches((8, 6), (2, 3))  # 4 x 2 pixels each
SHOWN = [(5.0, "AND", (4,)), (-2.0, "OR", (0, 1)), (1.0, "AND", (2, 3, 5))]


def on_patches(names=None):
    """Six patches; player 4's own effect is split into AND and OR."""
    ands, ors = [(3.0, [4]), (1.0, [2, 3, 5]), (1e-6, [0])], [(2.0, [4]), (-2.0, [0, 1])]
    return planted(6, ands, ors, names)


def edges(regions):
    """The unit edges between different regions, by definition."""
    padded = np.pad(regions, 1, constant_values=-1)
    found = set()
    for y, x in np.ndindex(padded.shape):
        for dy, dx in ((0, 1), (1, 0)):
            if y + dy < padded.shape[0] and x + dx < padded.shape[1]:
                if padded[y, x] != padded[y + dy, x + dx]:
                    ends = ((x - 0.5, y - 1.5), (x - 0.5, y - 0.5))
                    found.add(ends if dx else ((x - 1.5, y - 0.5), (x - 0.5, y - 0.5)))
    return found


def unit_edges(lines):
    """The same of drawn lines; none may be drawn twice."""
    found = []
    for line in lines:
        for a, b in itertools.pairwise(np.asarray(line)):
            steps = int(np.abs(b - a).sum())
            points = [tuple((a + (b - a) * t / steps).tolist()) for t in range(steps + 1)]
            found += [tuple(sorted(pair)) for pair in itertools.pairwise(points)]
    assert len(found) == len(set(found))
    return set(found)


def test_each_interaction_is_framed_on_its_patches(rng):
    image = rng.random((8, 6, 3))
    axes = ji.plot.effects_on_patches(image, PATCHES, on_patches(), k=4)
    assert len(axes) == 5
    titles = [ax.get_title() for ax in axes]
    assert titles == ["the 6 patches", "one patch: +5.0", "OR of 2: -2.0", "AND of 3: +1.0", ""]
    np.testing.assert_array_equal(axes[0].images[0].get_array(), image)
    [(_, _, _, grid)] = strokes(axes[0])
    assert unit_edges(grid) == edges(PATCHES)
    for ax, (effect, kind, players) in zip(axes[1:], SHOWN):
        [(colour, dashed, _, lines)] = strokes(ax)
        assert (colour, dashed) == (COLOUR[effect > 0], kind == "OR")
        chosen = np.isin(PATCHES, players)
        assert unit_edges(lines) == edges(np.where(chosen, PATCHES, -1))
        shown = ax.images[0].get_array()
        np.testing.assert_array_equal(shown[chosen], image[chosen])
        assert np.ptp(shown[~chosen], axis=-1).max() < 1e-12  # grey
        assert 0.6 < shown[~chosen].min() and shown[~chosen].max() < 0.85  # faded
    assert not axes[4].images  # the 1e-6 is a zero that the solver left


def test_halo_contrasts_with_the_colour():
    axes = ji.plot.effects_on_patches(np.zeros((8, 6)), PATCHES, on_patches(), k=2)
    halos = [colors.to_hex(ax.collections[0].get_color()[0]) for ax in axes[1:]]
    assert halos == ["#000000", "#ffffff"]  # around orange, around blue


@pytest.mark.parametrize("whole_map", [True, False])
@pytest.mark.parametrize(
    ("kind", "channels"), [("uint8", "last"), ("normalised", "first"), ("0 to 1", "first")]
)
@pytest.mark.parametrize("depth", [1, 3])
def test_kinds_of_images(kind, channels, depth, whole_map, rng):
    image = rng.integers(50, 200, (8, 6, depth)).astype(np.uint8)
    expected = image / 255
    if kind == "0 to 1":
        image = expected
    if kind == "normalised":
        image = (expected - 0.5) / 0.2
        expected = (expected - expected.min()) / np.ptp(expected)
    players = PATCHES
    if whole_map:
        players = np.repeat(PATCHES[..., None], depth, axis=-1)
    if channels == "first":
        image = np.moveaxis(image, -1, 0)
        players = np.moveaxis(players, -1, 0) if whole_map else players
    axes = ji.plot.effects_on_patches(image, players, on_patches(), k=0, channels=channels)
    shown = axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, np.broadcast_to(expected, (8, 6, 3)), atol=1e-12)


def test_torch_images(torch, rng):
    image, players = torch.tensor(rng.random((3, 8, 6))), torch.tensor(PATCHES)
    axes = ji.plot.effects_on_patches(image, players, on_patches(), channels="first")
    np.testing.assert_array_equal(axes[0].images[0].get_array(), np.moveaxis(image.numpy(), 0, 2))


def test_a_map_of_channels_first_beside_an_image_as_it_is_shown(rng):
    image, players = rng.random((8, 6, 3)), np.repeat(PATCHES[None], 3, axis=0)
    for ax, same in zip(
        ji.plot.effects_on_patches(image, players, on_patches()),
        ji.plot.effects_on_patches(image, PATCHES, on_patches()),
    ):
        assert len(ax.images) == len(same.images)
        for shown, expected in zip(ax.images, same.images):
            np.testing.assert_array_equal(shown.get_array(), expected.get_array())


def test_borders_of_irregular_regions_are_long_lines(rng):
    for regions in (rng.integers(-1, 3, (9, 7)), np.array([[0, 0, 1], [-1, 0, 1]])):
        assert unit_edges(ji.plot.patches._borders(regions)) == edges(regions)
    y, x = np.indices((40, 40)) - 20
    disc = np.where(x**2 + y**2 < 300, 0, -1)  # a staircase all around: one dashed line
    [line] = ji.plot.patches._borders(disc)
    assert line[0] == line[-1]
    assert unit_edges([line]) == edges(disc)


def test_background_is_shown_and_has_no_frame():
    image = np.arange(48.0).reshape(8, 6) / 48
    players = np.where(PATCHES > 3, -7, PATCHES)  # however far below 0
    axes = ji.plot.effects_on_patches(image, players, planted(4, [(1.0, [0])]), k=1)
    np.testing.assert_array_equal(axes[0].images[0].get_array()[..., 0], image)
    [(_, _, _, grid)] = strokes(axes[0])
    assert unit_edges(grid) == edges(np.maximum(players, -1))


def test_names_stand_in_their_patches():
    names = ("the", "old cat", "", "the", "$5", "mat")
    axes = ji.plot.effects_on_patches(np.ones((8, 6, 1)), PATCHES, on_patches(names), k=3)
    written = [text.get_text() for text in axes[0].texts]
    assert written == ["the", "old\ncat", "", "the", "$5", "mat"]
    for player, text in enumerate(axes[0].texts):
        x, y = np.round(text.get_position()).astype(int)
        assert PATCHES[y, x] == player
    # Names that repeat are no way to find a patch.
    for ax, (_, _, players) in zip(axes[1:], SHOWN):
        chosen = np.where(np.isin(PATCHES, players), PATCHES, -1)
        assert unit_edges(strokes(ax)[0][3]) == edges(chosen)


def test_a_name_stands_inside_a_bent_region():
    regions = np.full((30, 30), -1)
    regions[:, :9] = regions[21:, :] = 0  # an L: its middle is outside
    axes = ji.plot.effects_on_patches(
        np.ones((30, 30)), regions, planted(1, [(1.0, [0])], names=["L"]), k=1
    )
    x, y = axes[0].texts[0].get_position()
    assert regions[int(y), int(x)] == 0


def test_axes_of_ones_own_set_k_and_get_no_legend():
    figure, grid = pyplot.subplots(2, 2)
    axes = ji.plot.effects_on_patches(np.ones((8, 6)), PATCHES, on_patches(), grid, k=1)
    assert axes is grid
    assert [bool(ax.images) for ax in grid.ravel()] == [True] * 4
    assert not figure.legends
    own = ji.plot.effects_on_patches(np.ones((8, 6)), PATCHES, on_patches(), k=6)
    assert len(own) == 7
    [legend] = own[0].figure.legends
    assert [t.get_text().split(":")[0] for t in legend.get_texts()][2:] == ["AND", "OR"]


# --- sentences

WORDS = "the cat and the dog sleep".split()


def centres(ax, words):
    """x of each word, in order (words may repeat)."""
    drawn = [text for text in ax.texts if text.get_text() in words]
    assert [text.get_text() for text in drawn] == list(words)
    return [text.get_position()[0] for text in drawn]


def feet(lines, baseline):
    """Where lines come nearest to the words: x of each leg, and the side they are on."""
    points = np.vstack(lines)
    side = np.sign(points[:, 1].mean() - baseline)
    near = baseline + (12.5 if side > 0 else -16.5)  # a word without, and with, a number below
    legs = points[side * (points[:, 1] - near) <= 1e-6]
    return sorted(legs[:, 0].tolist()), side


@pytest.fixture
def sentence():
    ands = [(4.0, [3]), (-1.0, [0]), (3.0, [1, 4]), (-2.0, [0, 2, 5])]
    ax = ji.plot.effects_on_words(WORDS, planted(6, ands, [(1.0, [1, 4]), (1.5, [0, 3, 4, 5])]))
    return ax, centres(ax, WORDS)


def test_single_words_are_shaded_with_their_number(sentence):
    ax, x = sentence
    boxes = {colors.to_hex(box.get_facecolor()[:3]).upper(): box for box in ax.patches}
    assert len(ax.patches) == 2
    for effect, player in ((4.0, 3), (-1.0, 0)):  # both are "the"
        box = boxes[COLOUR[effect > 0]]
        assert box.get_x() < x[player] < box.get_x() + box.get_width()
        number = texts(ax)[f"{effect:+.1f}"]
        assert number.get_position()[0] == x[player]
        assert box.get_y() < number.get_position()[1] < box.get_y() + box.get_height()
    assert boxes[POSITIVE].get_alpha() > boxes[NEGATIVE].get_alpha()  # 4 and -1


def test_sets_of_words_are_joined(sentence):
    ax, x = sentence
    expected = [
        (3.0, "AND", (1, 4)),
        (-2.0, "AND", (0, 2, 5)),
        (1.5, "OR", (0, 3, 4, 5)),
        (1.0, "OR", (1, 4)),
    ]
    drawn = strokes(ax)
    assert len(drawn) == len(expected)
    baseline = next(text for text in ax.texts if text.get_text() == "cat").get_position()[1]
    for (effect, kind, players), (colour, dashed, _, lines) in zip(expected, drawn):
        assert (colour, dashed) == (COLOUR[effect > 0], kind == "OR")
        legs, side = feet(lines, baseline)
        assert len(legs) == len(players)
        np.testing.assert_allclose(legs, [x[i] for i in players], atol=9)
        assert side == (1 if len(players) == 2 else -1)  # arcs above, brackets below
        number_x, number_y = texts(ax)[f"{effect:+.1f}"].get_position()
        assert legs[0] < number_x < legs[-1]
        ys = np.vstack(lines)[:, 1]
        assert number_y > ys.max() if side > 0 else number_y < ys.min()
    widths = [width for _, _, width, _ in drawn]
    assert widths == sorted(widths, reverse=True) and widths[0] > 1.5 * widths[-1]


def test_words_that_are_no_players_are_grey_and_words_of_one_player_stay_together():
    words, players = "it costs $5$ in all !".split(), [-1, 0, 1, -1, 2, 2]
    interactions = planted(3, [(1.0, [1, 2]), (0.5, [2])], names=("a", "a", "a"))
    ax = ji.plot.effects_on_words(words, interactions, players=players)
    colour = {text.get_text(): text.get_color() for text in ax.texts}
    assert [colour[w] for w in ("it", "costs", "$5$", "in", "all !")] == [
        "0.55", "black", "black", "0.55", "black"
    ]  # fmt: skip
    legs, _ = feet(strokes(ax)[0][3], texts(ax)["$5$"].get_position()[1])
    expected = [texts(ax)[w].get_position()[0] for w in ("$5$", "all !")]
    np.testing.assert_allclose(legs, expected)
    assert not any(text.get_parse_math() for text in ax.texts)
    assert len(ax.lines) == 1  # under the two words of player 2


def test_a_sentence_is_split_into_its_words():
    text, spans = "It was not that bad, was it?", [(3, 6), (7, 19)]  # was; not that bad
    interactions = planted(2, [(1.0, [1]), (-2.0, [0, 1])])
    whole = texts(ji.plot.effects_on_words(text, interactions, players=spans))
    words, players = "It was not that bad was it".split(), [-1, 0, 1, 1, 1, -1, -1]
    assert set(whole) == set(texts(ji.plot.effects_on_words(words, interactions, players=players)))
    every = ji.plot.effects_on_words("not bad!", planted(2, [(1.0, [0])]))
    assert {"not", "bad"} <= set(texts(every))


def test_a_player_in_two_places_is_marked_in_both():
    words, players = ["not", "that", "bad", "not"], [0, -1, 1, 0]
    ax = ji.plot.effects_on_words(words, planted(2, [(1.0, [0]), (-2.0, [0, 1])]), players=players)
    assert {"+1.0 …", "… +1.0", "-2.0"} <= set(texts(ax))
    legs, side = feet(strokes(ax)[0][3], texts(ax)["bad"].get_position()[1])
    x = centres(ax, words)
    np.testing.assert_allclose(legs, [x[0], x[2], x[3]])
    assert side == -1


def test_long_sentences_go_on_in_the_next_line():
    words = [f"word{i}" for i in range(24)]
    players = np.where(np.arange(24) % 3 == 0, np.arange(24) // 3, -1)
    ax = ji.plot.effects_on_words(
        words, planted(8, [(2.0, [0, 7]), (1.0, [0, 1])], [(-1.0, [1, 2, 6])]), players=players
    )
    rows = [texts(ax)[word].get_position()[1] for word in words]
    assert rows == sorted(rows, reverse=True)
    assert 2 <= len(set(rows)) <= 4
    # A pair across lines is no arc: it leaves at the right edge and comes in at the left.
    first, last = (strokes(ax)[i][3] for i in (0, 1))
    left, right = ax.get_xlim()
    assert np.vstack(first)[:, 0].max() == pytest.approx(right)
    assert np.vstack(last)[:, 0].min() == pytest.approx(left)
    for lines, i in ((first, 0), (last, 21)):
        legs, side = feet(lines, rows[i])
        assert side == -1
        np.testing.assert_allclose(legs, [texts(ax)[words[i]].get_position()[0]])
    assert len(strokes(ax)) == 2 + 1 + len({rows[i * 3] for i in (1, 2, 6)})
    assert {"+2.0 …", "… +2.0", "+1.0"} <= set(texts(ax))


def test_a_number_at_the_edge_stays_inside():
    words = [f"word{i}" for i in range(24)]
    players = np.full(24, -1)
    players[:2] = 0, 1
    x = centres(ji.plot.effects_on_words(words, planted(2), players=players), words)
    players[:] = -1
    players[[0, int(np.argmax(np.diff(x) < 0)) + 1]] = 0, 1  # the second begins the second line
    ax = ji.plot.effects_on_words(words, planted(2, [(-0.25, [0, 1])]), players=players)
    assert list(overlaps(ax)) == []
    assert "… -0.25" in texts(ax)


def test_arcs_from_one_word_do_not_cross():
    ands = [(3.0, [0, 1]), (2.0, [1, 2]), (1.0, [0, 2])]
    drawn = strokes(ji.plot.effects_on_words(["on", "the", "mat"], planted(3, ands)))
    (a, b), (c, d), (e, f) = ((np.vstack(s[3])[0, 0], np.vstack(s[3])[-1, 0]) for s in drawn)
    assert e < a < b < c < d < f


def overlaps(ax):
    """Pairs of texts that lie on each other, and texts outside the axes."""
    ax.figure.canvas.draw()
    boxes = [(t.get_text(), t.get_window_extent()) for t in ax.texts]
    boxes += [(t.get_text(), t.get_window_extent()) for t in ax.get_legend().get_texts()]
    inside = ax.get_window_extent().padded(2)
    for (a, one), (b, other) in itertools.combinations(boxes, 2):
        width = min(one.x1, other.x1) - max(one.x0, other.x0)
        height = min(one.y1, other.y1) - max(one.y0, other.y0)
        if width > 1 and height > 2:  # text extents include room for descenders
            yield a, b
    for a, box in boxes:
        if box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1:
            yield a, "outside"


@pytest.mark.parametrize("m", [3, 10, 20, 40])
def test_nothing_overlaps(m, rng):
    n = min(m, 8)
    words = ["x" * int(rng.integers(1, 12)) for _ in range(m)]
    players = np.full(m, -1)
    players[np.sort(rng.choice(m, n, replace=False))] = np.arange(n)
    sets = [rng.choice(n, int(rng.integers(1, min(n, 5) + 1)), replace=False) for _ in range(12)]
    effects = [(float(rng.normal() * 10.0 ** rng.integers(-1, 3)), s.tolist()) for s in sets]
    interactions = planted(n, effects[::2], effects[1::2])
    ax = ji.plot.effects_on_words(words, interactions, players=players, k=12)
    assert list(overlaps(ax)) == []
    given = pyplot.subplots(figsize=(5, 4))[1]
    assert ji.plot.effects_on_words(words, interactions, given, players=players) is given
    assert list(overlaps(given)) == []


def test_short_words_have_room_for_their_numbers_and_legs():
    words = ["a", "b", "c", "d", "e", "f"]
    ands = [(-0.12, [0]), (0.34, [1]), *((1.0, [0, i, j]) for i in (1, 2) for j in (3, 4, 5))]
    ax = ji.plot.effects_on_words(words, planted(6, ands), k=8)
    assert list(overlaps(ax)) == []
    legs = [feet(lines, texts(ax)["c"].get_position()[1])[0][0] for *_, lines in strokes(ax)]
    assert len(legs) == 6 and np.diff(sorted(legs)).min() >= 4


def test_texts_shrink_with_the_axes(sentence):
    small = pyplot.figure(figsize=(2, 1.2)).add_axes((0, 0, 1, 1))
    interactions = planted(6, [(1.0, [0, 5]), (1.0, [0, 1, 2])])
    ji.plot.effects_on_words(WORDS, interactions, small)
    own = ji.plot.effects_on_words(WORDS, interactions)
    sizes = [texts(ax)["cat"].get_fontsize() for ax in (small, own)]
    assert 4 < sizes[0] < sizes[1] == 12


def test_no_words_no_effects():
    ax = ji.plot.effects_on_words([], ji.extract(np.zeros(1)))
    assert not ax.texts
    ax = ji.plot.effects_on_words(["a\nb"], ji.extract(np.zeros(2)), k=0)
    assert [text.get_text() for text in ax.texts] == ["a\\nb"]


# --- table columns


@pytest.mark.parametrize("names", [None, ("age", "$a$", "age", "x" * 50)])
def test_bars_of_columns(names):
    ands = [(0.5, [0]), (-2.0, [1, 2]), (0.125, [0, 3]), (0.2, [1])]
    ors = [(0.25, [0]), (0.3, [0, 1, 2])]
    interactions = planted(4, ands, ors, names)
    ax = ji.plot.effects_on_columns(interactions, k=5, values=[3.14159265, "b", 12, 0])
    expected = [-2.0, 0.75, 0.3, 0.2, 0.125]
    numbers = ["-2.0", "+0.75", "+0.30", "+0.20", "+0.12"]
    if names is None:
        labels = ["AND of players 1, 2", "player 0 = 3.14159", "OR of players 0, 1, 2"]
        labels += ["player 1 = b", "AND of players 0, 3"]
    else:
        labels = ["AND of $a$, age", "age = 3.14159", "OR of age, $a$, age", "$a$ = b"]
        labels.append("AND of age,\n" + "x" * 50)
    assert [label.get_text() for label in ax.get_yticklabels()] == labels
    assert [text.get_text() for text in ax.texts] == numbers
    assert [bar.get_width() for bar in ax.patches] == expected
    drawn = [colors.to_hex(bar.get_facecolor()).upper() for bar in ax.patches]
    assert drawn == [COLOUR[effect > 0] for effect in expected]
    assert [bool(bar.get_hatch()) for bar in ax.patches] == [False, False, True, False, False]
    assert not any(label.get_parse_math() for label in ax.get_yticklabels())
    middles = [bar.get_y() + bar.get_height() / 2 for bar in ax.patches]
    np.testing.assert_allclose(middles, ax.get_yticks())
    top_first = ax.transData.transform([(0, y) for y in middles])[:, 1]
    assert (np.diff(top_first) < 0).all()


def test_numbers_have_two_digits():
    shown = {0.0123: "+0.012", -0.98765: "-0.99", 4.0: "+4.0", 12.3: "+12", -1234.5: "-1,234"}
    for effect, text in shown.items():
        ax = ji.plot.effects_on_columns(planted(1, [(effect, [0])]))
        assert ax.texts[0].get_text() == text


# --- errors

ONE = planted(2, [(1.0, [0, 1])])
MAP = np.array([[0, 1]])


@pytest.mark.parametrize(
    "draw",
    [
        lambda interactions: ji.plot.effects_on_patches(np.ones((1, 2)), MAP, interactions),
        lambda interactions: ji.plot.effects_on_words(["a", "b"], interactions),
        ji.plot.effects_on_columns,
    ],
)
def test_one_sample_of_one_model(draw):
    batch = ji.extract(np.zeros((3, 2, 4)))
    with pytest.raises(ValueError, match=r"of one sample; got .* \(3, 2\). Index it, .*\[0, 0\]"):
        draw(batch)
    with pytest.raises(ValueError, match=r"of one model; got 2 models .* interactions.model\(0\)"):
        draw(ji.extract(np.zeros((2, 4)), joint=True))
    draw(batch[0, 0])


def patches(image, players=MAP, **options):
    return lambda: ji.plot.effects_on_patches(image, players, ONE, **options)


def words(*words, **options):
    return lambda: ji.plot.effects_on_words(words, ONE, **options)


def columns(**options):
    return lambda: ji.plot.effects_on_columns(ONE, **options)


ROW = np.ones((1, 2))
BAD_CALLS = [
    (patches(np.ones((3, 1, 2))), r"1 or 3 channels, last; got .*\(3, 1, 2\).*channels='first'"),
    (patches(ROW, channels="2nd"), r"channels must be 'first' or 'last'; got '2nd'"),
    (patches(np.ones((1, 3))), r"players must broadcast .* image, \(1, 3, 1\); got shape \(1, 2\)"),
    (patches(ROW, MAP + 1), r"players must be those of .*, 0 to 1, .*; got \[1, 2\]"),
    (patches(np.ones((1, 1, 3)), [[[0, 1, 0]]]), r"players must be the same in all channels"),
    (patches(ROW, k=-1), r"k must be a whole number >= 0; got -1"),
    (words("a"), r"words must be one for each of the 2 players .*; got 1. Give players"),
    (words("a", "b", players=[0]), r"one int for each of the 2 words; got shape \(1,\)"),
    (words("a", "b", players=[0, -1]), r"players must be those of .*; got \[0\]"),
    (columns(values=[1]), r"values must be one for each of 2 players; got 1"),
    (columns(k=1.5), r"k must be a whole number >= 0; got 1.5"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_players_that_are_no_integers():
    with pytest.raises(TypeError, match=r"players must be integers; got dtype float64"):
        ji.plot.effects_on_words(["a", "b"], ONE, players=[0.0, 1.0])
