# SPDX-License-Identifier: Apache-2.0
"""`order_strength`: strength by order as bars."""

from typing import Any

from jaxinter.plot import _bars, _style
from jaxinter.stats import OrderStrength

__all__ = ["order_strength"]


def order_strength(
    strength: OrderStrength,
    ax: Any = None,
    *,
    part: OrderStrength | None = None,
    part_label: str = "convergent",
    unit: str = "log-odds",
) -> Any:
    """Mean strength of each order over the batch: positive up, negative down.

    Args:
      strength: from `order_strength`, one sample or any batch.
      ax: matplotlib axes to draw on; a new figure otherwise.
      part: strength of some of the same effects, as `order_strength` gives it with `where`
        (`convergent`, `preserved`, `generalizable` ones): full bars inside pale ones.
      part_label: what they are, for the legend.
      unit: of v, for the axis label.

    Returns:
      The axes.

    Raises:
      TypeError: strength or part is no `OrderStrength`.
      ValueError: no samples, or a part with other orders.

    Source: paper 002, Fig. 2, for parts.
    """
    call = "plot.order_strength"
    whole = _bars.up_and_down(call, "strength", strength)
    inner = None if part is None else _bars.up_and_down(call, "part", part, whole.shape[-1])
    if ax is None:
        ax = _style.pyplot().subplots(figsize=(6, 3.8), layout="constrained")[1]
    _bars.draw(ax, whole, inner)
    _bars.label_x(ax)
    ax.set_ylabel(f"summed effects ({unit}),\nmean over samples")
    _style.legend_below(ax, _bars.handles("all", "" if part is None else part_label))
    return ax
