# SPDX-License-Identifier: Apache-2.0
"""`order_strength`, `salient_counts`: bars by order."""

from typing import Any

from jaxinter.conciseness import SalientCounts
from jaxinter.plot import _bars, _style
from jaxinter.stats import OrderStrength

__all__ = ["order_strength", "salient_counts"]


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


def salient_counts(counts: SalientCounts, ax: Any = None) -> Any:
    """How many effects of each order are salient, mean over the batch: AND plain, OR hatched.

    Args:
      counts: from `salient_counts`.
      ax: matplotlib axes to draw on; a new figure otherwise.

    Returns:
      The axes.

    Raises:
      TypeError: counts is no `SalientCounts`.
      ValueError: no samples.
    """
    call = "plot.salient_counts"
    _style.check_kind(call, "counts", counts, SalientCounts, "salient_counts")
    sides = (counts.and_counts, counts.or_counts)
    means = _bars.mean_over(call, "counts", sides, counts.batch)
    if ax is None:
        ax = _style.pyplot().subplots(figsize=(6, 3.6), layout="constrained")[1]
    n = len(counts.orders)
    looks: dict[str, dict[str, Any]] = {
        "AND": {"color": "0.35"},
        "OR": {"facecolor": "white", "edgecolor": "0.2"},
    }
    looks["OR"] |= {"hatch": "////", "linewidth": 0.8}
    half = _bars.WIDTH / 2
    for side, mean, (kind, look) in zip((-1, 1), means, looks.items()):
        ax.bar(counts.orders + side * half / 2, mean, half, label=kind, **look)
    ax.set_xticks(_bars.ticks(ax, n))
    ax.spines[["top", "right"]].set_visible(False)
    _bars.label_x(ax)
    ax.set_ylabel("salient effects,\nmean over samples")
    ax.legend(frameon=False, fontsize=_style.SMALL)
    return ax
