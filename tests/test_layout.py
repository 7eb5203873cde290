# SPDX-License-Identifier: Apache-2.0
"""The house rule, checked: stages import only stages above; examples print what they say."""

import ast
import doctest
import importlib.util
import pkgutil
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import jaxinter as ji

ROOT = Path(__file__).parent.parent
# In the order of the data flow. Plumbing (_name.py) may be imported anywhere.
STAGES = ["value_fn", "masks", "players", "assemble", "evaluate", "samples"]
STAGES += ["transform", "baselines", "interactions"]
STAGES += ["sparse.problem", "sparse.projection", "sparse.solver", "sparse.native"]
STAGES += ["sparse.exact", "sparse.published", "sparse.games", "sparse.extract"]
STAGES += ["sparse.sparsity", "sparse.stream", "sparse"]
STAGES += ["stats", "conciseness", "indices"]
STAGES += ["compare", "pruning", "similarity", "multiorder"]
STAGES += ["distributions", "fit"]
STAGES += ["plot.patches", "plot.words", "plot.columns"]
STAGES += ["plot.orders", "plot.pruning", "plot.fits", "plot.curves", "plot"]
STAGES += [f"adapters.{name}" for name in ("model", "torch", "jax", "text", "sklearn", "onnx")]
STAGES += ["adapters.shapiq", "adapters", "explain"]
# An optional room with a walk of its own: from a table of data to the interactions of its columns.
STAGES += ["nid.table", "nid.network", "nid.training", "nid.weights", "nid.ranking"]
STAGES += ["nid.detection", "nid.detect", "nid.suite", "nid.additive", "nid.cutoff", "nid.outputs"]
STAGES += ["nid.plot.rankings", "nid.plot.effects", "nid.plot.comparison", "nid.plot", "nid"]
STAGES += ["", "demo", "cli"]  # "" is the package: the public list
CONVERTER = ("jaxinter.interactions", "jaxinter.adapters.shapiq")


@cache
def modules():
    package = Path(ji.__file__).parent
    found = pkgutil.walk_packages([str(package)], "jaxinter.")
    return [info.name for info in found if info.name not in ("jaxinter._cpu", "jaxinter._cuda")]


def stage_of(name):
    return name.removeprefix("jaxinter").removeprefix(".")


def is_plumbing(stage):
    return stage.rpartition(".")[2].startswith("_")


def test_every_module_is_plumbing_or_a_stage():
    names = {stage_of(name) for name in modules()}
    assert {n for n in names if not is_plumbing(n)} == set(STAGES) - {""}


@pytest.mark.parametrize("name", [n for n in modules() if not is_plumbing(stage_of(n))])
def test_a_stage_imports_only_stages_above_it(name):
    source = Path(importlib.util.find_spec(name).origin).read_text()
    above = STAGES[: STAGES.index(stage_of(name))]
    for node in ast.walk(ast.parse(source)):
        targets = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxinter"):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = [t if t in modules() else node.module for t in inner]
        elif isinstance(node, ast.Import):
            targets = [a.name for a in node.names if a.name.startswith("jaxinter")]
        # Converters import their adapter inside the method: the one exception.
        targets = [t for t in targets if (name, t) != CONVERTER]
        for target in map(stage_of, targets):
            assert is_plumbing(target) or target in above, f"{name} imports jaxinter.{target}"


@pytest.mark.parametrize("name", modules())
def test_docstring_examples(name):
    for package in ("torch", "shapiq"):
        if name in (f"jaxinter._{package}", f"jaxinter.adapters.{package}"):
            pytest.importorskip(package)
    module = importlib.import_module(name)
    globals_ = {"np": np, "ji": ji} | vars(module)
    if name.startswith("jaxinter.nid"):
        globals_["nid"] = importlib.import_module("jaxinter.nid")
    failed, _ = doctest.testmod(module, extraglobs=globals_, verbose=False)
    assert not failed


def test_public_names_are_documented_and_listed():
    public = [n for n in vars(ji) if not n.startswith("_") and callable(getattr(ji, n))]
    assert len(public) >= 20
    for name in public:
        assert getattr(ji, name).__doc__, name
        module = importlib.import_module(getattr(ji, name).__module__)
        assert name in module.__all__, name


def test_only_public_jax():
    for path in (ROOT / "jaxinter").rglob("*.py"):
        assert "jax." + "_src" not in path.read_text(), path


def test_optional_packages_are_imported_lazily():
    names = ("torch", "matplotlib", "pandas", "sklearn", "transformers", "onnxruntime", "shapiq")
    code = f"import sys, jaxinter; print([m for m in {names} if m in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    ).stdout
    assert printed.strip() == "[]"


def test_readme_table_example_runs(tmp_path):
    """On few rows, for a moment: what it prints of the whole takes half a minute."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    (code,) = (block for block in blocks if "nid.detect" in block)
    quick = code.replace("10_000", "300").replace("trials=3", "trials=1, epochs=1, hidden=(3, 3)")
    quick = quick.replace("cutoff(X, y, found)", "cutoff(X, y, found, largest=1)")
    assert quick.count("epochs=1") == quick.count("largest=1") == quick.count("(300)") == 1
    run = subprocess.run(
        [sys.executable, "-c", quick], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "of what the networks gain" in run.stdout


def readme_example(which, cwd):
    """What a python block of the README prints, run as a script, and what it says it prints."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    at = [i for i, (language, _) in enumerate(blocks) if language == "python"][which]
    (_, code), (language, expected) = blocks[at : at + 2]
    assert language == "text"
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip(), expected.strip()


def test_readme_example_prints_what_it_says(tmp_path):
    printed, expected = readme_example(0, tmp_path)
    assert printed == expected


def test_readme_torch_example_prints_what_it_says(tmp_path, torch):
    """Up to the digits that torch's training gives on other processors."""
    printed, expected = (text.splitlines() for text in readme_example(1, tmp_path))
    assert len(printed) == len(expected)
    assert float(printed[0].split()[0]) == pytest.approx(float(expected[0].split()[0]), rel=0.2)
    assert all(re.fullmatch(r"[+-]\d\.\d  (AND|OR) of (patch \d,\d,? ?)+", p) for p in printed)
