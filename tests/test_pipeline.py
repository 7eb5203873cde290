# SPDX-License-Identifier: Apache-2.0
"""The whole walk on a real network, and the command line."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxinter as ji
from jaxinter import cli


@pytest.fixture
def network():
    return nnx.Sequential(
        nnx.Linear(8, 16, rngs=nnx.Rngs(0)), nnx.tanh, nnx.Linear(16, 3, rngs=nnx.Rngs(1))
    )


def test_a_flax_network_is_explained_and_rebuilt(network, rng):
    x, players = rng.normal(size=8).astype(np.float32), ji.columns(8, [[0], [1], [2, 3], [4], [5]])
    graph, state = nnx.split(network)

    @jax.jit
    def value_fn(masks):
        return ji.log_odds(nnx.merge(graph, state)(ji.masked_inputs(masks, x, 0.0, players)), 1)

    values = ji.evaluate(value_fn, 5, batch_size=8)
    interactions = ji.extract(values, tol=1e-3)
    for mask, rebuilt in zip(ji.all_masks(5), interactions.reconstruct()):
        kept = np.array([players[e] < 0 or mask[players[e]] for e in range(8)])
        logits = network(jnp.asarray(np.where(kept, x, 0.0)))
        assert np.isclose(rebuilt, ji.log_odds(logits, 1), atol=1e-4)


def test_demo_command(tmp_path):
    """In a process of its own, as a user runs it (optax does not run under strict promotion)."""
    arguments = ["demo", "--images", "2", "--players", "6", "--epochs", "1", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "jaxinter.cli", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stderr
    assert "test accuracy" in run.stdout
    assert "certified gap" in run.stdout
    loaded = ji.load(tmp_path / "interactions.npz")
    assert loaded.n_players == 6
    assert len(loaded) == 2
    assert (loaded.gap <= 1e-3).all()
    for name in ("digits.png", "strength_by_order.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_info_command(capsys):
    assert cli.main(["info"]) == 0
    printed = capsys.readouterr().out
    for word in (ji.__version__, jax.__version__, "SIMD level", "CUDA", "cpu"):
        assert word in printed


@pytest.mark.parametrize("arguments", [["demo", "--players", "17"], ["demo", "--images", "0"], []])
def test_bad_command_lines_end_with_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: jaxinter" in capsys.readouterr().err
