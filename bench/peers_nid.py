# SPDX-License-Identifier: Apache-2.0
"""The code published with paper 004 (PyTorch), run as it is from a checkout that the user names."""

import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

MODULES = ("utils", "multilayer_perceptron", "neural_interaction_detection")


def official_code(checkout: Path) -> SimpleNamespace:
    """Its three modules, which import each other by bare names."""
    checkout = checkout.resolve()
    if not (checkout / f"{MODULES[-1]}.py").exists():
        raise SystemExit(f"{checkout} is no checkout of mtsang/neural-interaction-detection")
    sys.path.insert(0, str(checkout))
    try:
        return SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(checkout))
        for name in MODULES:  # "utils" is anyone's name
            sys.modules.pop(name, None)


class Counted:
    """A data loader that counts its epochs, which `train` does not tell."""

    def __init__(self, loader: Any):
        self.loader, self.epochs = loader, 0

    def __iter__(self) -> Iterator:
        self.epochs += 1
        return iter(self.loader)


def official_trial(
    code: SimpleNamespace,
    X: np.ndarray,
    y: np.ndarray,
    *,
    main_effects: bool,
    seed: int,
    epochs: int,
) -> SimpleNamespace:
    """A trial as its demo notebook: thirds, standardised, Adam 0.01, batches of 100, patience 5.

    Not by its `detect_interactions`, which raises NameError. `pairwise`, `interactions`, and
    `seconds` of an epoch.
    """
    p, third = X.shape[1], len(X) // 3
    code.utils.set_seed(seed)
    loaders = code.utils.preprocess_data(
        X, y, valid_size=third, test_size=third, std_scale=True, get_torch_loaders=True
    )
    loaders["train"] = counted = Counted(loaders["train"])
    mlp = code.multilayer_perceptron
    net = mlp.MLP(p, [140, 100, 60, 20], use_main_effect_nets=main_effects)
    began = time.perf_counter()
    net, _ = mlp.train(net, loaders, nepochs=epochs, l1_const=5e-5)
    seconds = (time.perf_counter() - began) / counted.epochs
    read = code.neural_interaction_detection.get_interactions
    weights = mlp.get_weights(net)
    pairwise = np.zeros((p, p))
    for (i, j), strength in read(weights, pairwise=True):
        pairwise[i, j] = pairwise[j, i] = strength
    interactions = [interaction for interaction, _ in read(weights)]
    return SimpleNamespace(pairwise=pairwise, interactions=interactions, seconds=seconds)
