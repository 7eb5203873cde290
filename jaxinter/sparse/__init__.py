# SPDX-License-Identifier: Apache-2.0
"""6. The sparsest AND-OR split of a table, with a proof of how close to optimal it is.

problem.py     the linear program: objective, noise box, dual, certificate
projection.py  the exact projection onto its equality constraint
solver.py      the iteration (restarted Halpern Peaceman-Rachford)
extract.py     the door: checks, units, the two phases' result as an `Interactions`
"""

from jaxinter.sparse.extract import ConvergenceError, extract

__all__ = ["ConvergenceError", "extract"]
