# SPDX-License-Identifier: Apache-2.0
"""The exact projection onto the graph b = c + K a + kappa P d (problem.py; delta = kappa d).

    mu  = H^-1 (t_b - K t_a - kappa P t_d - c),      H = 1 + K K^T + kappa^2 P P^T
    y_a = t_a + K^T mu,   y_b = t_b - mu,   y_d = t_d + kappa P mu

Only H^-1 is not a butterfly. Without noise, K K^T is a Kronecker power: two rotations diagonalise
it. With noise, K K^T and P P^T have no common eigenvectors, but both are the same 2x2 matrix on
every player, so they commute with permutations of the players: in the basis of coupled spins
(Schur-Weyl; Clebsch-Gordan coefficients) a Kronecker power A^(x)m is, on each path of spin j, one
(2j+1) x (2j+1) block. Coupling the players in two halves keeps this in matrix products: two
orthogonal 2^(n/2) matrices, and per pair of spins one inverted block ("half-Schur").

The empty coalition is removed exactly. K maps it to itself and P to the full one, so H without it
is H without row and column 0, where the box adds nothing for the full coalition.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxinter._primitives import Matrix2, subset_transform, without_empty
from jaxinter.sparse.problem import K_TRANSPOSED, K, P
from jaxinter.transform import apply_numpy

KKT = np.array([[2.0, -1.0], [-1.0, 1.0]])  # one player's factor of K K^T
PPT = np.array([[1.0, -1.0], [-1.0, 2.0]])  # and of P P^T


class Rotations(NamedTuple):
    """H^-1 without noise: rotate, divide, rotate back, take out the empty coalition."""

    rotation: np.ndarray  # [2, 2], eigenvectors of KKT as columns
    inverse: np.ndarray  # [2**n], 1 / eigenvalue
    empty: np.ndarray  # [2**n], H^-1 e_0 / (e_0 H^-1 e_0)


class HalfSchur(NamedTuple):
    """H^-1 with the noise box."""

    bases: tuple[np.ndarray, np.ndarray]  # high, low half: [2**m, 2**m], columns (spin, path, k)
    blocks: tuple[tuple[np.ndarray, ...], ...]  # per (spin of high, spin of low): [d d', d d']


def kronecker_power(matrix: np.ndarray, n: int) -> np.ndarray:
    """matrix (x) ... (x) matrix, n factors."""
    power: np.ndarray = np.ones((1, 1))
    for _ in range(n):
        power = np.kron(matrix, power)
    return power


@lru_cache(maxsize=64)
def rotations(n: int) -> Rotations:
    """The factors of H^-1 without noise."""
    eigenvalues, rotation = np.linalg.eigh(KKT)
    inverse = 1 / (1 + kronecker_power(eigenvalues, n).ravel())
    spectrum = kronecker_power(rotation[0], n).ravel()  # e_0 in the eigenvectors
    empty = apply_numpy("rotations", "e_0", tuple(rotation.ravel()), inverse * spectrum, None)
    return Rotations(rotation, inverse, empty / empty[0])


def spins(m: int) -> list[tuple[int, int]]:
    """(dimension d = 2j+1, number of paths) of each spin of m coupled players, top spin first."""
    paths = {1: 1}
    for _ in range(m):
        grown: dict[int, int] = {}
        for d, count in paths.items():
            grown[d + 1] = grown.get(d + 1, 0) + count
            if d > 1:
                grown[d - 1] = grown.get(d - 1, 0) + count
        paths = grown
    return sorted(paths.items(), reverse=True)


@lru_cache(maxsize=64)
def coupled_basis(m: int) -> np.ndarray:
    """Orthogonal ``[2**m, 2**m]``: columns ordered by spin (top first), then path, then ones k."""
    paths = {1: [np.ones((1, 1))]}  # d -> list of [states, d]
    for _ in range(m):
        grown: dict[int, list[np.ndarray]] = {}
        for d, vectors in paths.items():
            k = np.arange(d + 1)  # ones of the raised spin; up is the new player's bit
            up, down = np.sqrt(k / d), np.sqrt((d - k) / d)
            for v in vectors:
                below = np.pad(v, ((0, 0), (1, 0)))  # column k holds state k - 1: one more to come
                above = np.pad(v, ((0, 0), (0, 1)))
                raised = np.concatenate([down * above, up * below])
                lowered = np.concatenate([up * above, -down * below])[:, 1:-1]
                grown.setdefault(d + 1, []).append(raised)
                if d > 1:
                    grown.setdefault(d - 1, []).append(lowered)
        paths = grown
    return np.concatenate([v for d in sorted(paths, reverse=True) for v in paths[d]], axis=1)


def spin_blocks(matrix: np.ndarray, m: int) -> list[np.ndarray]:
    """matrix^(x)m on one path of each spin (every path of a spin has the same block)."""
    basis, power = coupled_basis(m), kronecker_power(matrix, m)
    blocks, column = [], 0
    for d, count in spins(m):
        path = basis[:, column : column + d]
        blocks.append(path.T @ power @ path)
        column += d * count
    return blocks


@lru_cache(maxsize=64)
def half_schur(n: int, kappa: float) -> HalfSchur:
    """The factors of H^-1 with the noise box."""
    low, high = n // 2, n - n // 2
    rows = []
    for i, (k_high, p_high) in enumerate(zip(spin_blocks(KKT, high), spin_blocks(PPT, high))):
        row = []
        for j, (k_low, p_low) in enumerate(zip(spin_blocks(KKT, low), spin_blocks(PPT, low))):
            block: np.ndarray = np.kron(k_high, k_low) + kappa**2 * np.kron(p_high, p_low)
            block += np.eye(len(block))
            if i == j == 0:  # the top spins hold the empty coalition first and the full one last
                block[-1, -1] -= kappa**2
                inverse = np.zeros_like(block)
                inverse[1:, 1:] = np.linalg.inv(block[1:, 1:])
            else:
                inverse = np.linalg.inv(block)
            row.append((inverse + inverse.T) / 2)
        rows.append(tuple(row))
    return HalfSchur((coupled_basis(high), coupled_basis(low)), tuple(rows))


def solve(factors: Rotations | HalfSchur, r: jax.Array) -> jax.Array:
    """H^-1 r for r ``[..., 2**n]`` with 0 at the empty coalition; so is the result."""
    if isinstance(factors, Rotations):
        back: Matrix2 = tuple(factors.rotation.T.ravel())
        lattice = (*(1 for _ in r.shape[:-1]), -1)
        rotated = jnp.asarray(factors.inverse.reshape(lattice)) * subset_transform(r, back)
        mu = subset_transform(rotated, tuple(factors.rotation.ravel()))
        return without_empty(mu - factors.empty.reshape(lattice) * mu[..., :1])
    high, low = factors.bases
    coupled = jnp.einsum("ki,skl,lj->sij", high, r.reshape(-1, len(high), len(low)), low)
    rows, row = [], 0
    for (d, paths), blocks in zip(spins(len(high).bit_length() - 1), factors.blocks):
        parts, column = [], 0
        for (e, others), block in zip(spins(len(low).bit_length() - 1), blocks):
            part = coupled[:, row : row + d * paths, column : column + e * others]
            part = part.reshape(-1, paths, d, others, e)
            part = jnp.einsum("spkql,klmn->spmqn", part, block.reshape(d, e, d, e))
            parts.append(part.reshape(-1, d * paths, e * others))
            column += e * others
        rows.append(jnp.concatenate(parts, axis=2))
        row += d * paths
    solved = jnp.concatenate(rows, axis=1)
    return jnp.einsum("ik,skl,jl->sij", high, solved, low).reshape(r.shape)


def project(factors: Rotations | HalfSchur, c: jax.Array, kappa: float, t: jax.Array) -> jax.Array:
    """The nearest point of the graph to t ``[groups, 2 or 3, models, 2**n]``: (a, b[, d])."""
    boxed = t.shape[1] == 3
    r = t[:, 1] - subset_transform(t[:, 0], K) - c
    if boxed:
        r = r - kappa * subset_transform(t[:, 2], P)
    mu = solve(factors, without_empty(r))
    y = [t[:, 0] + subset_transform(mu, K_TRANSPOSED), t[:, 1] - mu]
    if boxed:
        y.append(t[:, 2] + kappa * subset_transform(mu, P))
    return without_empty(jnp.stack(y, axis=1))
