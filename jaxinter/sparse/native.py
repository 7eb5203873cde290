# SPDX-License-Identifier: Apache-2.0
"""The engines behind one signature: the C++ solver on CPUs, the CUDA kernel (where it was built)
for one model of at most `CUDA_PLAYERS` players, solver.py everywhere else.

``solve(w, zeta, start, tol, tie_break, margin, boxed=..., max_iterations=...) -> Solution``, as
`jaxinter.sparse.solver.solve` says. ``solve_native`` takes numpy arrays, shows progress and can be
interrupted; ``solve_traced`` is a JAX primitive, lowered to whichever of them fits the platform and
the shapes.
"""

import threading
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, xla

from jaxinter import _native
from jaxinter._primitives import ffi_lowering, register_lowerings
from jaxinter.sparse import solver
from jaxinter.sparse.solver import Solution

# Of all tables together: below, a call ends before anybody could want to stop it.
INTERRUPTIBLE_ELEMENTS = 1 << 12
POLL_SECONDS = 0.05
CUDA_PLAYERS = 11  # csrc/sparse_kernels.h: what a block's shared memory holds


def solve_native(
    w: np.ndarray,
    zeta: np.ndarray,
    start: np.ndarray | None,
    tol: float,
    tie_break: float,
    margin: float,
    *,
    boxed: bool,
    max_iterations: int,
    report: Callable[[int], None] | None = None,
) -> Solution:
    """`solver.solve` by the C++ engine; `report` is told how many groups are solved so far.

    start None: half of w in AND. The first exception of `report`, or Ctrl-C, stops the solver.
    """
    w, zeta = np.ascontiguousarray(w), np.ascontiguousarray(zeta)
    start = None if start is None else np.ascontiguousarray(start)
    groups = len(w)
    a, delta, y = (np.empty_like(w) for _ in range(3))
    dual, eps, iterations = np.empty(groups), np.empty(groups), np.empty(groups, np.int32)
    out = Solution(a, delta, y, dual, eps, iterations)
    monitor = np.zeros(2, np.int32)  # set [0] to stop; [1]: groups solved
    call = partial(
        _native.sparse_split,
        w,
        zeta if boxed else None,
        start,
        tol,
        tie_break,
        margin,
        max_iterations,
        *out,
        monitor,
    )
    if report is None and w.size <= INTERRUPTIBLE_ELEMENTS:
        call()
        return out
    worker = _Worker(call)
    try:
        while not worker.wait(POLL_SECONDS):
            if report:
                report(int(monitor[1]))
        worker.result()
        if report:
            report(int(monitor[1]))
    finally:
        monitor[0] = 1
        worker.wait(None)
    return out


class _Worker(threading.Thread):
    """Runs a call beside the caller, who stays free to hear Ctrl-C."""

    def __init__(self, call: Callable[[], None]):
        super().__init__(daemon=True)
        self._call, self._done = call, threading.Event()
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # handed to the caller
            self._error = error
        finally:
            self._done.set()

    def wait(self, seconds: float | None) -> bool:
        return self._done.wait(seconds)

    def result(self) -> None:
        if self._error is not None:
            raise self._error


sparse_split_p = Primitive("jaxinter_sparse_split")
sparse_split_p.multiple_results = True


def solve_traced(
    w: jax.Array,
    zeta: jax.Array,
    start: jax.Array | None,
    tol: jax.Array,
    tie_break: jax.Array,
    margin: jax.Array,
    *,
    boxed: bool,
    max_iterations: int,
) -> Solution:
    """`solver.solve` inside a traced program: a kernel where there is one, else the JAX engine."""
    numbers = jnp.stack([jnp.asarray(x, jnp.float64) for x in (tol, tie_break, margin)])
    numbers = jnp.broadcast_to(numbers, (len(w), 3))  # as every operand, over the groups
    zeta = jnp.broadcast_to(zeta, (*w.shape[:2], 1))
    if start is None:
        start = jnp.zeros((*w.shape[:2], 1, 1))
    operands = (w, zeta, start, numbers)
    return Solution(*sparse_split_p.bind(*operands, boxed=boxed, max_iterations=max_iterations))


def _by_jax(w, zeta, start, numbers, *, boxed, max_iterations):
    tol, tie_break, margin = numbers[0]
    given = start if start.shape == (*w.shape[:2], 3, w.shape[2]) else None
    found = solver.solve(
        w, zeta, given, tol, tie_break, margin, boxed=boxed, max_iterations=max_iterations
    )
    return list(found)


def _abstract(w, zeta, start, numbers, **_):
    table = w.update(weak_type=False)
    sharding = w.sharding.update(spec=(w.sharding.spec[0],))
    scalar = table.update(shape=w.shape[:1], sharding=sharding)
    return [table, table, table, scalar, scalar, scalar.update(dtype=np.dtype(np.int32))]


def _batch(args, dims, **parameters):
    """Batches of groups are groups; settings, never traced ones, are the same for all."""
    size = next(x.shape[d] for x, d in zip(args, dims) if d is not None)
    whole = [
        jnp.broadcast_to(x, (size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)
        for x, d in zip(args, dims)
    ]
    groups = whole[0].shape[1]
    flat = [x.reshape(size * groups, *x.shape[2:]) for x in whole]
    out = sparse_split_p.bind(*flat, **parameters)
    return [x.reshape(size, groups, *x.shape[1:]) for x in out], [0] * len(out)


def _jvp(primals, tangents, **_):
    raise NotImplementedError("extract has no derivative; jaxinter.sparsity has, once")


def has_kernel(platform: str, models: int, n: int) -> bool:
    """Whether `solve_traced` is a kernel on a platform, by its name for a lowering or a device."""
    platform = "cuda" if platform == "gpu" else platform
    known = platform in _native.PLATFORMS and _native.has_kernels(platform)
    return known and _fits(platform, models, n)


def _fits(platform: str, models: int, n: int) -> bool:
    return platform == "cpu" or (models == 1 and n <= CUDA_PLAYERS)


def _fits_operands(ctx, platform):
    _, models, size = ctx.avals_in[0].shape
    return _fits(platform, models, size.bit_length() - 1)


def _lower(ctx, *operands, **parameters):
    axes = (2, 2, 3, 1, 2, 2, 2, 0, 0, 0)  # of operands and results, that stay whole
    return ffi_lowering("jaxinter_sparse_split", ctx, axes)(ctx, *operands, **parameters)


ad.primitive_jvps[sparse_split_p] = _jvp
sparse_split_p.def_impl(partial(xla.apply_primitive, sparse_split_p))
sparse_split_p.def_abstract_eval(_abstract)
batching.primitive_batchers[sparse_split_p] = _batch
register_lowerings(sparse_split_p, _lower, _by_jax, _fits_operands)
