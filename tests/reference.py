# SPDX-License-Identifier: Apache-2.0
"""The definitions, slow and obvious. Nothing here uses the library."""

from itertools import chain, combinations

import numpy as np
from scipy.optimize import linprog


def subsets(s: int) -> list[int]:
    """Indices of all subsets of coalition s, the empty one and s among them."""
    players = [i for i in range(s.bit_length()) if s >> i & 1]
    chosen = chain.from_iterable(combinations(players, k) for k in range(len(players) + 1))
    return [sum(1 << i for i in c) for c in chosen]


def size(s: int) -> int:
    return bin(s).count("1")


def mobius(v):
    """I(S) = sum_{T subset S} (-1)^(|S|-|T|) v(T)."""
    return np.array(
        [sum((-1.0) ** (size(s) - size(t)) * v[t] for t in subsets(s)) for s in range(len(v))]
    )


def zeta(effects):
    """v(T) = sum_{S subset T} I(S)."""
    return np.array([sum(effects[s] for s in subsets(t)) for t in range(len(effects))])


def superset_mobius(x):
    full = len(x) - 1
    return np.array(
        [
            sum((-1.0) ** (size(full ^ t) - size(s)) * x[full ^ t] for t in subsets(full ^ s))
            for s in range(len(x))
        ]
    )


def superset_zeta(x):
    full = len(x) - 1
    return np.array([sum(x[full ^ t] for t in subsets(full ^ s)) for s in range(len(x))])


def or_interactions(v):
    """I_or(S) = -sum_{T subset S} (-1)^(|S|-|T|) v(N without T); 0 for the empty coalition."""
    full = len(v) - 1
    effects = [
        -sum((-1.0) ** (size(s) - size(t)) * v[full ^ t] for t in subsets(s)) for s in range(len(v))
    ]
    return np.array([0.0, *effects[1:]])


def reconstruct(bias, and_effects, or_effects):
    """bias + sum of AND(S) over S within T + sum of OR(S) over S that meet T."""
    everyone = range(1, len(and_effects))
    return np.array(
        [
            bias
            + sum(and_effects[s] for s in everyone if s & t == s)
            + sum(or_effects[s] for s in everyone if s & t)
            for t in range(len(and_effects))
        ]
    )


def sparsest_split(v, bound):
    """The least sum of absolute effects that explains v within `bound`: HiGHS on the value form."""
    n_effects = len(v) - 1
    everyone = np.arange(1, len(v))
    t = everyone[:, None]
    design = np.hstack([(everyone & t) == everyone, (everyone & t) != 0]).astype(float)
    w = (v - v[0])[1:]
    # effects = plus - minus, residual free within the box
    equality = np.hstack([design, -design, np.eye(n_effects)])
    cost = np.concatenate([np.ones(4 * n_effects), np.zeros(n_effects)])
    bounds = [(0, None)] * (4 * n_effects) + [(-bound, bound)] * n_effects
    result = linprog(cost, A_eq=equality, b_eq=w, bounds=bounds, method="highs")
    assert result.status == 0, result.message
    return result.fun


def joint_norm(x):
    """sum_k |x_k| + |max(0, x_1..x_m)| + |min(0, x_1..x_m)|, summed over effects ``[m, ...]``."""
    zero = np.zeros_like(x[0])
    highest, lowest = np.max([zero, *x], axis=0), np.min([zero, *x], axis=0)
    return np.abs(x).sum() + np.abs(highest).sum() + np.abs(lowest).sum()


def joint_gauge(lam):
    """max <lam, x> over joint_norm(x) <= 1, for one effect's lam ``[m]``: HiGHS."""
    eye, one = np.eye(len(lam)), np.ones((len(lam), 1))
    # x = plus - minus, top >= every x, bottom >= every -x
    above = np.hstack([eye, -eye, -one, 0 * one])
    below = np.hstack([-eye, eye, 0 * one, -one])
    size_of = np.ones((1, 2 * len(lam) + 2))
    right = np.concatenate([np.zeros(2 * len(lam)), [1.0]])
    cost = -np.concatenate([lam, -lam, [0.0, 0.0]])
    result = linprog(cost, A_ub=np.vstack([above, below, size_of]), b_ub=right, method="highs")
    assert result.status == 0, result.message
    return -result.fun


def sparsest_joint_split(tables, bounds):
    """The least joint_norm of AND and of OR effects that explain each table within its bound."""
    models, everyone = len(tables), np.arange(1, tables.shape[-1])
    t = everyone[:, None]
    design = np.hstack([(everyone & t) == everyone, (everyone & t) != 0]).astype(float)
    rows, kinds = design.shape
    w = (tables - tables[:, :1])[:, 1:]
    # effects = plus - minus ``[models, kinds]``, residual ``[models, rows]``, then one top >= every
    # model's effect and one bottom >= minus every model's effect ``[kinds]``
    each, own = np.eye(models * kinds), np.kron(np.eye(models), design)
    shared = np.tile(np.eye(kinds), (models, 1))
    no_residual = np.zeros((models * kinds, models * rows))
    equality = np.hstack([own, -own, np.eye(models * rows), np.zeros((models * rows, 2 * kinds))])
    above = np.hstack([each, -each, no_residual, -shared, 0 * shared])
    below = np.hstack([-each, each, no_residual, 0 * shared, -shared])
    cost = np.concatenate([np.ones(2 * len(each)), np.zeros(models * rows), np.ones(2 * kinds)])
    box = [(-bound, bound) for bound in bounds for _ in range(rows)]
    result = linprog(
        cost,
        A_ub=np.vstack([above, below]),
        b_ub=np.zeros(2 * len(each)),
        A_eq=equality,
        b_eq=w.ravel(),
        bounds=[(0, None)] * (2 * len(each)) + box + [(0, None)] * (2 * kinds),
        method="highs",
    )
    assert result.status == 0, result.message
    return result.fun


def order_strength(and_effects, or_effects, n):
    """positive(m), negative(m) for m = 1..n."""
    positive, negative = np.zeros(n), np.zeros(n)
    for effects in (and_effects, or_effects):
        for s in range(1, len(effects)):
            if effects[s] > 0:
                positive[size(s) - 1] += effects[s]
            else:
                negative[size(s) - 1] -= effects[s]
    return positive, negative
