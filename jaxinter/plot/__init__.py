# SPDX-License-Identifier: Apache-2.0
"""9a. Figures from results. matplotlib is imported where it is used; axes are returned.

One style: orange raises the output, blue lowers it; solid is an AND, dashed or hatched an OR; an
effect of one player is one thing, AND and OR merged.

_style.py   what all share: colours, lines, numbers, the legend, which effects are drawn
patches.py  images
words.py    sentences
columns.py  table rows
orders.py   strength by order
"""

from jaxinter.plot._style import NEGATIVE as NEGATIVE
from jaxinter.plot._style import POSITIVE as POSITIVE
from jaxinter.plot.columns import effects_on_columns
from jaxinter.plot.orders import order_strength
from jaxinter.plot.patches import effects_on_patches
from jaxinter.plot.words import effects_on_words

__all__ = ["effects_on_columns", "effects_on_patches", "effects_on_words", "order_strength"]
