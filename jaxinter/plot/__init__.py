# SPDX-License-Identifier: Apache-2.0
"""9a. Figures from results. matplotlib is imported where it is used; axes are returned.

One style: orange raises the output, blue lowers it; solid is an AND, dashed or hatched an OR; an
effect of one player is one thing, AND and OR merged. Of a whole and a part of it the whole is
pale. Figures stay readable in grey.

_style.py   what all share: colours, lines, numbers, the legend, which effects are drawn
_bars.py    what all figures of strength by order share
patches.py  images
words.py    sentences
columns.py  table rows
orders.py   strength, and salient effects, by order
pruning.py  strength by order, and shares, along a series of pruning ratios
fits.py     decay and spindle, of one fit or several, and along training
curves.py   lines: similarity and offsetting by order, sparsity, matching
"""

from jaxinter.plot._style import NEGATIVE as NEGATIVE
from jaxinter.plot._style import POSITIVE as POSITIVE
from jaxinter.plot.columns import effects_on_columns
from jaxinter.plot.curves import (
    jaccard,
    matching_curve,
    offsetting,
    sparsity_conditions,
    sparsity_curve,
)
from jaxinter.plot.fits import checkpoints, distributions
from jaxinter.plot.orders import order_strength, salient_counts
from jaxinter.plot.patches import effects_on_patches
from jaxinter.plot.pruning import pruning_orders, pruning_ratios
from jaxinter.plot.words import effects_on_words

__all__ = [
    "checkpoints",
    "distributions",
    "effects_on_columns",
    "effects_on_patches",
    "effects_on_words",
    "jaccard",
    "matching_curve",
    "offsetting",
    "order_strength",
    "pruning_orders",
    "pruning_ratios",
    "salient_counts",
    "sparsity_conditions",
    "sparsity_curve",
]
