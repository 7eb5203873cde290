# SPDX-License-Identifier: Apache-2.0
"""`sparsity`: the optimum and its gradient, against an LP solver, by convexity and by invariances.

With a fixed noise bound f is convex and positively homogeneous in v, so of a direction d and any
step h, with g the gradient at v and f the true optimum (from the LP solver),

    (f(v) - f(v - h d)) / h - tol f(v) / h  <=  <g, d>  <=  (f(v + h d) - f(v)) / h + tol f(v) / h:

exact up to tol, at kinks too; where both sides agree, g is the derivative.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxinter as ji
import reference

TOL, STEP = 1e-8, 1e-3

pytestmark = pytest.mark.usefixtures("quick_compilation")


@cache
def compiled(joint, tol, boxed, **options):
    """One program a shape: v and bound to the optima and the gradient of their sum."""

    def total(v, bound):
        more = options | ({"noise_bound": bound} if boxed else {})
        found = ji.sparsity(v, tol=tol, joint=joint, **more)
        return found.sum(), found

    return jax.jit(jax.value_and_grad(total, has_aux=True))


@cache
def traced(**options):
    return jax.jit(lambda v: ji.sparsity(v, **options))


def value_and_gradient(v, *, tol=1e-4, joint=False, noise_bound=None, noise_ratio=None, **options):
    """The optima of the samples, and the gradient of their sum by v; numpy, in float64."""
    if noise_ratio is not None:
        options["noise_ratio"] = tuple(noise_ratio) if np.ndim(noise_ratio) else noise_ratio
    with jax.enable_x64(True):
        f = compiled(joint, tol, noise_bound is not None, **options)
        bound = None if noise_bound is None else jnp.asarray(noise_bound, jnp.float64)
        (_, found), gradient = f(jnp.asarray(v), bound)
    return np.asarray(found)[()], np.asarray(gradient)


def lp(v, bound=0.0, joint=False):
    if joint:
        return reference.sparsest_joint_split(v, np.broadcast_to(bound, v.shape[:1]))
    return reference.sparsest_split(v, bound)


class TestValue:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"noise_ratio": 0.05},
            {"noise_bound": [0.0, 0.1, 0.4]},
            {"noise_preset": "paper001"},
            {"noise_ratio": 0.3, "noise_per": "dataset"},
            {"joint": True},
            {"joint": True, "noise_bound": [0.0, 0.1, 0.4]},
            {"tol": 1e-2},
        ],
        ids=str,
    )
    def test_is_the_strength_that_extract_finds(self, options, rng):
        v = rng.normal(size=(3, 32))
        found = ji.sparsity(v, **options)
        expected = ji.extract(v, tie_break=0, **options)
        np.testing.assert_allclose(found, expected.primal, rtol=options.get("tol", 1e-4))
        assert (found >= expected.dual * (1 - 1e-12)).all()
        assert isinstance(found, np.ndarray if not options.get("joint") else np.float64)

    @pytest.mark.parametrize("ratio", [0.0, 0.02])
    def test_of_real_tables_is_the_true_optimum(self, table, optimum, ratio):
        found = ji.sparsity(table, noise_ratio=ratio, tol=1e-3)
        true = optimum(ratio)
        assert (found >= true * (1 - 1e-7)).all()
        assert (found <= true / (1 - 1e-3)).all()

    def test_shapes_kinds_and_dtypes(self, rng, torch):
        v = rng.normal(size=(2, 3, 8))
        assert ji.sparsity(v).shape == (2, 3)
        assert ji.sparsity(v, joint=True).shape == (2,)
        assert ji.sparsity(np.zeros((0, 8))).shape == (0,)
        assert ji.sparsity(v[0, 0]).shape == ()
        assert ji.sparsity(v.astype(np.float32)).dtype == np.float32
        assert ji.sparsity(np.arange(8)).dtype == np.float64
        assert ji.sparsity(v.astype(np.float16)).dtype == np.float32
        assert ji.sparsity([0.0, 1.0, 2.0, 5.0]) == pytest.approx(5.0)
        fortran = ji.sparsity(np.asfortranarray(v[0]))  # any layout of memory
        np.testing.assert_array_equal(fortran, ji.sparsity(v[0]))
        tensor = ji.sparsity(torch.from_numpy(v))
        assert isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64
        assert not tensor.requires_grad
        np.testing.assert_array_equal(tensor.numpy(), ji.sparsity(v))
        with torch.no_grad():
            assert not ji.sparsity(torch.from_numpy(v).requires_grad_()).requires_grad

    def test_jax_without_x64_computes_in_float64(self, rng):
        v = rng.normal(size=(3, 16)).astype(np.float32)
        found = ji.sparsity(jnp.asarray(v), tol=1e-7)
        assert isinstance(found, jax.Array) and found.dtype == jnp.float32
        exact = ji.sparsity(v.astype(np.float64), tol=1e-7)
        np.testing.assert_allclose(found, exact, rtol=3e-7)
        f = jax.jit(jax.value_and_grad(lambda v: ji.sparsity(v, tol=1e-7).sum()))
        value, gradient = f(jnp.asarray(v))
        assert value.dtype == gradient.dtype == jnp.float32
        np.testing.assert_allclose(value, exact.sum(), rtol=1e-6)
        for dtype in (jnp.int32, jnp.bfloat16):
            assert jax.eval_shape(ji.sparsity, jnp.arange(8, dtype=dtype)).dtype == jnp.float32
        assert not jax.config.jax_enable_x64

    def test_jax_with_x64_keeps_each_dtype(self, rng, x64):
        v = rng.normal(size=16)
        for dtype in (jnp.float32, jnp.float64):
            table = jnp.asarray(v, dtype)
            value, gradient = jax.jit(jax.value_and_grad(ji.sparsity))(table)
            assert value.dtype == gradient.dtype == dtype
            assert ji.sparsity(table).dtype == dtype
            np.testing.assert_allclose(value, ji.sparsity(v), rtol=1e-4)


class TestGradient:
    @given(
        n=st.sampled_from([1, 3, 5]),
        bound=st.sampled_from([0.0, 0.1, 0.7]),
        seed=st.integers(0, 2**32 - 1),
        kind=st.sampled_from(["gauss", "planted", "integers", "dummy"]),
    )
    @settings(max_examples=60)
    def test_is_a_subgradient(self, n, bound, seed, kind):
        """f(v') >= f(v) (1 - tol) + <g, v' - v> for every v', kinks or not."""
        rng = np.random.default_rng(seed)
        v = rng.normal(size=2**n)
        if kind == "planted":
            v = ji.zeta(np.where(rng.random(2**n) < 0.2, v, 0.0))
        elif kind == "integers":
            v = rng.integers(-2, 3, size=2**n).astype(float)
        elif kind == "dummy":
            v = v[np.arange(2**n) & int(rng.integers(2**n))].copy()
        value, g = value_and_gradient(v, noise_bound=bound or None)
        assert value >= lp(v, bound) - 1e-9
        for size in (1e-3, 0.1, 10.0):
            other = v + size * rng.normal(size=2**n)
            assert lp(other, bound) >= value * (1 - 1e-4) + g @ (other - v) - 1e-9
        assert lp(0 * v, bound) >= value * (1 - 1e-4) - g @ v - 1e-9

    @pytest.mark.parametrize("bound", [0.0, [0.0, 0.1, 0.3]])
    def test_is_a_subgradient_of_joint_models(self, bound, rng):
        for _ in range(10):
            v = rng.normal(size=(3, 8))
            v[1] = v[0] + rng.normal(size=8) * rng.choice([0.0, 0.1])
            value, g = value_and_gradient(v, noise_bound=bound, joint=True)
            for size in (1e-3, 0.1, 10.0):
                other = v + size * rng.normal(size=v.shape)
                assert lp(other, bound, True) >= value * (1 - 1e-4) + (g * (other - v)).sum() - 1e-9

    @pytest.mark.parametrize(
        ("n", "options"),
        [
            (3, {}),
            (4, {"noise_bound": 0.1}),
            (5, {}),
            (6, {"noise_bound": 0.05}),
            (3, {"joint": True}),
            (2, {"joint": True, "noise_bound": [0.0, 0.1]}),
        ],
        ids=str,
    )
    def test_is_the_derivative_away_from_kinks(self, n, options, rng):
        smooth = 0
        joint, bound = options.get("joint", False), options.get("noise_bound", 0.0)
        for _ in range(6):
            v = rng.normal(size=(2, 2**n) if joint else 2**n)
            value, g = value_and_gradient(v, tol=TOL, **options)
            here, slack = lp(v, bound, joint), TOL * value / STEP + 1e-8
            for _ in range(4):
                d = rng.normal(size=v.shape)
                left = (here - lp(v - STEP * d, bound, joint)) / STEP
                right = (lp(v + STEP * d, bound, joint) - here) / STEP
                slope = (g * d).sum()
                assert left - slack <= slope <= right + slack
                smooth += right - left < 1e-6
        assert smooth >= 4  # both sides agree: there it is the derivative, to 1e-4

    @pytest.mark.parametrize(
        "options",
        [
            {"noise_ratio": 0.05},
            {"noise_preset": "paper002"},
            {"noise_ratio": 0.1, "noise_per": "dataset"},
            {"noise_preset": "paper001"},
            {"noise_ratio": [0.0, 0.1, 0.3]},
            {"noise_ratio": [0.05, 0.1], "joint": True},
            {"noise_ratio": 0.1, "noise_per": "dataset", "joint": True},
        ],
        ids=str,
    )
    def test_follows_a_bound_that_follows_the_values(self, options, rng):
        """The derivative of the sum over three samples, one of which has v(full) < v(empty)."""
        joint = options.get("joint", False)
        preset = {"paper001": (0.02, "dataset"), "paper002": (0.01, "sample"), None: (None, None)}
        ratio, per = preset[options.get("noise_preset")]
        ratio = options.get("noise_ratio", ratio)
        per = options.get("noise_per", per or "sample")

        def f(v):
            swing = abs(v[..., -1] - v[..., 0])
            swing = swing.mean(axis=0, keepdims=True) if per == "dataset" else swing
            bound = np.broadcast_to(np.array(ratio) * swing, v.shape[:-1])
            return sum(lp(x, b, joint) for x, b in zip(v, bound))

        smooth = 0
        for _ in range(4):
            v = rng.normal(size=(3, 2, 8) if joint else (3, 16))
            v[..., -1] += 3 * np.array([1.0, -1.0, 1.0]).reshape(-1, *[1] * (v.ndim - 2))
            value, g = value_and_gradient(v, tol=TOL, **options)
            here, slack = f(v), TOL * value.sum() / STEP + 1e-8
            np.testing.assert_allclose(value.sum(), here, rtol=2 * TOL)
            for move in (rng.normal(size=v.shape), np.eye(v.shape[-1])[-1], np.eye(v.shape[-1])[0]):
                d = np.broadcast_to(move, v.shape)
                left = (here - f(v - STEP * d)) / STEP
                right = (f(v + STEP * d) - here) / STEP
                if abs(right - left) < 1e-6:
                    smooth += 1
                    assert abs((g * d).sum() - (left + right) / 2) <= slack + 1e-6
        assert smooth >= 4

    def test_by_the_bound_in_jax(self, rng, x64):
        """-sum |y|, scalar or per sample, by grad and jvp; and the ratio's by the chain rule."""
        v = rng.normal(size=(3, 16))

        def f(bound):
            return ji.sparsity(jnp.asarray(v), noise_bound=bound, tol=TOL).sum()

        bound = np.array([0.02, 0.1, 0.25])
        slope = jax.jit(jax.grad(f))(jnp.asarray(bound))
        smooth = 0
        for i in range(3):
            left, here, right = (lp(v[i], bound[i] + h) for h in (-STEP, 0.0, STEP))
            smooth += abs(right - 2 * here + left) < 1e-8
            slack = TOL * here / STEP + 1e-8
            assert (here - left) / STEP - slack <= slope[i] <= (right - here) / STEP + slack
        assert smooth >= 1
        total = jax.jit(jax.grad(f))(0.1)
        by_sample = jax.jit(jax.grad(f))(jnp.full(3, 0.1))
        np.testing.assert_allclose(total, by_sample.sum(), rtol=1e-6)
        swing = abs(v[:, -1] - v[:, 0])
        ratio = jax.jit(
            jax.grad(lambda r: ji.sparsity(jnp.asarray(v), noise_ratio=r, tol=TOL).sum())
        )(0.1)
        by_bound = jax.jit(jax.grad(f))(jnp.asarray(0.1 * swing))
        np.testing.assert_allclose(ratio, (by_bound * swing).sum(), rtol=1e-6)

    def test_by_a_traced_bound_of_numpy_values(self, rng):
        v = rng.normal(size=(3, 16))
        bound = jnp.float32(0.1)

        def f(table):
            return jax.jit(jax.value_and_grad(lambda b: ji.sparsity(table, noise_bound=b).sum()))

        np.testing.assert_allclose(f(v)(bound), f(jnp.asarray(v, jnp.float32))(bound), rtol=1e-3)

    def test_sums_to_zero_and_gives_back_the_value(self, table):
        """v + const is the same game; f(c v) = |c| f(v), so <g, v> = f(v) if the bound does too."""
        for options in ({}, {"noise_ratio": 0.02}, {"noise_preset": "paper001"}):
            value, g = value_and_gradient(table[:4], tol=1e-3, **options)
            np.testing.assert_allclose(g.sum(axis=-1), 0, atol=1e-9)
            per_sample = (g * table[:4]).sum(axis=-1)
            if options.get("noise_preset"):
                np.testing.assert_allclose(per_sample.sum(), value.sum(), rtol=2e-3)
            else:
                np.testing.assert_allclose(per_sample, value, rtol=2e-3)

    def test_exact_identity_of_value_and_gradient_is_the_certificate(self, rng):
        """<g, v> - bound sum |y| is the lower bound that extract proves."""
        v = rng.normal(size=(4, 32))
        for bound in (0.0, 0.1):
            _, g = value_and_gradient(v, noise_bound=bound or None)
            dual = (g * v).sum(axis=-1) - bound * abs(g[:, 1:]).sum(axis=-1)
            expected = ji.extract(v, noise_bound=bound, tie_break=0).dual
            np.testing.assert_allclose(dual, expected, rtol=1e-12)

    def test_is_zero_at_a_constant_table_and_within_the_noise(self, torch):
        for v, options in (
            (np.full((2, 8), 3.0), {}),
            (np.full((2, 8), 3.0), {"noise_ratio": 0.1}),
            (np.full((2, 8), 3.0), {"noise_preset": "paper001"}),
            (np.array([[0.0, 0.1, 0.2, 1.0]] * 2), {"noise_bound": 1.0}),
            (np.full((1, 2, 8), -1.0), {"joint": True}),
            (np.zeros((2, 1)), {"noise_ratio": 0.1}),
        ):
            value, g = value_and_gradient(v, **options)
            assert not value.any() and not g.any()
            tensor = torch.from_numpy(v).requires_grad_()
            ji.sparsity(tensor, **options).sum().backward()
            assert not tensor.grad.any()

    def test_of_dummies(self, rng):
        """A player that changes nothing: the smaller game's optimum, and still a subgradient."""
        small = rng.normal(size=(3, 8))
        index = np.arange(32)
        movers = (index & 1) | (index >> 1 & 2) | (index >> 2 & 4)  # players 1 and 3 are dummies
        v = np.take(small, movers, axis=-1).copy()
        for bound in (0.0, 0.1):
            value, g = value_and_gradient(v, noise_bound=bound or None)
            expected, _ = value_and_gradient(small, noise_bound=bound or None)
            np.testing.assert_allclose(value, expected, rtol=1e-4)
            for _ in range(4):
                other = v[0] + rng.normal(size=32)
                assert lp(other, bound) >= value[0] * (1 - 1e-4) + g[0] @ (other - v[0]) - 1e-9


class TestInvariances:
    @pytest.mark.parametrize("kind", ["numpy", "jax", "torch"])
    def test_scale_and_shift(self, kind, rng, torch, x64):
        make = {"numpy": lambda x: x, "jax": jnp.asarray, "torch": torch.from_numpy}[kind]
        v = rng.normal(size=(4, 16))
        for options in ({}, {"noise_ratio": 0.1}, {"joint": True}):

            def f(x, options=options):
                return ji.sparsity(x, **options)

            f = jax.jit(f) if kind == "jax" else f
            value = np.asarray(f(make(v)))
            for c in (-1.0, 1e-12, 7e8):
                np.testing.assert_allclose(f(make(c * v)), abs(c) * value, rtol=2e-4)
            np.testing.assert_allclose(f(make(v + 5.0)), value, rtol=2e-4)

    def test_is_a_norm_of_games(self, rng):
        """Subadditive; the same when players are renamed; |v(full) - v(empty)| at least."""
        u, v = rng.normal(size=(2, 5, 16))
        both = ji.sparsity(u + v)
        assert (both <= (ji.sparsity(u) + ji.sparsity(v)) * (1 + 1e-4)).all()
        cube = v.reshape(5, 2, 2, 2, 2)
        renamed = cube.transpose(0, 3, 1, 4, 2).reshape(5, 16)
        np.testing.assert_allclose(ji.sparsity(renamed), ji.sparsity(v), rtol=1e-4)
        assert (ji.sparsity(v) >= abs(v[:, -1] - v[:, 0])).all()
        # AND and OR change places when all players are flipped
        np.testing.assert_allclose(ji.sparsity(v[:, ::-1]), ji.sparsity(v), rtol=1e-4)

    def test_falls_with_the_bound(self, rng):
        v = rng.normal(size=32)
        values = [ji.sparsity(v, noise_bound=b, tol=1e-6) for b in (0.0, 0.01, 0.1, 0.5, 1.0, 9.0)]
        assert np.all(np.diff(values) <= 0) and values[0] > values[3] > values[5] == 0


class TestTransformations:
    OPTIONS = (
        {},
        {"noise_ratio": 0.1},
        {"noise_bound": 0.1},
        {"noise_ratio": 0.1, "noise_per": "dataset"},
        {"joint": True},
    )

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_jit_grad_and_vmap_agree_with_the_engine(self, options, rng, x64):
        v = rng.normal(size=(3, 2, 16))
        expected = [value_and_gradient(x, tol=1e-6, **options) for x in v]
        values, gradients = (np.stack(x) for x in zip(*expected))
        table = jnp.asarray(v)

        def f(x):
            return ji.sparsity(x, tol=1e-6, **options).sum()

        def check(found):
            np.testing.assert_allclose(found[0], values.reshape(3, -1).sum(axis=1), rtol=1e-9)
            np.testing.assert_allclose(found[1], gradients, atol=1e-6)

        check(jax.jit(jax.vmap(jax.value_and_grad(f)))(table))
        # forward mode is the same linear map
        d = jnp.asarray(rng.normal(size=v.shape))
        along = jax.jit(jax.vmap(lambda x, d: jax.jvp(f, (x,), (d,))[1]))(table, d)
        np.testing.assert_allclose(along, (gradients * d).sum(axis=(1, 2)), atol=1e-5)

    def test_eager_vmap_and_grad(self, rng):
        v = jnp.asarray(rng.normal(size=(3, 8)), jnp.float32)
        values, gradients = jax.vmap(jax.value_and_grad(ji.sparsity))(v)
        expected = value_and_gradient(np.asarray(v, np.float64))
        np.testing.assert_allclose(values, expected[0], rtol=1e-5)
        np.testing.assert_allclose(gradients, expected[1], atol=1e-4)

    def test_vmap_over_the_bound_alone(self, rng):
        v = jnp.asarray(rng.normal(size=(2, 8)), jnp.float32)
        bounds = jnp.array([0.0, 0.1, 5.0])
        found = jax.jit(jax.vmap(lambda b: ji.sparsity(v, noise_bound=b)))(bounds)
        expected = [ji.sparsity(np.asarray(v), noise_bound=float(b)) for b in bounds]
        np.testing.assert_allclose(found, expected, rtol=2e-4)

    def test_in_the_middle_of_a_program(self, rng, x64):
        """Chain rule through what comes before and after."""
        x, matrix = jnp.asarray(rng.normal(size=4)), jnp.asarray(rng.normal(size=(16, 4)))

        def loss(x):
            return jnp.log1p(ji.sparsity(jnp.tanh(matrix @ x), noise_bound=0.05, tol=1e-8))

        value, slope = jax.jit(jax.value_and_grad(loss))(x)
        v = np.tanh(matrix @ x)
        s, g = value_and_gradient(v, noise_bound=0.05, tol=1e-8)
        np.testing.assert_allclose(value, np.log1p(s), rtol=1e-9)
        np.testing.assert_allclose(slope, matrix.T @ (g * (1 - v**2)) / (1 + s), atol=1e-7)

    def test_second_derivatives_are_refused(self, rng):
        v = jnp.asarray(rng.normal(size=4), jnp.float32)
        with pytest.raises(NotImplementedError):
            jax.jit(jax.hessian(ji.sparsity))(v)

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_torch_backward_equals_jax(self, options, rng, torch, x64):
        """With a weight of its own for each sample: a cotangent is not a constant."""
        v = rng.normal(size=(3, 2, 16))
        w = rng.normal(size=3 if options.get("joint") else (3, 2))
        tensor = torch.from_numpy(v.copy()).requires_grad_()
        found = ji.sparsity(tensor, tol=1e-6, **options)
        assert found.dtype == torch.float64 and found.requires_grad
        (found * torch.from_numpy(w)).sum().backward()
        f = jax.jit(jax.value_and_grad(lambda x: (ji.sparsity(x, tol=1e-6, **options) * w).sum()))
        value, gradient = f(jnp.asarray(v))
        np.testing.assert_allclose((found.detach().numpy() * w).sum(), value, rtol=1e-9)
        np.testing.assert_allclose(tensor.grad.numpy(), gradient, atol=1e-6)

    def test_torch_float32_and_no_second_derivative(self, rng, torch):
        v = torch.from_numpy(rng.normal(size=(3, 16))).float().requires_grad_()
        found = ji.sparsity(v)
        assert found.dtype == torch.float32
        found.sum().backward()
        assert v.grad.dtype == torch.float32
        _, g = value_and_gradient(v.detach().double().numpy())
        np.testing.assert_allclose(v.grad.numpy(), g, atol=1e-4)
        once = torch.autograd.grad(ji.sparsity(v).sum(), v, create_graph=True)[0]
        with pytest.raises(RuntimeError, match=r"once_differentiable|twice|does not require grad"):
            once.sum().backward()

    def test_torch_views(self, rng, torch):
        """The gradient of a transposed table arrives where its elements lie."""
        v = torch.from_numpy(rng.normal(size=(16, 3))).requires_grad_()
        ji.sparsity(v.T).sum().backward()
        _, g = value_and_gradient(v.detach().numpy().T.copy())
        np.testing.assert_allclose(v.grad.numpy().T, g, atol=1e-4)


class TestTraining:
    def test_gradient_descent_makes_a_table_sparser(self, rng):
        v = jnp.asarray(rng.normal(size=(2, 32)), jnp.float32)
        step = jax.jit(jax.value_and_grad(lambda v: ji.sparsity(v, noise_ratio=0.02).sum()))
        losses = []
        for _ in range(25):
            loss, gradient = step(v)
            losses.append(float(loss))
            v = v - 0.01 * gradient
        assert losses[-1] < 0.8 * losses[0]
        assert np.all(np.diff(losses) < 0.02 * losses[0])

    def test_torch_optimizer(self, rng, torch):
        v = torch.from_numpy(rng.normal(size=(2, 16))).requires_grad_()
        optimizer = torch.optim.SGD([v], lr=0.01)
        losses = []
        for _ in range(25):
            optimizer.zero_grad()
            loss = ji.sparsity(v).sum()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.8 * losses[0]


class TestRefusals:
    def test_not_finite(self, torch):
        bad = np.zeros((2, 8))
        bad[1, 5] = np.nan
        message = r"sparsity: values must be finite; got nan at sample 1, coalition 5"
        tensor = torch.from_numpy(bad)
        for v in (bad, jnp.asarray(bad), tensor, tensor.clone().requires_grad_()):
            with pytest.raises(ValueError, match=message):
                ji.sparsity(v)

    @pytest.mark.parametrize("index", [0, 3, 7])
    @pytest.mark.parametrize("options", [{}, {"noise_ratio": 0.1}, {"noise_bound": 0.1}], ids=str)
    def test_not_finite_in_a_trace_is_never_a_number(self, index, options):
        """Nothing can be raised there; NaN in, NaN out, of that sample alone."""
        v = np.zeros((2, 8), np.float32)
        v[:, 1], v[1, index] = 1.0, np.nan
        found = traced(**options)(v)
        assert np.isnan(found).tolist() == [False, True]

    def test_too_few_iterations_are_still_above_the_optimum(self, rng):
        v = rng.normal(size=(3, 16))
        true = np.array([lp(x) for x in v])
        for iterations in (1, 3, 30):
            rough = ji.sparsity(v, max_iterations=iterations)
            assert (true * (1 - 1e-9) <= rough).all() and (rough <= 3 * true).all()
