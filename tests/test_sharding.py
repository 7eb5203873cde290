# SPDX-License-Identifier: Apache-2.0
"""Arrays spread over devices: the programs XLA makes of them, and shard_map."""

import os
import subprocess
import sys

import pytest

SHARDED = """if True:
    import sys, jax, jax.numpy as jnp, numpy as np
    import jaxinter as ji
    from jax.sharding import NamedSharding, PartitionSpec as P
    assert len(jax.devices()) == 4
    axis_type = getattr(jax.sharding.AxisType, sys.argv[1])
    mesh = jax.make_mesh((4,), ("samples",), axis_types=(axis_type,))

    def on_devices(x, *spec):
        return jax.device_put(x, NamedSharding(mesh, P(*spec)))

    def check(name, f, *operands, spec, gathers=False, plain=None):
        compiled = jax.jit(f).lower(*operands).compile()
        text = compiled.as_text()
        assert ("all-gather" in text) == gathers, (name, text)
        assert gathers or "all-to-all" not in text and "collective-permute" not in text, name
        got = compiled(*operands)
        whole = (plain or f)(*(jnp.asarray(np.asarray(x)) for x in operands))
        for one, expected in zip(jax.tree.leaves(got), jax.tree.leaves(whole)):
            assert spec is None or tuple(one.sharding.spec)[: len(spec)] == tuple(spec), name
            np.testing.assert_array_equal(np.asarray(one), np.asarray(expected))
        print(name)

    v = np.random.default_rng(0).normal(size=(8, 2, 16)).astype(np.float32)
    tables, split = on_devices(v, "samples"), on_devices(v * 0.1, "samples")
    check("batch", ji.mobius, tables, spec=["samples"])
    check("second axis", ji.zeta, on_devices(v.swapaxes(0, 1), None, "samples"),
          spec=[None, "samples"])
    check("in use", lambda x: ji.or_interactions(2 * x + 1), tables, spec=["samples"])
    check("gradient", jax.grad(lambda x: (ji.mobius(x) ** 2).sum()), tables, spec=["samples"])
    check("vmap", jax.vmap(ji.mobius, 1, 1), on_devices(v.swapaxes(0, 1), None, "samples"),
          spec=[None, "samples"])
    check("fused", lambda *x: ji.and_or_interactions(*x), tables, split, spec=["samples"])
    solve = lambda x: ji.extract(x, noise_bound=0.3, tol=1e-2, throw=False).primal
    check("extract", solve, on_devices(v[:, 0], "samples"), spec=["samples"])
    masks = np.random.default_rng(1).random((8, 3)) < 0.5
    x, players = jnp.arange(6.0), jnp.arange(6) % 3
    assemble = lambda masks: ji.masked_inputs(masks, x, -1.0, players)
    check("assembly", assemble, on_devices(masks, "samples"), spec=["samples"])
    check("lattice", ji.mobius, on_devices(v, None, None, "samples"), spec=None, gathers=True)
    # a table is not split: it is brought together, and the result is right
    from_map = jax.shard_map(ji.mobius, mesh=mesh, in_specs=P("samples"), out_specs=P("samples"))
    check("shard_map", from_map, tables, spec=["samples"], plain=ji.mobius)

    # under shard_map, what varies over devices is typed so: gradients by what does not, and claims
    if sys.argv[1] == "Auto":
        one, few = v[:, 0], P("samples")
        for f in (lambda x, y: ji.mobius(x * y), lambda x, y: ji.and_or_interactions(x, y),
                  lambda x, y: ji.masked_inputs(x[:, :3] > 0, y, 2 * y, np.arange(16) % 3)):
            loss = lambda x, y: sum((part**2).sum() for part in jax.tree.leaves(f(x, y)))
            over = lambda x, y: jax.lax.psum(loss(x, y), "samples")
            mapped = jax.shard_map(over, mesh=mesh, in_specs=(few, P()), out_specs=P())
            for got, expected in zip(jax.grad(mapped, (0, 1))(one, one[0]),
                                     jax.grad(loss, (0, 1))(one, one[0])):
                np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
        try:
            jax.shard_map(ji.mobius, mesh=mesh, in_specs=few, out_specs=P())(one)
            raise SystemExit("a sharded result was taken for a replicated one")
        except ValueError:
            pass
"""


@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
def test_a_sharded_batch_stays_where_it_is_under_plain_jit(axis_type, tmp_path):
    """Read from the compiled program: no collective, and results sharded as the operands."""
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    run = subprocess.run(
        [sys.executable, "-c", SHARDED, axis_type],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(run.stdout.split("\n")) == 11
