# SPDX-License-Identifier: Apache-2.0
"""Stages 3a and 4b: which part of an input each player is, and what stands for an absent one."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxinter as ji
import reference
from jaxinter import baselines
from jaxinter.players import Choice, n_players, read_choice


@pytest.fixture(autouse=True)
def quick(quick_compilation):
    pass


sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@st.composite
def grids(draw):
    """A plane and a grid that is no finer than its pixels."""
    height, width = draw(sizes)
    return (height, width), (draw(st.integers(1, height)), draw(st.integers(1, width)))


class TestPatches:
    def test_cells_row_by_row(self):
        cells = ji.patches((28, 28, 3), (4, 4))
        assert cells.shape == (28, 28, 3)
        for row, column in np.ndindex(4, 4):
            block = cells[7 * row : 7 * row + 7, 7 * column : 7 * column + 7]
            assert (block == 4 * row + column).all()

    @given(grids(), st.integers(1, 3))
    def test_of_any_size(self, case, channels):
        """Rectangles that tile the plane, a pixel of difference at most, the same in channels."""
        (height, width), (rows, columns) = case
        cells = ji.patches((height, width), (rows, columns))
        row_of, column_of = cells // columns, cells % columns
        assert (row_of == row_of[:, :1]).all() and (column_of == column_of[:1]).all()
        for along, count in ((row_of[:, 0], rows), (column_of[0], columns)):
            assert (np.diff(along) >= 0).all()
            widths = np.bincount(along, minlength=count)
            assert len(widths) == count and widths.min() >= 1 and np.ptp(widths) <= 1
        last = ji.patches((height, width, channels), (rows, columns))
        first = ji.patches((channels, height, width), (rows, columns), channels="first")
        np.testing.assert_array_equal(last, np.repeat(cells[..., None], channels, axis=2))
        np.testing.assert_array_equal(first, np.repeat(cells[None], channels, axis=0))
        last[:] = 0  # each element is its own

    def test_the_brightest_are_the_largest_l1_norms(self, rng):
        image = rng.normal(size=(8, 8))
        norms = np.abs(image).reshape(4, 2, 4, 2).sum(axis=(1, 3)).ravel()
        players = ji.brightest_patches(image, (4, 4), 5)
        chosen = sorted(np.argsort(-norms)[:5])
        for player, cell in enumerate(chosen):
            assert (players[ji.patches((8, 8), (4, 4)) == cell] == player).all()
        assert (players == -1).sum() == 11 * 4

    def test_the_brightest_over_channels_and_of_equals_the_earlier(self):
        image = np.zeros((2, 2, 4), np.uint8)  # two channels first; cells of one row, two columns
        image[0, 0, 0] = 200  # the largest number, not the largest sum
        image[:, :, 2:] = 60
        np.testing.assert_array_equal(
            ji.brightest_patches(image, (1, 2), 1, channels="first"),
            np.broadcast_to([-1, -1, 0, 0], (2, 2, 4)),
        )
        ties = ji.brightest_patches(np.ones((1, 4)), (1, 4), 2)
        np.testing.assert_array_equal(ties, [[0, 1, -1, -1]])

    def test_the_brightest_of_other_arrays(self, torch, rng):
        image = rng.normal(size=(4, 4)).astype(np.float32)
        expected = ji.brightest_patches(image, (2, 2), 2)
        for same in (jnp.asarray(image), torch.from_numpy(image)):
            np.testing.assert_array_equal(ji.brightest_patches(same, (2, 2), 2), expected)

    @given(grids(), st.integers(0, 2**32 - 1), st.data())
    def test_random_cells_of_the_centre(self, case, seed, data):
        shape, grid = case
        centre = [data.draw(st.integers(1, size)) for size in grid]
        k = data.draw(st.integers(1, centre[0] * centre[1]))
        players = ji.random_patches(shape, grid, k, centre=tuple(centre), seed=seed)
        cells = ji.patches(shape, grid)
        chosen = [int(cells[players == player][0]) for player in range(k)]
        assert chosen == sorted(set(chosen))  # in reading order
        for player, cell in enumerate(chosen):
            np.testing.assert_array_equal(cells == cell, players == player)
            for at, size, inner in zip(divmod(cell, grid[1]), grid, centre):
                ring = (size - inner) // 2
                assert ring <= at < ring + inner
        assert players.max() == k - 1 and players.min() >= -1
        again = ji.random_patches(shape, grid, k, centre=tuple(centre), seed=seed)
        np.testing.assert_array_equal(players, again)

    def test_random_cells_reach_all_of_the_centre_and_no_more(self):
        def chosen(seed, **options):
            return set(
                np.flatnonzero(ji.random_patches((8, 8), (8, 8), 10, seed=seed, **options) >= 0)
            )

        inner = {8 * row + column for row in range(1, 7) for column in range(1, 7)}
        draws = [chosen(seed) for seed in range(30)]
        assert set.union(*draws) == inner
        assert all(len(draw) == 10 for draw in draws)
        assert len(set(map(frozenset, draws))) == 30
        assert chosen(0) == chosen(0, centre=(6, 6))
        assert max(chosen(3, centre=(2, 8))) < 40  # rows 3 and 4
        assert ji.random_patches((2, 2), (1, 2), 1).min() == -1  # a grid that is all ring

    def test_refusals(self):
        def refused(message, call, *arguments, **options):
            with pytest.raises(ValueError, match=message):
                call((8, 8), *arguments, **options)

        refused("grid must be a whole number >= 1; got 0", ji.patches, (0, 2))
        refused(r"one cell a pixel of \(8, 8\); got \(9, 2\)", ji.patches, (9, 2))
        refused("channels must be .*; got 'second'", ji.patches, (2, 2), channels="second")
        refused("at most 4, the cells of the centre; got 5", ji.random_patches, (4, 4), 5)
        for centre in ((5, 1), (1, 5), 2, (2, 2, 2)):
            refused("within the grid .*4, 4", ji.random_patches, (4, 4), 1, centre=centre)
        for centre in ((0, 1), (2.5, 1)):
            refused("centre must be a whole number", ji.random_patches, (4, 4), 1, centre=centre)
        with pytest.raises(ValueError, match=r"or \(channels, height, width\); got \(8,\)"):
            ji.patches((8,), (2, 2), channels="first")
        with pytest.raises(ValueError, match="k must be a whole number >= 1; got 0"):
            ji.brightest_patches(np.ones((4, 4)), (2, 2), 0)


class TestLabelMap:
    @given(st.lists(st.lists(st.integers(-3, 4), min_size=3, max_size=3), min_size=1, max_size=4))
    def test_one_player_a_segment_in_the_order_of_labels(self, labels):
        players = ji.label_map(labels, background=[-1, 2])
        kept = sorted({label for row in labels for label in row} - {-1, 2})
        expected = [[kept.index(label) if label in kept else -1 for label in row] for row in labels]
        np.testing.assert_array_equal(players, expected)

    def test_over_channels(self):
        labels, expected = np.uint8([[9, 4], [4, 200]]), np.array([[1, 0], [0, 2]])
        np.testing.assert_array_equal(ji.label_map(labels), expected)
        last = ji.label_map(labels, (2, 2, 3))
        np.testing.assert_array_equal(last, np.stack([expected] * 3, axis=2))
        first = ji.label_map(labels, (3, 2, 2), channels="first", background=4)
        np.testing.assert_array_equal(first, [[[0, -1], [-1, 1]]] * 3)
        assert (ji.label_map(labels, background=[4, 9, 200]) == -1).all()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([1, 2],), r"labels must be int \[height, width\]; got int64 \(2,\)"),
            (([[0.5]],), "labels must be int .* float64"),
            (([[1, 2]], (2, 1)), r"shape \(2, 1\) must be an image of labels \(1, 2\)"),
            (([[1, 2]], (1, 2, 3), (), "first"), r"shape \(1, 2, 3\) must be an image of labels"),
        ],
    )
    def test_refusals(self, arguments, message):
        names = ("labels", "shape", "background", "channels")
        with pytest.raises(ValueError, match=f"label_map: {message}"):
            ji.label_map(**dict(zip(names, arguments)))


class TestColumns:
    def test_each_or_in_groups(self):
        np.testing.assert_array_equal(ji.columns(3), [0, 1, 2])
        np.testing.assert_array_equal(ji.columns(4, [[3], [0, 1]]), [1, 1, -1, 0])
        np.testing.assert_array_equal(ji.columns(2, [[], [0]]), [1, -1])
        np.testing.assert_array_equal(ji.columns(4, [np.uint8([3]), 0, (1, 1)]), [1, 2, -1, 0])
        assert ji.columns(0).shape == (0,)

    def test_groups_by_name_in_their_order(self):
        groups = {"size": [2, 0], "age": range(3, 5)}
        np.testing.assert_array_equal(ji.columns(5, groups), [0, -1, 0, 1, 1])

    @pytest.mark.parametrize(
        "group", [[0, 3], [-1], [0.5], ["age"], [True, False, True], np.array([1.0])]
    )
    def test_groups_of_no_columns(self, group):
        with pytest.raises(ValueError, match="columns: groups must hold columns 0 to 2; got"):
            ji.columns(3, [group])

    def test_a_column_of_two_groups(self):
        with pytest.raises(ValueError, match=r"in one group only; got {'a': .*'b'"):
            ji.columns(3, {"a": [0, 1], "b": [1]})


TEXT = "It's not a bad film - It is THE state-of-the-art, über-film!"
WORDS = ["It's", "not", "a", "bad", "film", "It", "is", "THE", "state-of-the-art", "über-film"]


class TestWords:
    def words(self, *arguments, **options):
        return [TEXT[a:b] for a, b in ji.word_spans(TEXT, *arguments, **options)]

    def test_punctuation_is_no_word(self):
        assert self.words() == WORDS
        assert ji.word_spans("") == ji.word_spans(" ... ") == []

    def test_chosen_by_number_or_word_in_the_order_of_the_text(self):
        assert self.words([9, "not", np.int64(0)]) == ["It's", "not", "über-film"]
        assert self.words("bad") == ["bad"]
        assert ji.word_spans("a b a", ["a"]) == [(0, 1), (4, 5)]  # wherever it stands

    def test_drawn_from_words_that_are_not_of_grammar(self):
        content = ["It's", "bad", "film", "state-of-the-art", "über-film"]
        assert self.words(5) == content
        draws = [tuple(self.words(2, seed=seed)) for seed in range(40)]
        assert {word for draw in draws for word in draw} == set(content)
        assert all(content.index(a) < content.index(b) for a, b in draws)
        assert self.words(2, seed=7) == list(draws[7])

    @pytest.mark.parametrize(
        ("choose", "message"),
        [
            (6, "at most 5, the words of the text that are not of grammar; got 6"),
            (0, "choose must be a whole number >= 1; got 0"),
            (["good"], "choose must name words of the text; got 'good'"),
            ([10], "choose must name words of the text; got 10"),
            ([-1], "choose must name words of the text; got -1"),
        ],
    )
    def test_refusals(self, choose, message):
        with pytest.raises(ValueError, match=f"word_spans: .*{message}"):
            ji.word_spans(TEXT, choose)
        with pytest.raises(TypeError, match="word_spans: text must be a string; got list"):
            ji.word_spans([TEXT], choose)


class TestTokens:
    spans = st.lists(st.integers(0, 12), min_size=2, max_size=8, unique=True).map(sorted)

    @given(spans, spans, st.permutations(range(4)))
    def test_a_player_is_the_tokens_that_share_a_character_with_it(self, ends, bounds, order):
        """Tokens side by side, empty ones among them; spans apart from each other, in any order."""
        offsets = [*pairwise(ends), *((end, end) for end in ends), (0, 0)]
        spans = list(zip(bounds[::2], bounds[1::2]))
        spans = [spans[i] for i in order if i < len(spans)]
        shared = [
            [p for p, span in enumerate(spans) if set(range(*token)) & set(range(*span))]
            for token in offsets
        ]
        every = {p for players in shared for p in players} == set(range(len(spans)))
        if every and max(map(len, shared)) <= 1:
            expected = [players[0] if players else -1 for players in shared]
            np.testing.assert_array_equal(ji.token_players(offsets, spans), expected)
        else:
            with pytest.raises(ValueError, match=r"no token lies in span|must not share a token"):
                ji.token_players(offsets, spans)

    def test_refusals(self):
        offsets = [(0, 0), (0, 5), (6, 9)]
        with pytest.raises(ValueError, match=r"span \(6, 8\) shares one with \(7, 9\)"):
            ji.token_players(offsets, [(0, 5), (7, 9), (6, 8)])
        with pytest.raises(ValueError, match=r"no token lies in span \(10, 12\). Was the text cut"):
            ji.token_players(offsets, [(0, 5), (10, 12)])
        with pytest.raises(ValueError, match=r"offsets must be \[tokens, 2\]; got shape \(3,\)"):
            ji.token_players([0, 5, 9], [(0, 5)])


def tanh_network(xp, seed=0, size=5):
    """Two layers, in the namespace of numpy, JAX or torch and in the dtype of its inputs."""
    rng = np.random.default_rng(seed)
    into, out = rng.normal(size=(size, 8)) / 2, rng.normal(size=8)

    def value(z):
        if xp is np or xp is jnp:
            w, u = (xp.asarray(weights, z.dtype) for weights in (into, out))
        else:
            w, u = (xp.from_numpy(weights).to(z) for weights in (into, out))
        return xp.tanh(z.reshape(len(z), -1) @ w) @ u

    return value


class TestIntegratedGradients:
    def test_the_definition_by_differences(self, x64, rng):
        """Each element by itself: the sum along the path of small steps of that element."""
        x, b = rng.normal(size=(2, 5))
        value, got = tanh_network(np), ji.integrated_gradients(tanh_network(jnp), x, b, steps=7)
        expected, small = np.zeros(5), 1e-5
        for i in range(5):
            for k in range(7):
                ends = np.array([b + (k + 0.5) / 7 * (x - b)] * 2)
                ends[:, i] += [small, -small]
                up, down = value(ends)
                expected[i] += (x[i] - b[i]) * (up - down) / (2 * small) / 7
        np.testing.assert_allclose(got, expected, rtol=1e-7)

    @pytest.mark.parametrize("kind", ["jax", "numpy", "torch"])
    @pytest.mark.parametrize("baseline", [0.0, 0.5, "array"])
    def test_sums_to_what_the_input_is_worth(self, kind, baseline, rng, request):
        x = rng.normal(size=(1, 5)).astype(np.float32)
        b = rng.normal(size=(5,)) if baseline == "array" else baseline
        if kind == "torch":
            torch = request.getfixturevalue("torch")
            value, given_x = tanh_network(torch), torch.from_numpy(x)
        else:
            value, given_x = tanh_network(jnp), jnp.asarray(x) if kind == "jax" else x
        ig = ji.integrated_gradients(value, given_x, b, steps=20)
        assert tuple(ig.shape) == (1, 5) and str(ig.dtype).endswith("float32")
        assert isinstance(ig, jax.Array) == (kind != "torch")
        v = tanh_network(np)(np.stack([x, np.broadcast_to(b, x.shape)]))
        np.testing.assert_allclose(np.asarray(ig).sum(), v[0] - v[1], atol=5e-3)

    def test_steps(self):
        cube = lambda z: (z**3).sum(axis=1)  # noqa: E731
        (got,) = ji.integrated_gradients(cube, np.float32([2.0]), steps=1)
        assert got == 2 * 3  # 2 * (3 z**2 at the middle, 1)
        with pytest.raises(ValueError, match="steps must be a whole number >= 1; got 0"):
            ji.integrated_gradients(cube, np.float32([2.0]), steps=0)


class TestChoices:
    @pytest.mark.parametrize(
        ("text", "choice"),
        [
            ("patches:4x8", Choice("patches", (4, 8), None, 0)),
            ("patches:8x8:brightest=10", Choice("patches", (8, 8), "brightest", 10)),
            ("patches:8x8:gradients=10", Choice("patches", (8, 8), "gradients", 10)),
            ("patches:16x2:random=3", Choice("patches", (16, 2), "random", 3)),
            ("columns", Choice("columns", None, None, 0)),
            ("tokens", Choice("tokens", None, None, 0)),
            ("words", Choice("words", None, None, 0)),
            ("words:random=12", Choice("words", None, "random", 12)),
        ],
    )
    def test_by_name(self, text, choice):
        assert read_choice("explain", text) == choice

    @pytest.mark.parametrize(
        "text",
        ["", "patches", "patches:4", "patches:4x4x4", "patches:4x4:darkest=3", "patches:4x4:random"]
        + ["patches:4x4:random=-1", " columns", "words:random", "tokens:random=3", "superpixels"],
    )
    def test_what_is_no_choice(self, text):
        with pytest.raises(
            ValueError, match=r'^explain: players must be .*"patches:4x4".*; got'
        ) as e:
            read_choice("explain", text)
        assert repr(text) in str(e.value)

    def test_maps_without_gaps(self):
        assert n_players("explain", np.array([[2, 0], [-1, 1]])) == 3
        assert (
            n_players("explain", np.array([-1, -1])) == n_players("explain", np.zeros(0, int)) == 0
        )
        with pytest.raises(
            ValueError, match=r"explain: .* no element belongs to \[1, 2\] of 0 to 3"
        ):
            n_players("explain", np.array([0, 3, 3, -1]))
        with pytest.raises(TypeError, match="players must be integers; got dtype float64"):
            n_players("explain", np.array([0.0, 1.0]))


class TestMeanColour:
    @given(st.integers(0, 2), st.integers(1, 3))
    def test_a_loop_over_pixels(self, batch_axes, channels):
        rng = np.random.default_rng([batch_axes, channels])
        images = rng.integers(0, 255, size=(*(3, 2)[:batch_axes], 4, 5, channels)).astype(np.uint8)
        flat = images.reshape(-1, channels)
        expected = [sum(int(pixel[c]) for pixel in flat) / len(flat) for c in range(channels)]
        np.testing.assert_allclose(ji.mean_colour(images), expected)
        first = ji.mean_colour(np.moveaxis(images, -1, -3), channels="first")
        assert first.shape == (channels, 1, 1)
        np.testing.assert_allclose(first[:, 0, 0], expected)

    def test_refusals(self):
        with pytest.raises(
            ValueError, match=r"height, width\] with channels=\"first\"; got \(4, 4\)"
        ):
            ji.mean_colour(np.ones((4, 4)))
        with pytest.raises(ValueError, match="channels='2nd'"):
            ji.mean_colour(np.ones((4, 4, 1)), channels="2nd")


class TestTauStep:
    @given(st.lists(st.floats(-10, 10), min_size=1), st.floats(0.01, 10))
    def test_one_step_towards_zero_and_not_past_it(self, x, tau):
        expected = [max(e - tau, 0) if e > 0 else min(e + tau, 0) for e in x]
        np.testing.assert_allclose(ji.tau_step(np.array(x), tau), expected, atol=1e-12)

    def test_any_array(self, torch):
        expected = [1.0, 0.0, 0.0]
        for x in ([3.0, -1.0, 0.5], np.float32([3, -1, 0.5]), jnp.asarray([3.0, -1.0, 0.5])):
            np.testing.assert_array_equal(ji.tau_step(x, 2), expected)
        got = ji.tau_step(torch.tensor([3.0, -1.0, 0.5]), 2)
        assert got.tolist() == expected and got.dtype == torch.float32
        assert ji.tau_step(np.float32([3]), 2).dtype == np.float32
        with pytest.raises(ValueError, match="tau must be a number > 0; got -1"):
            ji.tau_step(np.ones(3), -1)


def strength(value, x, players, b):
    """sum_{S not empty} |AND(S)|, by definition, of a value in numpy."""
    n = max(players) + 1
    inputs = np.stack(
        [np.where([s >> p & 1 if p >= 0 else 1 for p in players], x, b) for s in range(1 << n)]
    )
    return np.abs(reference.mobius(value(inputs))[1:]).sum()


PLAYERS = [0, 1, 2, 2, -1]


class TestLearnedBaseline:
    def test_a_step_goes_against_the_gradient(self, x64, rng):
        """Differences of the definition give its direction; the largest element moves by rate."""
        x, start = rng.normal(size=(2, 5))
        value, small = tanh_network(np), 1e-6
        slope = np.array(
            [
                strength(value, x, PLAYERS, start + small * e)
                - strength(value, x, PLAYERS, start - small * e)
                for e in np.eye(5)
            ]
        )
        b = ji.learned_baseline(
            tanh_network(jnp), x, PLAYERS, start, bounds=(start - 1, start + 1), steps=1, rate=1e-3
        )
        np.testing.assert_allclose(b - start, -2e-3 * slope / np.abs(slope).max(), atol=1e-8)
        assert slope[4] == 0  # background has no baseline

    def test_in_chunks(self, rng, monkeypatch):
        x, start = rng.normal(size=(2, 5)).astype(np.float32)
        whole = ji.learned_baseline(tanh_network(jnp), x, PLAYERS, start, steps=1)
        monkeypatch.setattr(baselines, "CHUNK", 4)
        parts = ji.learned_baseline(tanh_network(jnp), x, PLAYERS, start, steps=1)
        np.testing.assert_allclose(parts, whole, atol=1e-5)

    @pytest.mark.parametrize("seed", [4, 6, 11])
    def test_one_colour_against_a_grid(self, seed):
        """The best of all numbers within the bounds, by brute force, where there is one valley."""
        x = np.random.default_rng(seed).normal(size=5).astype(np.float32)
        value = tanh_network(np, seed)
        b = ji.learned_baseline(tanh_network(jnp, seed), x, PLAYERS, 0.1, steps=30, rate=0.1)
        assert b.shape == () and b.dtype == np.float32
        reach = np.ptp(x) / 10
        grid = np.linspace(0.1 - reach, 0.1 + reach, 101)
        strengths = [strength(value, x, PLAYERS, g) for g in grid]
        assert 0.1 - reach - 1e-6 <= b <= 0.1 + reach + 1e-6
        assert strength(value, x, PLAYERS, float(b)) <= min(strengths) + 0.02 * np.ptp(strengths)

    @pytest.mark.parametrize("rate", [0.05, 3.0])
    def test_never_worse_than_its_start(self, rate, rng):
        """Even of steps that are far too long."""
        for seed in range(3):
            x = rng.normal(size=5).astype(np.float32)
            value = tanh_network(np, seed)
            bounds = (-2.0, np.full(5, 3.0))
            b = ji.learned_baseline(
                tanh_network(jnp, seed), x, PLAYERS, np.zeros(5), bounds=bounds, steps=4, rate=rate
            )
            assert (b >= -2).all() and (b <= 3).all()
            before, after = (strength(value, x, PLAYERS, np.asarray(c)) for c in (0 * x, b))
            assert after <= before * (1 + 1e-5)

    def test_the_last_step_counts(self):
        """v = z1 z2 and x = (2, 2): the strength is 4 - b**2; one long step ends at the bound."""
        product = lambda z: z[:, 0] * z[:, 1]  # noqa: E731
        x, bounds = np.float32([2, 2]), (0, 1)
        b = ji.learned_baseline(product, x, [0, 1], 0.5, bounds=bounds, steps=1, rate=1)
        assert b == 1.0

    def test_a_start_outside_the_bounds_is_brought_in(self):
        value = lambda z: z[:, 0]  # noqa: E731
        b = ji.learned_baseline(value, np.float32([5, 5]), [0, 1], 9.0, bounds=(0, 1), steps=2)
        assert b == 1.0

    def test_the_same_in_torch(self, torch, rng):
        x = rng.normal(size=5).astype(np.float32)
        in_jax = ji.learned_baseline(tanh_network(jnp), x, PLAYERS, np.zeros(5), steps=4)
        value = tanh_network(torch)
        in_torch = ji.learned_baseline(value, torch.from_numpy(x), PLAYERS, np.zeros(5), steps=4)
        assert in_torch.dtype == torch.float32 and not in_torch.requires_grad
        np.testing.assert_allclose(in_torch, in_jax, atol=1e-5)
        assert np.abs(in_jax).max() > 0.01

    def test_nothing_to_learn(self):
        value = lambda z: 0 * z[:, 0]  # noqa: E731
        for players in ([0, 1], [-1, -1]):
            b = ji.learned_baseline(value, np.float32([1, 2]), players, 0.5)
            assert b == 0.5

    def test_refusals(self):
        value, x = tanh_network(jnp), np.zeros(5, np.float32)
        with pytest.raises(ValueError, match="learned_baseline: steps must be a whole"):
            ji.learned_baseline(value, x, PLAYERS, steps=0)
        with pytest.raises(ValueError, match=r"learned_baseline: players must be .* gaps"):
            ji.learned_baseline(value, x, [0, 2, 2, 2, 2])


class TestLearnedDataBaseline:
    def loss(self, value, xs, b):
        """Mean over all S1, S2 of one player and all contexts, by the definition, in numpy."""
        total = []
        for x in xs:
            v = value(np.stack([np.where([s >> p & 1 for p in range(4)], x, b) for s in range(16)]))
            for i in range(4):
                for j in range(i):
                    one, two = 1 << i, 1 << j
                    for s in (s for s in range(16) if not s & (one | two)):
                        total.append(abs(v[s | one | two] - v[s | one] - v[s | two] + v[s]))
        return np.mean(total)

    def learn(self, xs, xp=jnp, **options):
        xs = xs if xp is jnp else xp.from_numpy(xs)
        start = np.full(4, -1.0)
        return ji.learned_data_baseline(tanh_network(xp, size=4), xs, range(4), start, **options)

    def test_the_loss_falls(self, rng):
        xs = rng.normal(size=(4, 4)).astype(np.float32) + 1
        b = self.learn(xs, epochs=4, rate=0.2)
        assert b.shape == (4,) and b.dtype == np.float32
        value = tanh_network(np, size=4)
        before, after = (self.loss(value, xs, c) for c in (np.full(4, -1.0), np.asarray(b)))
        assert after < 0.8 * before

    def test_the_same_in_torch(self, torch, rng):
        xs = rng.normal(size=(3, 4)).astype(np.float32)
        in_jax, in_torch = self.learn(xs, epochs=2), self.learn(xs, torch, epochs=2)
        assert in_torch.dtype == torch.float32 and not in_torch.requires_grad
        np.testing.assert_allclose(in_torch, in_jax, atol=1e-6)
        assert np.abs(in_jax + 1).max() > 1e-3

    def test_seeds(self, torch, rng):
        xs = rng.normal(size=(3, 4)).astype(np.float32)
        one, again, other = (self.learn(xs, torch, epochs=2, seed=seed) for seed in (0, 0, 1))
        assert (one == again).all() and (one != other).any()

    def test_two_steps_by_hand(self):
        """Two players: S1 and S2 are those, S3 is empty; v = z1 z2, b = (1, 1) and x = (3, 2)."""
        value = lambda z: z[:, 0] * z[:, 1]  # noqa: E731
        xs, options = np.float32([[3, 2]]), {"rate": 0.1, "momentum": 0.5}
        b = ji.learned_data_baseline(value, xs, [0, 1], np.ones(2), epochs=2, **options)
        # (x1 - b1)(x2 - b2) = 2 * 1 falls by 1 with b1 and by 2 with b2; then it is 1.9 * 0.8
        first, second = np.array([1, 2]), np.array([0.8, 1.9])
        np.testing.assert_allclose(b, 1 + 0.1 * (first + second + 0.5 * first), rtol=1e-6)

    def test_a_value_of_each_sample(self, rng):
        xs = rng.normal(size=(2, 4)).astype(np.float32)
        one = tanh_network(jnp, size=4)
        learn = lambda values, xs: ji.learned_data_baseline(  # noqa: E731
            values, xs, range(4), np.zeros(4), epochs=1
        )
        alone = learn(one, xs[:1])
        np.testing.assert_array_equal(learn([one], xs[:1]), alone)
        np.testing.assert_array_equal(learn([one, one], xs), learn(one, xs))
        nothing = lambda z: 0 * z[:, 0]  # noqa: E731
        assert (learn([nothing, nothing], xs) == 0).all()
        assert (learn([nothing, one], xs) != 0).any() and (learn([one, nothing], xs) != 0).any()
        with pytest.raises(ValueError, match="values must be one of each sample, 2; got 1"):
            learn([one], xs)
        with pytest.raises(ValueError, match="players must be at least 2; got 1"):
            ji.learned_data_baseline(one, xs, [0] * 4)

    def test_every_sample_once_an_epoch_in_random_order(self):
        seen = []

        def value(k):
            return lambda z: seen.append(k) or z[:, 0]

        xs = np.ones((5, 2), np.float32)
        ji.learned_data_baseline([value(k) for k in range(5)], xs, [0, 1], epochs=3)
        orders = {tuple(seen[5 * epoch : 5 * epoch + 5]) for epoch in range(3)}
        assert len(seen) == 15 and len(orders) == 3
        assert {tuple(sorted(order)) for order in orders} == {(0, 1, 2, 3, 4)}

    @given(st.integers(2, 12), st.integers(0, 2**32 - 1))
    def test_pairs_and_contexts(self, n, seed):
        """S1 and S2 of 1 to 3 players, apart from each other and from S3."""
        both, one, two, context = baselines._pair_and_context(n, np.random.default_rng(seed))
        np.testing.assert_array_equal(both, one | two)
        np.testing.assert_array_equal(context, one & two)
        assert 1 <= (one & ~context).sum() <= 3 and 1 <= (two & ~context).sum() <= 3
        assert not (one & two & ~context).any()

    def test_how_often_which_pair_and_context(self):
        rng = np.random.default_rng(0)
        draws = np.array([baselines._pair_and_context(8, rng) for _ in range(6000)])
        _, one, two, context = draws.transpose(1, 0, 2)
        sizes = [(one & ~context).sum(axis=1), (two & ~context).sum(axis=1)]
        for size in sizes:
            np.testing.assert_allclose(np.bincount(size)[1:] / 6000, [1 / 3] * 3, atol=0.03)
        rest = 8 - sizes[0] - sizes[1]
        held = context.sum(axis=1)
        assert (held <= rest).all()
        np.testing.assert_allclose((held == rest).mean(), 1 / 3, atol=0.03)  # all others
        fewer = held[(rest == 4) & (held < rest)]
        np.testing.assert_allclose(np.bincount(fewer) / len(fewer), [1 / 4] * 4, atol=0.05)
        np.testing.assert_allclose(draws[:, 1].mean(axis=0), draws[:, 1].mean(), atol=0.03)
