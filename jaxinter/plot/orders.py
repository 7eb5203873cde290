# SPDX-License-Identifier: Apache-2.0
"""`order_strength`: strength by order as bars."""

from typing import Any

import numpy as np

from jaxinter import _arrays
from jaxinter.plot import _style
from jaxinter.stats import OrderStrength

__all__ = ["order_strength"]


def order_strength(strength: OrderStrength, ax: Any = None, *, unit: str = "log-odds") -> Any:
    """Mean strength of each order over the batch: positive up, negative down.

    Args:
      strength: from `order_strength`, one sample or any batch.
      ax: matplotlib axes to draw on; a new figure otherwise.
      unit: of v, for the axis label.

    Returns:
      The axes.
    """
    if ax is None:
        ax = _style.pyplot().subplots(figsize=(6, 3.6), layout="constrained")[1]
    sides = [
        np.asarray(_arrays.to_numpy("plot.order_strength", "strength", side), np.float64)
        for side in (strength.positive, strength.negative)
    ]
    up, down = (side.reshape(-1, side.shape[-1]).mean(axis=0) for side in sides)
    ax.bar(strength.orders, up, color=_style.POSITIVE, label="positive: for the output")
    ax.bar(strength.orders, -down, color=_style.NEGATIVE, label="negative: against it")
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(strength.orders)
    ax.set_xlabel("order: number of players in the interaction")
    ax.set_ylabel(f"summed effects ({unit}),\nmean over samples")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax
