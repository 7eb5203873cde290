# SPDX-License-Identifier: Apache-2.0
"""Networks of every framework, against a slow loop: one coalition, one element at a time."""

import json
import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import jaxinter as ji
from jaxinter import _native, _progress

pytestmark = pytest.mark.usefixtures("quick_compilation")

N, CLASSES = 4, 3
PLAYERS = np.array([0, 1, -1, 2, 3])  # of five columns
OUTPUTS = ("log-odds", "logit", "log-probability", "probability", "value")
TARGETS = (2, "predicted", "all", (0, 2))


def slow(run, x, players, baseline):
    """The outputs for all coalitions, in float64."""
    players, baseline = np.broadcast_to(players, x.shape), np.broadcast_to(baseline, x.shape)
    outputs = []
    for s in range(1 << (players.max() + 1)):
        masked = np.array(x)
        for e in np.ndindex(x.shape):
            if players[e] >= 0 and not s >> players[e] & 1:
                masked[e] = baseline[e]
        outputs.append(np.asarray(run(masked[None]), np.float64))
    return np.concatenate(outputs)


def measured(logits, output, target):
    """By definition: the table ``[2**n]``, or of all classes ``[classes, 2**n]``."""
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    each = {"log-odds": np.log(p / (1 - p)), "log-probability": np.log(p), "probability": p}
    each = each.get(output, logits).T
    if target == "predicted":
        target = int(logits[-1].argmax())  # the last coalition is the whole input
    if target == "all":
        return each
    return each[target[0]] - each[target[1]] if isinstance(target, tuple) else each[target]


def assert_explains(model, x, outputs, rtol=2e-5, **options):
    """The table that the outputs of a slow loop stand for."""
    value_fn = ji.value_function(model, x, **options)
    expected = measured(
        outputs, options.get("output", "log-odds"), options.get("target", "predicted")
    )
    got = ji.evaluate(value_fn)
    np.testing.assert_allclose(got, expected, rtol=0, atol=rtol * max(1, np.abs(expected).max()))
    return value_fn


# --- one small network in every framework

WEIGHTS = [np.random.default_rng(k).normal(size=s).astype(np.float32) / 2 for k, s in
           enumerate([(5, 6), (6,), (6, CLASSES), (CLASSES,)])]  # fmt: skip


def mlp(weights, z):
    namespace = jnp if isinstance(z, jax.Array) else np
    w1, b1, w2, b2 = weights
    return namespace.tanh(z @ w1 + b1[None]) @ w2 + b2[None]


def plain_mlp(z):
    return mlp(WEIGHTS, z)


def nnx_mlp(dtype=jnp.float32):
    rngs = nnx.Rngs(0)
    layers = [nnx.Linear(*w.shape, rngs=rngs, param_dtype=dtype) for w in WEIGHTS[::2]]
    for layer, kernel, bias in zip(layers, WEIGHTS[::2], WEIGHTS[1::2]):
        layer.kernel[...], layer.bias[...] = jnp.asarray(kernel, dtype), jnp.asarray(bias, dtype)
    return nnx.Sequential(layers[0], nnx.tanh, layers[1])


class LinenMlp(linen.Module):
    hidden: int = 6

    @linen.compact
    def __call__(self, z):
        z = linen.tanh(linen.Dense(self.hidden, name="first")(z))
        return linen.Dense(CLASSES, name="last")(z)


def linen_variables():
    first, last = (dict(zip(("kernel", "bias"), WEIGHTS[k : k + 2])) for k in (0, 2))
    return {"params": {"first": first, "last": last}}


def torch_mlp(torch, dtype=None):
    module = torch.nn.Sequential(
        torch.nn.Linear(5, 6), torch.nn.Tanh(), torch.nn.Linear(6, CLASSES)
    )
    with torch.no_grad():
        for parameter, weight in zip(module.parameters(), WEIGHTS):
            parameter.copy_(torch.from_numpy(weight.T))
    return module.to(dtype)


def of_kind(kind, library):
    """A model, a function that makes x its kind of array, and the raw call."""
    if kind == "numpy function":
        return plain_mlp, np.asarray, plain_mlp
    if kind == "sklearn":
        neural = library("sklearn.neural_network")
        model = neural.MLPClassifier((6,), activation="tanh", max_iter=1)
        rows = np.random.default_rng(0).normal(size=(30, 5))
        with pytest.warns(UserWarning, match="Maximum iterations"):
            model.fit(rows, np.arange(30) % CLASSES)
        model.coefs_, model.intercepts_ = WEIGHTS[::2], WEIGHTS[1::2]
        return model, np.asarray, lambda z: np.log(model.predict_proba(z))
    if kind.startswith("torch"):
        torch = library("torch")
        module = torch_mlp(torch)

        def raw(z):
            return module(torch.from_numpy(z)).detach().numpy()

        if kind == "torch":
            return module, np.asarray, raw
        return lambda z: module(z), torch.from_numpy, raw
    module, variables = LinenMlp(), linen_variables()
    model, call = {
        "jax function": (plain_mlp,) * 2,
        "jax function and parameters": ((mlp, WEIGHTS), plain_mlp),
        "nnx": (nnx_mlp(),) * 2,
        "linen": ((module, variables), module.bind(variables)),
        "linen, bound": (module.bind(variables),) * 2,
    }[kind]
    place = jnp.asarray if kind == "jax function" else np.asarray
    return model, place, lambda z: call(jnp.asarray(z))


KINDS = ("numpy function", "sklearn", "torch", "torch function", "jax function")
KINDS += ("jax function and parameters", "nnx", "linen", "linen, bound")
X = np.random.default_rng(5).normal(size=5).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_targets(kind, library):
    model, place, raw = of_kind(kind, library)
    outputs = slow(raw, X, PLAYERS, 0.0)
    options = {"players": PLAYERS}
    cases = [(output, target) for output in OUTPUTS for target in TARGETS]
    if kind not in ("numpy function", "torch"):  # every program takes its time
        cases = [(o, t) for o, t in cases if t == 2 or (kind == "nnx" and o == "log-odds")]
    if kind == "sklearn":  # its "value" is a probability
        cases.remove(("value", 2))
    for output, target in cases:
        assert_explains(model, place(X), outputs, output=output, target=target, **options)
    value_fn = assert_explains(model, place(X), outputs, **options)
    assert (value_fn.n_players, value_fn.target) == (N, int(outputs[-1].argmax()))
    np.testing.assert_array_equal(value_fn.players, PLAYERS)
    difference = ji.value_function(model, place(X), target=(0, 1), **options)  # of logits
    np.testing.assert_allclose(
        ji.evaluate(difference), outputs[:, 0] - outputs[:, 1], rtol=1e-4, atol=1e-5
    )
    chosen = ji.value_function(model, place(X), output=lambda z: z[:, :2] * z[:, 1:], **options)
    if kind != "sklearn":
        expected = (outputs[:, :2] * outputs[:, 1:]).T
        np.testing.assert_allclose(ji.evaluate(chosen), expected, rtol=1e-4, atol=1e-5)
    assert chosen.target is None


@pytest.mark.parametrize("kind", KINDS)
def test_baselines(kind, library, rng):
    model, place, raw = of_kind(kind, library)
    rows = rng.normal(size=(3, 5)).astype(np.float32)
    away = np.sign(X) * np.maximum(np.abs(X) - 0.5, 0)
    for baseline, fill in [(1.5, 1.5), (rows[0], rows[0]), ("zero", 0.0), ("tau:0.5", away)]:
        outputs = slow(raw, X, PLAYERS, fill)
        assert_explains(model, place(X), outputs, baseline=baseline, players=PLAYERS)
    with_mask = np.where(PLAYERS < 0, 4, PLAYERS)
    for background, players in (("keep", PLAYERS), ("mask", with_mask)):
        of_rows = [
            measured(slow(raw, X, players, row)[: 1 << N], "log-odds", 1) for row in rows
        ]  # with the background masked: the coalitions without a fifth player
        value_fn = ji.value_function(
            model, place(X), target=1, players=PLAYERS, baseline=rows, background=background
        )
        expected = np.mean(of_rows, axis=0)
        np.testing.assert_allclose(ji.evaluate(value_fn), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(value_fn.players, PLAYERS)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "function" in kind])
@pytest.mark.parametrize("axes", [1, 2])
def test_one_output_is_the_value_or_one_logit(kind, axes, library):
    several, place, raw = of_kind(kind, library)

    def model(*args):
        gap = several(*args) if callable(several) else several[0](*args)
        return gap[:, 0] - gap[:, 1] if axes == 1 else gap[:, :1] - gap[:, 1:2]

    model = (model, several[1]) if isinstance(several, tuple) else model
    outputs = slow(raw, X, PLAYERS, 0.0)
    logit = outputs[:, 0] - outputs[:, 1]
    p = 1 / (1 + np.exp(-logit))
    by_name = {None: logit, "value": logit, "logit": logit, "log-odds": logit}
    by_name |= {"probability": p, "log-probability": np.log(p)}
    for output, expected in by_name.items():
        for target in ("predicted", "all", 1, None):
            value_fn = ji.value_function(
                model, place(X), output=output, target=target, players=PLAYERS
            )
            np.testing.assert_allclose(ji.evaluate(value_fn), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(
        ValueError, match="target must be left out for a model of one output; got 2"
    ):
        ji.value_function(model, place(X), target=2)


def test_what_holds_the_logits(torch):
    """Objects and mappings with logits, the first of several; a function gets anything else."""
    logits, x = torch.arange(3.0), torch.ones(2)

    def of(wrap, **options):
        return ji.evaluate(
            ji.value_function(lambda z: wrap(z[:, :1] * logits), x, target=2, **options)
        )

    plain = of(lambda z: z)
    for wrap in (
        lambda z: SimpleNamespace(logits=z, loss=None),
        lambda z: {"logits": z, "loss": 0},
        lambda z: (z, "more"),
        lambda z: [z],
    ):
        np.testing.assert_array_equal(of(wrap), plain)
    got = of(lambda z: {"boxes": z}, output=lambda found: found["boxes"][:, 1])
    np.testing.assert_array_equal(got, [0, 1, 0, 1])
    in_jax = (lambda p, z: {"logits": z[:, :1] * p}, jnp.arange(3.0)[None])
    np.testing.assert_allclose(
        ji.evaluate(ji.value_function(in_jax, np.ones(2, np.float32), target=2)), plain, rtol=1e-6
    )


def test_targets_as_arrays_of_no_axes(torch):
    for target in (np.int64(1), np.array(1), jnp.int32(1), torch.tensor(1)):
        value_fn = ji.value_function(plain_mlp, X, target=target)
        assert value_fn.target == 1 and type(value_fn.target) is int


# --- players


IMAGE = np.random.default_rng(2).normal(size=(8, 8, 3)).astype(np.float32)


def of_image(z):
    """A function of images, channels last; no pixel matters as another does."""
    weights = np.sin(np.arange(IMAGE.size * 3)).reshape(IMAGE.size, 3).astype(np.float32)
    return np.tanh(z.reshape(len(z), -1)) @ weights


CHOICES = {
    "patches:2x2": (ji.patches((8, 8, 3), (2, 2)), ["0,0", "0,1", "1,0", "1,1"]),
    "patches:4x2:brightest=3": (ji.brightest_patches(IMAGE, (4, 2), 3), None),
    "patches:8x8:random=4": (ji.random_patches((8, 8, 3), (8, 8), 4, seed=7), None),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_patches_by_name(choice):
    seats, names = CHOICES[choice]
    value_fn = assert_explains(
        of_image, IMAGE, slow(of_image, IMAGE, seats, 0.0), players=choice, seed=7
    )
    np.testing.assert_array_equal(value_fn.players, seats)
    for player, name in enumerate(value_fn.player_names):
        assert names is None or name == f"patch {names[player]}"
        row, column = (int(part) for part in name.removeprefix("patch ").split(","))
        height, width = (8 // int(g) for g in choice.split(":")[1].split("x"))
        cell = seats[row * height : (row + 1) * height, column * width : (column + 1) * width]
        assert (cell == player).all() and (seats == player).sum() == cell.size


def test_channels_come_first_where_the_framework_has_them_so(torch):
    first = torch.from_numpy(IMAGE.transpose(2, 0, 1).copy())
    outputs = slow(of_image, IMAGE, CHOICES["patches:2x2"][0], IMAGE.mean((0, 1)))

    def channels_first(z):
        return torch.from_numpy(of_image(z.permute(0, 2, 3, 1).numpy()))

    options = {"players": "patches:2x2", "baseline": "mean"}
    value_fn = assert_explains(channels_first, first, outputs, **options)
    assert value_fn.players.shape == (3, 8, 8)
    assert_explains(of_image, IMAGE, outputs, **options)

    def channels_last(z):
        return torch.from_numpy(of_image(z.numpy()))

    assert_explains(channels_last, torch.from_numpy(IMAGE), outputs, channels="last", **options)
    grey = ji.value_function(lambda z: z.sum((1, 2)), IMAGE[..., 0], **options)
    expected = IMAGE[..., 0].mean() * 64
    np.testing.assert_allclose(ji.evaluate(grey)[0], expected, rtol=1e-4)


def test_superpixels_are_repeated_over_channels(torch):
    labels = np.arange(64).reshape(8, 8) // 20 * 2 - 2  # -2, 0, 2, 4
    seats = np.broadcast_to((labels // 2)[..., None], IMAGE.shape)
    value_fn = assert_explains(
        of_image, IMAGE, slow(of_image, IMAGE, seats, 0.0), players=labels, player_names="abc"
    )
    assert value_fn.player_names == ("a", "b", "c")
    np.testing.assert_array_equal(value_fn.players, seats)
    first = ji.value_function(lambda z: z.sum((1, 2, 3)), torch.ones(3, 8, 8), players=labels)
    np.testing.assert_array_equal(first.players, seats.transpose(2, 0, 1))


def test_gradients_choose_and_learn(torch):
    """Integrated gradients choose players, learned baselines are those of `learned_baseline`."""
    weights = np.sin(np.arange(64 * 3)).reshape(64, 3).astype(np.float32)
    x = IMAGE[..., :1].transpose(2, 0, 1).copy()  # [1, 8, 8]
    run = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3), torch.nn.Tanh())
    module = torch.nn.Sequential(run, torch.nn.Dropout(0.9)).train()
    in_jax = (lambda w, z: jnp.tanh(z.reshape(len(z), 64) @ w), jnp.asarray(weights))
    options = {"players": "patches:4x4:gradients=3", "target": 1, "channels": "first"}
    for model, network, place in (
        (in_jax, lambda z: in_jax[0](in_jax[1], z), jnp.asarray),
        (module, run, torch.tensor),
    ):

        def worth(z, network=network):
            return ji.log_odds(network(z), 1)

        value_fn = ji.value_function(model, x, **options)
        gradients = np.asarray(ji.integrated_gradients(worth, place(x)))
        seats = ji.brightest_patches(gradients, (4, 4), 3, channels="first")
        np.testing.assert_array_equal(value_fn.players, seats)
    value_fn = ji.value_function(module, x, baseline="learned", **options)
    learned = ji.learned_baseline(worth, place(x), seats, 0 * place(x)).numpy()
    outputs = slow(lambda z: run(place(z)).tolist(), x, seats, learned)
    got = ji.evaluate(value_fn)
    np.testing.assert_allclose(got, measured(outputs, "log-odds", 1), rtol=1e-3, atol=1e-4)
    plain = ji.evaluate(ji.value_function(module, x, **options))
    assert np.abs(ji.mobius(got)[1:]).sum() < np.abs(ji.mobius(plain)[1:]).sum()
    assert all(p.grad is None for p in module.parameters())


def test_a_background_of_its_own_is_no_other_sample():
    options = {"players": PLAYERS, "baseline": 0.5, "target": 1}
    keys = {
        ji.value_function(plain_mlp, X, **options | changed).key
        for changed in ({}, {"background": "mask"}, {"baseline": 0.25}, {"target": 0},
                        {"target": "all"}, {"output": "logit"}, {"players": PLAYERS[::-1]})
    }  # fmt: skip
    keys.add(ji.value_function(plain_mlp, X + 1, **options).key)
    assert len(keys) == 8
    assert ji.value_function(plain_mlp, X, **options).key in keys


# --- torch


@pytest.fixture
def nn(torch):
    torch.manual_seed(0)
    return torch.nn


@pytest.fixture
def residual(nn, torch):
    """A network with a skip around "block"; what it does with the number of its rows is `how`."""

    class Residual(nn.Module):
        def __init__(self, how):
            super().__init__()
            self.stem, self.block = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
            self.act, self.head = nn.ReLU(inplace=True), nn.Linear(16, CLASSES)
            self.how = how

        def forward(self, z):
            rows = z.shape[0]
            low = self.stem(z)
            high = self.block(low)
            high = self.act(high) + low
            high = nn.functional.adaptive_avg_pool2d(high, 2)
            if self.how == "flatten":
                high = high.flatten(1)
            elif self.how == "reshape to the rows of the input":
                high = high.reshape(rows, -1)
            elif self.how == "take the rows of the input":
                high = high[:rows].flatten(1)
            elif self.how == "give the rows of the input":
                return self.head(high.flatten(1)).reshape(rows, -1)
            else:
                high = torch.cat([high.flatten(1), low.flatten(1)], 1)[:, :16]
            return self.head(high)

    return Residual


def rows_through(layer):
    """The rows that a layer is run on, call by call."""
    seen = []
    layer.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    return seen


class TestTorch:
    FIRST = np.ascontiguousarray(IMAGE.transpose(2, 0, 1))

    def upper(self, torch, module, layer):
        """Features of the layer, and the network from there on, by hand."""
        names = [name for name, _ in module.named_children()]
        low, high = names[: names.index(layer) + 1], names[names.index(layer) + 1 :]
        with torch.no_grad():
            features = torch.from_numpy(self.FIRST)[None]
            for name in low:
                features = getattr(module, name)(features).clone()

        @torch.no_grad()
        def run(z):
            z = torch.from_numpy(z)
            for name in high:
                z = getattr(module, name)(z)
            return z.numpy()

        return features[0].numpy(), run

    @pytest.mark.parametrize("layer", ["0", "2"])
    @pytest.mark.parametrize("players", ["patches:2x2", "patches:4x4:brightest=3"])
    def test_from_a_layer_on(self, layer, players, torch, nn):
        module = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(4, 2, 1), nn.Tanh(), nn.Flatten(), nn.LazyLinear(CLASSES),
        )  # fmt: skip
        module(torch.from_numpy(self.FIRST)[None])
        features, run = self.upper(torch, module, layer)
        assert features.min() < 0 if layer == "0" else features.min() >= 0
        seats = ji.patches(features.shape, (2, 2), channels="first")
        if "brightest" in players:
            seats = ji.brightest_patches(features, (4, 4), 3, channels="first")
        lower = rows_through(module[0])
        for baseline, fill in (("zero", 0.0), ("mean", features.mean((1, 2), keepdims=True))):
            outputs = slow(run, features, seats, fill)
            options = {"layer": layer, "players": players, "baseline": baseline}
            value_fn = assert_explains(module, self.FIRST, outputs, **options)
            np.testing.assert_array_equal(value_fn.players, seats)
        lower.clear()
        ji.evaluate(value_fn)
        assert set(lower) == {1}
        assert len(module[0]._forward_hooks) == 1 and not module[2]._forward_hooks

    HOWS = ("flatten", "reshape to the rows of the input", "take the rows of the input", "cat")
    HOWS += ("give the rows of the input",)

    @pytest.mark.parametrize("how", HOWS)
    def test_skips_around_the_layer_and_rows_read_below_it(self, how, torch, residual):
        module = residual(how)
        with torch.no_grad():
            low = module.stem(torch.from_numpy(self.FIRST)[None])
            features = module.block(low)[0].numpy()

        @torch.no_grad()
        def run(z):
            high = torch.relu(torch.from_numpy(z)) + low
            return module.head(torch.nn.functional.adaptive_avg_pool2d(high, 2).flatten(1)).numpy()

        seats = ji.patches(features.shape, (2, 2), channels="first")
        outputs = slow(run, features, seats, 0.0)
        lower = rows_through(module.stem)
        options = {"layer": "block", "players": "patches:2x2"}
        value_fn = assert_explains(module, self.FIRST, outputs, **options)
        lower.clear()
        ji.evaluate(value_fn, batch_size=8)
        assert lower == ([1, 1] if how == "flatten" else [8, 8])

    def test_gradients_from_a_layer_on(self, torch, residual):
        module = residual("flatten")
        options = {"layer": "block", "players": "patches:4x4:gradients=2", "baseline": "learned"}
        value_fn = ji.value_function(module, self.FIRST, target=1, **options)
        assert value_fn.players.shape == (4, 8, 8) and value_fn.n_players == 2
        assert np.ptp(ji.evaluate(value_fn)) > 0
        assert all(p.grad is None for p in module.parameters())

    def test_modes_come_back_even_after_errors(self, torch, nn):
        class Breaks(nn.Module):
            rows = 99

            def forward(self, z):
                modes.append(self.training)
                if len(z) >= self.rows:
                    raise RuntimeError("the model broke")
                return z

        module = nn.Sequential(
            nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(), Breaks(), nn.Linear(6, CLASSES)
        )
        modes = []
        module.train()
        module[1].eval()  # frozen
        before = {name: m.training for name, m in module.named_modules()}
        statistics = module[1].running_mean.clone()
        for layer in (None, "0"):
            module[3].rows = 99
            value_fn = ji.value_function(module, X, layer=layer)
            once = ji.evaluate(value_fn)
            np.testing.assert_array_equal(ji.evaluate(value_fn), once)  # no dropout
            module[3].rows = 8
            with pytest.raises(RuntimeError, match="the model broke"):
                ji.evaluate(value_fn)
            module[3].rows = 1
            with pytest.raises(RuntimeError, match="the model broke"):
                ji.value_function(module, X, layer=layer)
            assert {name: m.training for name, m in module.named_modules()} == before
            assert not any(m._forward_hooks for m in module.modules())
        assert not any(modes)
        assert torch.equal(module[1].running_mean, statistics)
        assert all(p.grad is None and p.requires_grad for p in module.parameters())
        module[3].rows = 99

        @torch.no_grad()
        def run(z):
            return module.eval()(torch.from_numpy(z)).numpy()

        assert_explains(module, X, slow(run, X, PLAYERS, 0.0), players=PLAYERS)

    @pytest.mark.parametrize("name", ["float64", "float16", "bfloat16"])
    def test_dtypes(self, name, torch):
        dtype = getattr(torch, name)
        module = torch_mlp(torch, dtype)

        @torch.no_grad()
        def run(z):
            return module(torch.from_numpy(z).to(dtype)).double().numpy()

        outputs = slow(run, X, PLAYERS, 0.25)
        seen = []
        module[0].register_forward_pre_hook(
            lambda m, args: seen.append((args[0].dtype, torch.is_inference_mode_enabled()))
        )
        rtol = {"float64": 1e-12, "float16": 4e-3, "bfloat16": 3e-2}[name]
        for x in (X, X.astype(np.float64), torch.from_numpy(X), jnp.asarray(X)):
            options = {"players": PLAYERS, "baseline": 0.25, "target": 1}
            value_fn = assert_explains(module, x, outputs, rtol, **options)
            rows = ji.value_function(module, x, **options | {"baseline": np.full((3, 5), 0.25)})
            np.testing.assert_allclose(ji.evaluate(rows), ji.evaluate(value_fn), rtol=1e-6)
            table = ji.evaluate(value_fn)
            assert table.dtype == (np.float64 if name == "float64" else np.float32)
        assert set(seen) == {(dtype, True)}
        assert not value_fn.worth(ji.all_masks(N)).requires_grad

    def test_means_over_rows_are_not_rounded_to_half(self, torch):
        """Of 300 rows whose outputs are close to each other."""
        module = torch.nn.Linear(1, 1, bias=False).bfloat16()
        with torch.no_grad():
            module.weight.fill_(1.0)
        rows = 1 + np.arange(300.0)[:, None] % 2 / 128
        got = ji.evaluate(ji.value_function(module, np.ones(1), baseline=rows))
        np.testing.assert_allclose(got, [1 + 0.5 / 128, 1], rtol=1e-6)

    def test_autocast_stays_as_it_is(self, torch):
        module = torch_mlp(torch)
        seen = []
        module[0].register_forward_hook(lambda m, args, out: seen.append(out.dtype))
        exact = ji.evaluate(ji.value_function(module, X, target=1, players=PLAYERS))
        assert set(seen) == {torch.float32}
        seen.clear()
        with torch.autocast("cpu", torch.bfloat16):
            table = ji.evaluate(ji.value_function(module, X, target=1, players=PLAYERS))
            assert torch.is_autocast_enabled("cpu")
        assert set(seen) == {torch.bfloat16}
        assert 1e-6 < np.abs(table - exact).max() < 0.1

    def test_token_ids_keep_their_dtype(self, torch, nn):
        module = nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(20, CLASSES))
        ids = np.array([3, 1, 4, 1, 5])

        @torch.no_grad()
        def run(z):
            return module(torch.from_numpy(z)).numpy()

        for x in (ids, torch.from_numpy(ids), ids.astype(np.int32)):
            assert_explains(module, x, slow(run, ids, PLAYERS, 49), players=PLAYERS, baseline=49)
        with pytest.raises(ValueError, match=r"hold values of x's dtype int64; got 0\.5"):
            ji.value_function(module, ids, baseline=0.5)

    def test_inputs_are_left_as_they_are(self, torch, nn):
        class Doubles(nn.Module):
            def __init__(self):
                super().__init__()
                self.block, self.head = nn.Linear(5, 5), nn.Linear(5, CLASSES)

            def forward(self, z):
                z.mul_(2)
                return self.head(self.block(z) + z)

        module, x = Doubles(), torch.from_numpy(X.copy())
        expected = measured(module(x.clone()[None]).detach().double().numpy(), "log-odds", 1)
        for options in ({}, {"layer": "block"}, {"players": "columns", "baseline": "learned"}):
            for _ in range(2):
                value_fn = ji.value_function(module, x, target=1, **options)
                np.testing.assert_allclose(ji.evaluate(value_fn)[-1:], expected, rtol=1e-5)
        np.testing.assert_array_equal(x.numpy(), X)

        def writes(z):
            z *= 2
            return z[:, 0]

        mine = X.copy()
        np.testing.assert_allclose(ji.evaluate(ji.value_function(writes, mine))[-1], 2 * X[0])
        np.testing.assert_array_equal(mine, X)

    def test_a_module_without_parameters(self, torch, nn):
        got = ji.evaluate(ji.value_function(nn.Softmax(-1), X.astype(np.float64), output="value"))
        assert got.shape == (32,) and got.dtype == np.float64

    def test_the_kernel_writes_where_the_network_reads(self, torch, monkeypatch):
        kernel, written, read = _native.masked_inputs, [], []

        def noted(*arguments):
            written.append(arguments[-1].ctypes.data)
            kernel(*arguments)

        monkeypatch.setattr(_native, "masked_inputs", noted)
        module = torch_mlp(torch)
        value_fn = ji.value_function(module, X)
        module.register_forward_pre_hook(lambda m, args: read.append(args[0].data_ptr()))
        ji.evaluate(value_fn, batch_size=8)
        assert read == written and len(read) == 4

    def test_modules_of_odd_kinds(self, torch, nn):
        """One of length 0 (wrappers and containers have one), one that takes no hooks."""

        class Empty(nn.Sequential):
            def __len__(self):
                return 0

        module = Empty(*torch_mlp(torch), nn.Dropout(0.9)).train()
        outputs = slow(lambda z: torch_mlp(torch)(torch.from_numpy(z)).detach(), X, PLAYERS, 0.0)
        assert_explains(module, X, outputs, players=PLAYERS)
        assert all(m.training for m in module.modules())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            script = torch.jit.script(nn.Sequential(*torch_mlp(torch), nn.Dropout(0.9)).train())
        value_fn = assert_explains(script, X, outputs, players=PLAYERS)
        assert all(m.training for m in script.modules())
        assert value_fn.row_bytes == 0  # not known

    def test_memory_of_a_row(self, torch):
        """At least what its tensors take, and not ten times as much."""
        value_fn = ji.value_function(torch_mlp(torch), X)
        least = 4 * (5 + 6 + 6 + CLASSES)
        assert least <= value_fn.row_bytes <= 10 * least
        assert value_fn.on_cpu


# --- JAX


class TestJax:
    class Counted(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(5, 6, rngs=rngs)
            self.norm = nnx.BatchNorm(6, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)
            self.last = nnx.Linear(6, CLASSES, rngs=rngs)

        def __call__(self, z):
            TestJax.traces.append(z.shape)
            return self.last(self.dropout(nnx.relu(self.norm(self.first(z)))))

    traces = ()

    @pytest.mark.parametrize("kind", ["nnx", "linen", "pair", "function"])
    def test_one_compilation_for_many_samples(self, kind, rng, monkeypatch, caplog):
        monkeypatch.setattr(TestJax, "traces", [])

        def counted(weights, z):
            TestJax.traces.append(z.shape)
            return mlp(weights, z)

        class Linen(LinenMlp):
            def __call__(self, z):
                TestJax.traces.append(z.shape)
                return mlp(weights, z)

        weights = [jnp.asarray(w) for w in WEIGHTS]
        model = {
            "nnx": self.Counted(nnx.Rngs(0)),
            "linen": (Linen(), linen_variables()),
            "pair": (counted, weights),
            "function": lambda z: counted(weights, z),
        }[kind]

        def explained(model, x, k):
            baseline = k if k % 2 else k / 2
            ji.evaluate(ji.value_function(model, x, target=k % CLASSES, baseline=baseline))
            return len(TestJax.traces)

        xs = jnp.asarray(rng.normal(size=(20, 5)), jnp.float32)
        with jax.log_compiles():
            once = explained(model, xs[0], 0)
            assert {explained(model, x, k) for k, x in enumerate(xs)} == {once}
        assert len([m for m in caplog.messages if "compilation of jit(_worth)" in m]) == 1
        assert once <= 4
        if kind == "pair":  # other parameters are arguments too
            assert explained((counted, [2 * w for w in weights]), xs[0], 0) == once

    @pytest.mark.parametrize("marginal", [False, True])
    def test_one_program_on_the_device(self, marginal):
        """Masks on the device: no array goes up, none comes down, and nothing calls back."""
        baseline = np.ones((3, 5), np.float32) if marginal else 0.5
        value_fn = ji.value_function(nnx_mlp(), X, target=(0, 1), baseline=baseline)
        masks = jnp.asarray(ji.all_masks(5))
        expected = value_fn.worth(masks)
        with jax.transfer_guard("disallow"):
            got = value_fn.worth(masks)
        np.testing.assert_array_equal(got, expected)
        program = str(jax.make_jaxpr(value_fn.worth)(masks))
        assert program.count("dot_general") == 2
        assert "masked_inputs" in program and "callback" not in program

    def test_nnx_modules_run_evaluated_and_stay_as_they_are(self, monkeypatch):
        monkeypatch.setattr(TestJax, "traces", [])
        model = self.Counted(nnx.Rngs(3))
        model(jnp.ones((4, 5)))  # statistics other than the first
        assert not model.dropout.deterministic
        before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState))))
        counts = [int(c) for c in jax.tree.leaves(nnx.state(model, nnx.RngCount))]
        value_fn = ji.value_function(model, X, target=1)
        table = ji.evaluate(value_fn)
        np.testing.assert_array_equal(ji.evaluate(value_fn), table)
        assert not model.dropout.deterministic and not model.norm.use_running_average
        after = nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))
        jax.tree.map(np.testing.assert_array_equal, after, before)
        assert [int(c) for c in jax.tree.leaves(nnx.state(model, nnx.RngCount))] == counts
        model.eval()
        outputs = slow(lambda z: model(jnp.asarray(z)), X, np.arange(5), 0.0)
        np.testing.assert_allclose(table, measured(outputs, "log-odds", 1), rtol=1e-4, atol=1e-4)

    def test_sequential_from_a_layer_on(self):
        network = nnx_mlp()
        layers = network.layers
        features = np.asarray(layers[1](layers[0](jnp.asarray(X)[None]))[0])
        outputs = slow(lambda z: layers[2](jnp.asarray(z)), features, [0, 0, 1, 1, 2, -1], 0.0)
        value_fn = assert_explains(network, X, outputs, layer=1, players=[0, 0, 1, 1, 2, -1])
        np.testing.assert_array_equal(value_fn.players, [0, 0, 1, 1, 2, -1])

    def test_parameters_decide_the_dtype(self):
        outputs = slow(plain_mlp, X, PLAYERS, 0.0)
        half = assert_explains(nnx_mlp(jnp.bfloat16), X, outputs, 3e-2, target=1, players=PLAYERS)
        assert ji.evaluate(half).dtype == np.float32
        assert half.worth(ji.all_masks(N)).dtype == np.float32  # measured in it

    def test_float64(self, x64):
        weights = [w.astype(np.float64) for w in WEIGHTS]
        outputs = slow(lambda z: mlp(weights, z), X.astype(np.float64), PLAYERS, 0.1)
        options = {"players": PLAYERS, "baseline": 0.1}
        value_fn = assert_explains((mlp, weights), X, outputs, 1e-13, **options)
        assert value_fn.worth(ji.all_masks(N)).dtype == np.float64
        rows = np.full((2, 5), 0.1)
        assert_explains((mlp, weights), X, outputs, 1e-13, **options | {"baseline": rows})
        assert_explains(nnx_mlp(), X, outputs, **options)  # float32 parameters

    def test_token_ids(self):
        table = np.random.default_rng(0).normal(size=(50, 5, CLASSES)).astype(np.float32)
        ids = np.array([3, 1, 4, 1, 5])
        model = (lambda t, z: t[z, jnp.arange(5)[None]].sum(axis=1), jnp.asarray(table))
        outputs = slow(lambda z: table[z, np.arange(5)].sum(1), ids, PLAYERS, 49)
        assert_explains(model, ids, outputs, baseline=49, players=PLAYERS)

    def test_memory_of_a_row(self):
        value_fn = ji.value_function(nnx_mlp(), X)
        least = 4 * (5 + 6 + 6 + CLASSES)
        assert least <= value_fn.row_bytes <= 10 * least
        assert value_fn.on_cpu


# --- tables


@pytest.fixture
def pandas(library):
    return library("pandas")


@pytest.fixture
def frame(pandas, rng):
    """Ten rows: a string, a category, a whole number, two floats."""
    kinds = pandas.CategoricalDtype(["flat", "house", "boat"])
    return pandas.DataFrame(
        {
            "town": rng.choice(["Ulm", "Bonn", "Trier"], 40),
            "kind": pandas.Series(rng.choice(kinds.categories, 40), dtype=kinds),
            "rooms": rng.integers(1, 9, 40),
            "area": rng.normal(100, 30, 40),
            "price": rng.normal(5, 1, 40),
        }
    )


def slow_frame(pandas, run, row, players, baseline):
    """The outputs for all coalitions: a dictionary for each, a frame of it, one call."""
    outputs = []
    for s in range(1 << (max(players) + 1)):
        taken = {
            name: [baseline[name] if p >= 0 and not s >> p & 1 else row[name]]
            for name, p in zip(row.index, players)
        }
        table = pandas.DataFrame(taken)
        for name in ("kind",):
            table[name] = table[name].astype(pandas.CategoricalDtype(["flat", "house", "boat"]))
        outputs.append(run(table))
    return np.concatenate(outputs)


class TestTables:
    @pytest.fixture
    def pipeline(self, library, frame):
        compose, linear = library("sklearn.compose"), library("sklearn.linear_model")
        pipeline, preprocessing = library("sklearn.pipeline"), library("sklearn.preprocessing")
        columns = compose.make_column_transformer(
            (preprocessing.OneHotEncoder(handle_unknown="ignore"), ["town", "kind"]),
            (preprocessing.StandardScaler(), ["rooms", "area", "price"]),
        )
        model = pipeline.make_pipeline(columns, linear.LogisticRegression())
        return model.fit(frame, np.arange(40) % CLASSES)

    def test_rows_of_mixed_columns(self, pandas, frame, pipeline):
        row, rows = frame.iloc[[3]], frame.iloc[10:13]

        def expected(players, rows, count):
            each = [
                slow_frame(pandas, pipeline.predict_log_proba, row.iloc[0], players, r)[:count]
                for _, r in rows.iterrows()
            ]
            return np.mean([measured(outputs, "log-odds", 1) for outputs in each], axis=0)

        groups = {"place": ["town", "kind"], "size": ["area", "rooms"]}
        options = {"target": 1, "baseline": rows}
        for x, players, background, seats, count in (
            (row, None, "keep", range(5), 32),
            (frame.iloc[3], None, "keep", range(5), 32),
            (row, groups, "keep", [0, 0, 1, 1, -1], 4),
            (row, groups, "mask", [0, 0, 1, 1, 2], 4),
            (row, {"b": [4], "a": [0, "kind"]}, "keep", [1, 1, -1, -1, 0], 4),
            (row, np.array([0, 0, 1, 1, -1]), "keep", [0, 0, 1, 1, -1], 4),
        ):
            value_fn = ji.value_function(
                pipeline, x, players=players, background=background, **options
            )
            names = frame.columns if players is None else players
            names = None if isinstance(players, np.ndarray) else tuple(names)
            assert value_fn.player_names == names
            got = ji.evaluate(value_fn)
            np.testing.assert_allclose(got, expected(seats, rows, count), rtol=1e-9, atol=1e-9)
        one = {"baseline": frame.iloc[10], "target": 1}
        got = ji.evaluate(ji.value_function(pipeline, row, **one))
        np.testing.assert_allclose(got, expected(range(5), rows[:1], 32), rtol=1e-9)
        backwards = ji.value_function(pipeline, row, target=1, baseline=rows[rows.columns[::-1]])
        np.testing.assert_allclose(ji.evaluate(backwards), expected(range(5), rows, 32), rtol=1e-9)
        other = ji.value_function(pipeline, frame.iloc[[4]], **options)
        assert other.key != ji.value_function(pipeline, row, **options).key

    def test_categories_and_means(self, library, pandas, frame):
        """Categories stay what they are; the mean of whole numbers is not cut to one."""
        seen = []

        class Model(library("sklearn.base").BaseEstimator):
            def predict(self, table):
                seen.append(table)
                return table["rooms"].to_numpy() * 1.0

        means = frame.mean(numeric_only=True)
        baseline = pandas.concat([frame.mode().iloc[0].drop(means.index), means])
        got = ji.evaluate(ji.value_function(Model(), frame.iloc[[3]], baseline=baseline))
        assert all(table["kind"].dtype == frame["kind"].dtype for table in seen)
        assert all(str(table["area"].dtype) == "float64" for table in seen)
        assert got[0] == frame["rooms"].mean() != round(frame["rooms"].mean())
        baseline["kind"] = "tent"
        message = r"hold categories of x; those of column 'kind' are \['flat', .*; got 'tent'"
        with pytest.raises(ValueError, match=message):
            ji.value_function(Model(), frame.iloc[[3]], baseline=baseline)

    def test_names_and_methods_of_estimators(self, library, pandas, frame):
        linear, svm = library("sklearn.linear_model"), library("sklearn.svm")
        numbers = frame[["rooms", "area", "price"]]
        y = np.arange(40) % CLASSES
        model = linear.LogisticRegression(max_iter=1000).fit(numbers, y)
        x, mean = numbers.to_numpy()[0], numbers.mean().to_numpy()

        def named(run):
            return lambda z: run(pandas.DataFrame(z, columns=list(numbers.columns)))

        probabilities = slow(named(model.predict_log_proba), x, np.arange(3), mean)
        value_fn = assert_explains(model, x, probabilities, 1e-9, baseline=mean)
        assert value_fn.player_names == ("rooms", "area", "price")
        for output in OUTPUTS[2:4]:
            assert_explains(model, x, probabilities, 1e-9, baseline=mean, output=output)
        as_they_are = ji.value_function(model, x, baseline=mean, output="value", target="all")
        np.testing.assert_allclose(ji.evaluate(as_they_are), np.exp(probabilities).T)
        scores = slow(named(model.decision_function), x, np.arange(3), mean)
        options = {"layer": "decision_function", "baseline": mean}
        assert_explains(model, x, scores, 1e-9, **options)
        groups = {"size": ["rooms", "area"], "price": [2]}
        grouped = ji.value_function(model, x, players=groups, baseline=mean)
        np.testing.assert_array_equal(grouped.players, [0, 0, 1])
        labels = ji.value_function(model, x, layer="predict", baseline=mean)
        assert ji.evaluate(labels)[-1] == model.predict(numbers.iloc[:1])[0]
        words = linear.LogisticRegression().fit(x[None] * [[1], [2], [3]], ["no", "maybe", "yes"])
        for target, number in (("yes", 2), ("no", 1), (("yes", "no"), (2, 1)), (0, 0)):
            assert ji.value_function(words, x, target=target).target == number
        # Fitted on arrays, explained on a frame; two classes; no probabilities.
        binary = svm.SVC().fit(numbers.to_numpy(), y == 0)
        got = ji.evaluate(ji.value_function(binary, numbers.iloc[[0]], baseline=numbers.iloc[1:3]))
        rows = numbers.to_numpy()[1:3]
        expected = [slow(binary.decision_function, x, np.arange(3), row) for row in rows]
        np.testing.assert_allclose(got, np.mean(expected, axis=0), rtol=1e-9, atol=1e-12)

    def test_regressions(self, library, frame):
        linear = library("sklearn.linear_model")
        x, y = frame[["rooms", "area"]].to_numpy(), frame[["price", "area"]].to_numpy()
        one = linear.LinearRegression().fit(x, y[:, 0])
        outputs = slow(one.predict, x[0], np.arange(2), x.mean(0))
        got = ji.evaluate(ji.value_function(one, x[0], baseline=x.mean(0)))
        np.testing.assert_allclose(got, outputs, rtol=1e-12)
        two = linear.LinearRegression().fit(x, y)
        outputs = slow(two.predict, x[0], np.arange(2), 0.0)
        for options, expected in (
            ({}, outputs.T), ({"target": "all"}, outputs.T), ({"target": 1}, outputs[:, 1]),
            ({"target": (0, 1)}, outputs[:, 0] - outputs[:, 1]),
        ):  # fmt: skip
            got = ji.evaluate(ji.value_function(two, x[0], **options))
            np.testing.assert_allclose(got, expected, rtol=1e-12)

    def test_sure_probabilities_say_what_to_do(self, library, frame):
        ensemble = library("sklearn.ensemble")
        x = frame[["rooms", "area", "price"]].to_numpy()
        forest = ensemble.RandomForestClassifier(5, random_state=0).fit(x, x[:, 0] > 4)
        options = {"baseline": x.mean(0)}
        with pytest.raises(ValueError, match=r'exactly 0 or 1\. Pass output="probability"'):
            ji.explain(forest, x[0], **options)
        got = ji.evaluate(ji.value_function(forest, x[0], output="probability", **options))
        chosen = int(forest.predict(x[:1])[0])
        expected = slow(forest.predict_proba, x[0], np.arange(3), x.mean(0))[:, chosen]
        np.testing.assert_allclose(got, expected)

    def test_estimators_by_their_interface(self):
        seen = set()

        class Regression:
            def predict(self, z):
                seen.add(z.dtype.name)
                return z.sum(axis=1)

        class Classifier:
            def predict_proba(self, z):
                return np.stack([z[:, 0], 1 - z[:, 0]], axis=1)

        got = ji.evaluate(ji.value_function(Regression(), [1.0, 2.0]))
        np.testing.assert_allclose(got, [0, 1, 2, 3])
        got = ji.evaluate(ji.value_function(Classifier(), [0.25], baseline=0.5, target=0))
        np.testing.assert_allclose(got, [0, -np.log(3)], atol=1e-12)
        assert ji.evaluate(ji.value_function(Regression(), X)).dtype == np.float32
        assert seen == {"float32", "float64"}
        with pytest.raises(ValueError, match=r"got nan at coalition 0 \(players \[\] present\)"):
            ji.explain(Classifier(), [0.25], baseline=np.nan)

    def test_other_models_on_frames(self, torch, pandas, frame):
        row = frame[["rooms", "area", "price"]].iloc[[0]]
        mean = frame[["price", "rooms", "area"]].mean()
        weights = np.array([1.0, 0.1, 2.0])
        for model in (lambda z: z @ weights, torch.nn.Linear(3, 1, dtype=torch.float64)):
            if isinstance(model, torch.nn.Module):
                with torch.no_grad():
                    model.weight.copy_(torch.from_numpy(weights)), model.bias.zero_()
            for baseline in (mean, mean.to_frame().T):
                value_fn = ji.value_function(model, row, baseline=baseline)
                assert value_fn.player_names == ("rooms", "area", "price")
                outputs = slow(lambda z: z @ weights, row.to_numpy()[0], np.arange(3),
                               mean[row.columns].to_numpy())  # fmt: skip
                np.testing.assert_allclose(ji.evaluate(value_fn), outputs, rtol=1e-9)
            for players in ({"size": ["area", "rooms"], "price": ["price"]}, np.array([0, 0, 1])):
                value_fn = ji.value_function(model, row, players=players)
                np.testing.assert_array_equal(value_fn.players, [0, 0, 1])


# --- explain


def linear(z):
    return z * np.arange(1.0, z.shape[1] + 1)  # as many outputs as columns


class TestExplain:
    ROWS = np.random.default_rng(9).normal(size=(3, 4)) + 2

    @pytest.mark.parametrize("form", ["array", "list", "tuple", "lists", "frame", "torch", "jax"])
    def test_many_samples(self, form, torch, pandas):
        x = {
            "array": lambda: self.ROWS,
            "list": lambda: list(self.ROWS),
            "tuple": lambda: tuple(self.ROWS),
            "lists": lambda: self.ROWS.tolist(),
            "frame": lambda: pandas.DataFrame(self.ROWS, columns=list("abcd")),
            "torch": lambda: torch.from_numpy(self.ROWS),
            "jax": lambda: jnp.asarray(self.ROWS, np.float32),
        }[form]()
        weights = {"torch": torch.arange(4) + 1, "jax": jnp.arange(1.0, 5)[None]}

        def model(z):
            return z * weights[form] if form in weights else linear(z)

        for target in ([0, 3, 1], np.array([0, 3, 1]), torch.tensor([0, 3, 1])):
            found = ji.explain(model, x, target=target, output="value")
            assert found.and_effects.shape == (3, 16)
            for sample, t in enumerate([0, 3, 1]):
                [(_, players, effect)] = found[sample].merge_singletons().top(1)
                assert np.isclose(effect, self.ROWS[sample, t] * (t + 1), rtol=1e-3)
                assert players == (("abcd"[t],) if form == "frame" else (t,))
        found = ji.explain(model, x, target="all", output="value")
        assert found.and_effects.shape == (3, 4, 16)
        assert ji.explain(model, x[:1], target="all").and_effects.shape[-2:] == (4, 16)

    def test_one_sample(self, pandas):
        row = self.ROWS[0]
        for x in (row, row.tolist(), tuple(row), [*row.astype(np.float32)],
                  pandas.Series(row), pandas.DataFrame(row[None])):  # fmt: skip
            assert ji.explain(linear, x, target=1, output="value").and_effects.shape == (16,)
            assert ji.explain(linear, x, target="all").and_effects.shape == (4, 16)
        assert ji.explain(linear, row[None], target=1).and_effects.shape == (1, 16)
        seats = [0, 0, 1, -1]  # a plain list
        assert ji.explain(linear, row, target=1, players=seats).n_players == 2
        assert ji.explain(linear, self.ROWS, target=1, players=seats).and_effects.shape == (3, 4)

    def test_what_may_be_one_of_each(self, tmp_path, pandas):
        maps = [[0, 1, -1, -1], [-1, 0, 1, -1], [-1, -1, 0, 1]]
        names = [["a", "b"], ["b", "c"], ["c", "d"]]
        target = [1, (1, 2), 3]
        for players in (maps, [np.array(m) for m in maps], tuple(np.array(m) for m in maps)):
            found = ji.explain(
                linear,
                self.ROWS,
                target=target,
                output="value",
                players=players,
                player_names=names,
            )
            assert [found[i].player_names for i in range(3)] == [tuple(n) for n in names]
            value = self.ROWS * np.arange(1, 5)
            merged = found.merge_singletons()
            assert merged[0].top(1)[0][1:] == (("b",), pytest.approx(value[0, 1], rel=1e-3))
            [second] = [e for e in merged[1].top(2) if e.players == ("c",)]
            assert np.isclose(second.effect, -value[1, 2], rtol=1e-3)
        groups = [
            {"left": [0, 1], "right": [2, 3]},
            {"odd": [0, 2], "even": [1, 3]},
            {"x": [0], "y": [1]},
        ]
        of_groups = ji.explain(linear, self.ROWS, target=[0, 1, 0], players=groups)
        assert of_groups[1].player_names == ("odd", "even")
        shared = ji.explain(linear, self.ROWS, target=0, player_names=["p", "q", "r", "s"])
        assert shared.player_names == ("p", "q", "r", "s") == shared[2].player_names
        tuples = [tuple(n) for n in names]
        again = ji.explain(linear, self.ROWS, players=maps, target=0, player_names=tuples)
        assert again[2].player_names == ("c", "d")
        numbers = ji.explain(linear, self.ROWS, target=0, player_names=[3, 1, 4, 1])
        assert numbers.player_names == ("3", "1", "4", "1")
        found.save(tmp_path / "found.npz")
        loaded = ji.load(tmp_path / "found.npz")
        assert loaded[2].player_names == ("c", "d")
        table = loaded.to_pandas()
        assert {n for names in table[table["sample"] == 2]["players"] for n in names} <= {"c", "d"}
        assert json.dumps(loaded[1].top(1)[0].players)

    def test_images(self, torch):
        images = np.stack([IMAGE, -IMAGE])
        found = ji.explain(of_image, images, players="patches:2x2", target=[0, 1])
        assert found.and_effects.shape == (2, 16)
        assert found.player_names == ("patch 0,0", "patch 0,1", "patch 1,0", "patch 1,1")
        for players in (np.zeros((8, 8), int), np.zeros((8, 8, 3), int)):
            assert ji.explain(of_image, images, players=players).and_effects.shape == (2, 2)
            assert ji.explain(of_image, IMAGE, players=players).and_effects.shape == (2,)
        each = ji.explain(of_image, images, players="patches:4x4:random=2")
        assert each[0].player_names == each[1].player_names

    def test_three_calls_in_one(self, torch):
        def model(z):
            return torch.from_numpy(of_image(z.numpy()))

        x, options = torch.from_numpy(IMAGE), {"players": "patches:8x8:random=4", "seed": 5}
        options |= {"channels": "last", "baseline": "mean", "background": "mask", "target": 1}
        found = ji.explain(model, x, output="logit", noise_ratio=0.1, tol=1e-2, **options)
        value_fn = ji.value_function(model, x, output="logit", **options)
        expected = ji.extract(ji.evaluate(value_fn), noise_ratio=0.1, tol=1e-2)
        np.testing.assert_array_equal(found.effects, expected.effects)
        assert found.player_names == value_fn.player_names
        assert np.abs(found.residual).max() > 0

    def test_maps_that_broadcast(self, torch):
        """Steps of a sequence, rows of an image: players are said once for each."""
        steps, weights = np.arange(6)[:, None], np.arange(24.0).reshape(6, 4)
        one = np.random.default_rng(0).normal(size=(6, 4))
        for x, players in ((one, steps), (one[:, :, None], steps[:, None])):
            value_fn = ji.value_function(
                lambda z: z.reshape(-1, 24) @ weights.ravel(), x, players=players
            )
            assert np.isclose(ji.evaluate(value_fn)[1], one[0] @ weights[0])
            for many in (np.stack([x] * 3), [x] * 3):
                found = ji.explain(lambda z: z.sum((1, 2)).reshape(-1), many, players=players)
                assert found.and_effects.shape == (3, 64)
        rows = ji.value_function(lambda z: z.sum((1, 2, 3)), torch.ones(3, 8, 8),
                                 players=np.arange(8, dtype=np.uint8)[:, None] // 2)  # fmt: skip
        np.testing.assert_allclose(ji.evaluate(rows), 48 * ji.orders(4))

    def test_a_run_goes_on_where_it_was(self, tmp_path, monkeypatch):
        calls, titles = [], []
        counter = _progress.counter
        monkeypatch.setattr(
            _progress, "counter", lambda title, n: titles.append(title) or counter(title, n)
        )

        def model(z):
            calls.append(len(z))
            if len(calls) == stop:
                raise KeyboardInterrupt
            return linear(z)

        stop, options = 0, {"target": 1, "batch_size": 4}
        whole = ji.explain(model, self.ROWS, **options)
        rows, stop = sum(calls), len(calls) - 2  # a file takes some calls more
        calls.clear()
        options |= {"resume": tmp_path / "tables.npz", "progress": True}
        with pytest.raises(KeyboardInterrupt):
            ji.explain(model, self.ROWS, **options)
        for fewer in (12, 30):  # a sample at least; all but what is compared
            calls.clear()
            resumed = ji.explain(model, self.ROWS, **options)
            np.testing.assert_array_equal(resumed.and_effects, whole.and_effects)
            assert sum(calls) < rows - fewer
        assert titles[-2:] == ["evaluating", "finding the sparsest split"]

    def test_options_reach_the_evaluation(self):
        rows = []

        def model(z):
            rows.append(len(z))
            return z

        ji.explain(model, self.ROWS[0], batch_size=4, probe=True)
        assert set(rows) == {1, 4}
        with pytest.warns(RuntimeWarning, match="not deterministic"):
            ji.explain(lambda z: z + np.random.default_rng().normal(size=z.shape), self.ROWS[0],
                       probe=True)  # fmt: skip

    def test_games_and_functions_of_masks(self):
        for x, names in ((3, ["a", "b", "c"]), (3, None)):
            found = ji.explain(lambda m: m.all(axis=1) * 1.0, x, player_names=names)
            assert found.top(1)[0].players == (tuple(names) if names else (0, 1, 2))
        known = ji.value_function(lambda m: m.sum(axis=1), 2)
        assert ji.value_function(known, None) is known
        assert ji.explain(known, None).n_players == 2


# --- bad calls


def image_of(torch):
    return torch.zeros(3, 8, 8)


def sequential(torch):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))


class Nothing:
    pass


# fmt: off
BAD_CALLS = [
    # models
    (lambda t: ji.explain(Nothing(), X), TypeError, r"value_function: model must be a network of torch, flax, .* or a function; got Nothing"),
    (lambda t: ji.explain(LinenMlp(), X), ValueError, r"value_function: model of flax linen must be \(module, variables\), or bound to them; got LinenMlp without variables"),
    (lambda t: ji.explain(linear, None), TypeError, r"value_function: x must be an input of the model, or of a function of masks the number of players; got None"),
    (lambda t: ji.explain(sequential(t), {"pixels": image_of(t)}, players="patches:2x2"), TypeError, r"value_function: x must be one array, made ready as the model takes it; got dict"),
    (lambda t: ji.explain(linear, []), ValueError, r"explain: x must hold at least one input; got none"),
    (lambda t: ji.explain(lambda z: z[:, None, None], X), ValueError, r"value_function: the model must give \[m\] or \[m, outputs\]; got \(1, 1, 1, 5\). Pass output=, a function that makes one of it"),
    (lambda t: ji.explain(lambda z: {"boxes": z}, X), ValueError, r"must give \[m\] or \[m, outputs\]; got dict. Pass output="),
    (lambda t: ji.value_function(torch_mlp(t), X[None]), ValueError, r"got \(1, 1, 3\). .*x without a batch axis"),
    # targets and outputs
    (lambda t: ji.explain(linear, X, target=5), ValueError, r"value_function: target must be a class from 0 to 4, a pair of them, \"predicted\" or \"all\"; got 5"),
    (lambda t: ji.explain(linear, X, target=-1), ValueError, r"class from 0 to 4, .*; got -1"),
    (lambda t: ji.explain(linear, X, target=1.0), ValueError, r"class from 0 to 4, .*; got 1.0"),
    (lambda t: ji.explain(linear, X, target="cat"), ValueError, r"class from 0 to 4, .*; got 'cat'"),
    (lambda t: ji.explain(linear, X, target=(1, 9)), ValueError, r"class from 0 to 4, .*; got \(1, 9\)"),
    (lambda t: ji.explain(lambda z: z[:, 0], X, target="cat"), ValueError, r"target must be left out for a model of one output; got 'cat'"),
    (lambda t: ji.explain(linear, X[None], target=[1, 2]), ValueError, r"explain: target, given as a list, must be of 1, one a sample; got 2"),
    (lambda t: ji.explain(linear, X, output="log-odd"), ValueError, r"value_function: output must be a function or one of \['log-odds', 'logit', .*'value'\]; got 'log-odd'"),
    # players
    (lambda t: ji.explain(sequential(t), image_of(t)), ValueError, r"value_function: players must be given for an input of shape \(3, 8, 8\): \"patches:4x4\" or an int array"),
    (lambda t: ji.explain(sequential(t), image_of(t), players="columns"), ValueError, r"players \"columns\" need an input of one axis; got \(3, 8, 8\)"),
    (lambda t: ji.explain(sequential(t), image_of(t), players={"a": [0]}), ValueError, r"groups of players are of columns; x has shape \(3, 8, 8\)"),
    (lambda t: ji.explain(sequential(t), image_of(t), players="patch:4x4"), ValueError, r"players must be an int array, or one of .*; got 'patch:4x4'"),
    (lambda t: ji.explain(sequential(t), image_of(t), players="patches:9x9"), ValueError, r"patches: grid must be \(rows, columns\)"),
    (lambda t: ji.explain(sequential(t), image_of(t), players=np.zeros((4, 4), int)), ValueError, r"value_function: players must broadcast to the shape of x, \(3, 8, 8\); got shape \(4, 4\)"),
    (lambda t: ji.explain(linear, X, players=[0, 1]), ValueError, r"value_function: players must broadcast to the shape of x, \(5,\); got shape \(2,\)"),
    (lambda t: ji.explain(linear, X, players=[0, 0, 2, 2, 3]), ValueError, r"value_function: players must be numbered 0 to n - 1 without gaps .* \[1\] of 0 to 3"),
    (lambda t: ji.explain(linear, X, players=[0.0, 1, 2, 3, 4]), TypeError, r"players must be integers; got dtype float64"),
    (lambda t: ji.explain(linear, X, players={"a": [0, 7]}), ValueError, r"columns: groups must hold columns 0 to 4; got \[0, 7\]"),
    (lambda t: ji.explain(linear, X, players={"a": ["age"]}), ValueError, r"players must name columns of \[\]; got 'age'"),
    (lambda t: ji.explain(linear, X, players="words"), ValueError, r"players 'words' need a text and a tokenizer"),
    (lambda t: ji.explain(linear, X[None], players=[[0] * 5] * 2), ValueError, r"explain: players, given as a list, must be of 1, one a sample; got 2"),
    (lambda t: ji.explain(linear, X, player_names=["a"]), ValueError, r"value_function: player_names must be 5, one a player; got 1"),
    (lambda t: ji.explain(of_image, IMAGE, players="patches:4x4:gradients=2"), TypeError, r"value_function: players by integrated gradients and learned baselines need a network of JAX or torch; got function"),
    (lambda t: ji.explain((mlp, WEIGHTS), X, target="all", baseline="learned"), ValueError, r"baseline \"learned\" need one output; got target \"all\""),
    # baselines
    (lambda t: ji.explain(linear, X, baseline=np.ones(4)), ValueError, r"value_function: baseline must broadcast to the shape of x, \(5,\); got shape \(4,\)"),
    (lambda t: ji.explain(linear, X, baseline=np.ones((2, 4))), ValueError, r"baseline must broadcast to .* got shape \(2, 4\)"),
    (lambda t: ji.explain(linear, X, baseline=np.ones((0, 5))), ValueError, r"value_function: baseline must hold at least one row; got none"),
    (lambda t: ji.explain(linear, X, baseline="grey"), ValueError, r"value_function: baseline must be a number, an array, \"zero\", .*; got 'grey'"),
    (lambda t: ji.explain(linear, X, baseline="tau:x"), ValueError, r"baseline must be .*\"tau:2\" .*; got 'tau:x'"),
    (lambda t: ji.explain(linear, X, baseline="mean"), ValueError, r"\"mean\" \(colour, of images\), .*; got 'mean'"),
    (lambda t: ji.explain((lambda w, z: z + w, np.arange(5)[None]), np.arange(5), baseline=0.5), ValueError, r"value_function: baseline must hold values of x's dtype int32; got 0.5"),
    (lambda t: ji.explain(linear, X, background="drop"), ValueError, r"value_function: background must be \"keep\" or \"mask\"; got 'drop'"),
    # layers
    (lambda t: ji.explain(torch_mlp(t), X, layer="fc"), ValueError, r"value_function: layer must name a submodule of the model; got 'fc'. There are 0, 1, 2"),
    (lambda t: ji.explain(lambda z: z, t.ones(5), layer="fc"), ValueError, r"layer must name a submodule of the model; got 'fc'"),
    (lambda t: ji.explain(t.nn.LSTM(5, 3), t.ones(2, 5), layer=""), ValueError, r"layer must run once and give one tensor; ran 1 times and gave tuple. Name a layer within it"),
    (lambda t: ji.explain(nnx_mlp(), X, layer=2), ValueError, r"value_function: layer must be from 0 to 1; got 2"),
    (lambda t: ji.explain(nnx_mlp(), X, layer="0"), ValueError, r"layer must be the number of a layer of an nnx.Sequential; got '0' of Sequential"),
    (lambda t: ji.explain((mlp, WEIGHTS), X, layer=1), ValueError, r"of tuple. Of other JAX models, give the upper part as model and the lower part's output as x"),
    (lambda t: ji.explain(linear, X, layer=1), ValueError, r"value_function: layer must be None for a function; got 1"),
    # texts
    (lambda t: ji.explain(linear, "a text"), ValueError, r"value_function: tokenizer must be given for a text"),
    (lambda t: ji.explain(linear, "a text", tokenizer=1, background="mask"), ValueError, r"background must be \"keep\" for a text; got 'mask'"),
    (lambda t: ji.explain(torch_mlp(t), "a text", tokenizer=1, layer="0"), ValueError, r"layer must be None for a text; got '0'"),
]
# fmt: on


@pytest.mark.parametrize(
    ("call", "exception", "message"), BAD_CALLS, ids=[m for *_, m in BAD_CALLS]
)
def test_bad_call(call, exception, message, library):
    class Torch:  # found when it is used
        def __getattr__(self, name):
            return getattr(library("torch"), name)

    with pytest.raises(exception, match=message):
        call(Torch())


def test_a_model_that_refuses_its_input_is_heard_with_what_it_got():
    def model(z):
        raise OSError("no")

    with pytest.raises(OSError, match="no") as heard:
        ji.explain(model, np.ones(3))
    assert "a batch of one, float64 (1, 3)" in heard.value.__notes__[0]


# fmt: off
BAD_TABLES = [
    (lambda row, m: ji.explain(m, row), ValueError, r"value_function: baseline must be given for a row of a data frame, .*; got NoneType"),
    (lambda row, m: ji.explain(m, row, baseline=0), ValueError, r"baseline must be given for a row of a data frame, a frame or a series of the same columns .*; got int"),
    (lambda row, m: ji.explain(m, row, baseline=row[["a"]]), ValueError, r"value_function: baseline must have rows of the columns of x, \['a', 'b'\]; got 1 rows of \['a'\]"),
    (lambda row, m: ji.explain(m, row, baseline=row[:0]), ValueError, r"got 0 rows of \['a', 'b'\]"),
    (lambda row, m: ji.explain(m, row, baseline=row, players={"p": ["a", "c"]}), ValueError, r"value_function: players must name columns of \['a', 'b'\]; got 'c'"),
    (lambda row, m: ji.explain(m, row, baseline=row, layer="transform"), ValueError, r"value_function: layer must name one of predict_proba, decision_function, predict that the estimator has; got 'transform' of LinearRegression"),
    (lambda row, m: ji.explain(m, row, baseline=row, layer="predict_proba"), ValueError, r"got 'predict_proba' of LinearRegression"),
    (lambda row, m: ji.value_function(m, row.loc[[0, 0]], baseline=row), ValueError, r"value_function: x must be one row; got a data frame of 2"),
    (lambda row, m: ji.explain(m, np.array(["a", "b"])), TypeError, r"value_function: x and baseline must hold numbers, or be rows of data frames; got dtype <U1"),
    (lambda row, m: ji.explain(m, row.to_numpy()[0], baseline="learned"), TypeError, r"need a network of JAX or torch; got method"),
]
# fmt: on


@pytest.mark.parametrize(
    ("call", "exception", "message"), BAD_TABLES, ids=[m for *_, m in BAD_TABLES]
)
def test_bad_table(call, exception, message, library, pandas):
    row = pandas.DataFrame({"a": [1.0], "b": [2.0]})
    model = library("sklearn.linear_model").LinearRegression().fit([[0, 1], [1, 0]], [0, 1])
    with pytest.raises(exception, match=message):
        call(row, model)


def test_estimators_without_methods(library):
    scaler = library("sklearn.preprocessing").StandardScaler()
    with pytest.raises(ValueError, match=r"must have one of predict_proba, .*; got StandardScaler"):
        ji.explain(scaler, X)
