# SPDX-License-Identifier: Apache-2.0
"""NID 12. Figures from results, as `jaxinter.plot` has them: matplotlib is imported where it is
used, and axes are returned.

Strengths have no sign and are grey. Where the truth is given, a cross marks what is true, a ring
what is part of it. Functions of columns have one: orange raises the target, blue lowers it.
"""

from jaxinter.nid.plot.comparison import outputs
from jaxinter.nid.plot.effects import cutoff, interaction, main_effects
from jaxinter.nid.plot.rankings import averaging, heat_map, ranking, roc

__all__ = [
    "averaging",
    "cutoff",
    "heat_map",
    "interaction",
    "main_effects",
    "outputs",
    "ranking",
    "roc",
]
