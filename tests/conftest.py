# SPDX-License-Identifier: Apache-2.0
"""A strict session: what a careful user may have switched on must not break the library."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import jax
import matplotlib
import numpy as np
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
matplotlib.use("Agg")
hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.load_profile("default")

DATA = Path(__file__).parent / "data"
TABLES = ("lstm_sst2_n10", "mnist_lenet_n10")


@pytest.fixture(params=TABLES)
def table_name(request):
    return request.param


@pytest.fixture
def table(table_name):
    """Real value tables [samples, 2**10] of a trained network (data/README.md)."""
    return np.load(DATA / f"{table_name}.npz")["values"]


@pytest.fixture
def optimum(table_name, table):
    """ratio -> true optima [samples], by an interior point method, relative gap <= 1e-8."""
    optima = json.loads((DATA / "optima.json").read_text())
    return lambda ratio: np.array(
        [optima[f"{table_name}/{row}/{ratio}"]["primal"] for row in range(len(table))]
    )


@pytest.fixture
def rng(request):
    """Seeded by the test's name: the same numbers whatever else runs."""
    return np.random.default_rng(list(request.node.name.encode()))


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def at_simd_levels(tmp_path):
    """A program, run at a level and at the widest: the files it wrote, whose path it is given. It
    prints its level first; a level that the machine has not is skipped."""

    def run(code, simd):
        paths = []
        for level in (simd, ""):
            paths.append(tmp_path / f"level_{level}")
            done = subprocess.run(
                [sys.executable, "-c", code, str(paths[-1])],
                env={**os.environ, "JAXINTER_SIMD": level}, cwd=tmp_path, check=True,
                capture_output=True, text=True,
            )  # fmt: skip
            if level and done.stdout.strip() != level:
                pytest.skip(f"this machine has no {level}")
        return paths

    return run


def quickly_compiled():
    """Half the time for programs that run once; test_joint.py has fully optimised ones."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


quick_compilation = pytest.fixture(quickly_compiled, name="quick_compilation")
# Of a file whose fixtures compile as well.
quick_file = pytest.fixture(quickly_compiled, scope="module", name="quick_file")


@pytest.fixture(scope="session")
def library():
    """Imports what is installed; with JAXINTER_REQUIRE_ADAPTERS set (CI), missing is an error."""

    def find(name):
        required = os.environ.get("JAXINTER_REQUIRE_ADAPTERS")
        module = importlib.import_module(name) if required else pytest.importorskip(name)
        if name == "torch":
            module.set_num_threads(1)  # on tiny networks, threads only wait for each other
        return module

    return find


@pytest.fixture
def torch(library):
    """torch where it is installed; with JAXINTER_REQUIRE_TORCH set (CI), missing is an error."""
    if os.environ.get("JAXINTER_REQUIRE_TORCH"):
        importlib.import_module("torch")
    return library("torch")
