# SPDX-License-Identifier: Apache-2.0
"""6. The sparsest AND-OR split of a table, with a proof of how close to optimal it is.

problem.py     the linear program: objective, noise box, dual, certificate
projection.py  the exact projection onto its equality constraint
solver.py      the iteration (restarted Halpern Peaceman-Rachford), in JAX
native.py      the same in C++ (csrc/sparse_cpu.cc), and the choice between the two
exact.py       the interior point method, for small games
published.py   the papers' own gradient descent, for comparison
games.py       arguments checked: games in float64, noise bounds
extract.py     the door: engines, units, the result as an `Interactions`
sparsity.py    the optimum as a differentiable function
stream.py      more tables than memory holds
"""

from jaxinter.sparse.extract import ConvergenceError, extract
from jaxinter.sparse.sparsity import sparsity
from jaxinter.sparse.stream import StoredInteractions, extract_tables, open_tables

__all__ = [
    "ConvergenceError",
    "StoredInteractions",
    "extract",
    "extract_tables",
    "open_tables",
    "sparsity",
]
