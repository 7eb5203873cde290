# SPDX-License-Identifier: Apache-2.0
"""The JAX primitives: shape rules, lowerings, derivatives, batching.

``subset_transform_p`` computes ``(A (x) ... (x) A) x`` over the last axis, A a 2x2 matrix given row
by row as the parameter ``matrix``. It is linear, so its transpose is itself with A transposed, and
jvp, vjp and hessian of any order follow. On CPU it is the kernel of ``csrc/lattice_cpu.cc``;
everywhere else XLA compiles ``_subset_transform_lax``.

``masked_inputs_p`` assembles masked inputs; it is linear in input and baseline together.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir, xla

import jaxinter._native  # noqa: F401  (registers the target)

Matrix2 = tuple[float, float, float, float]

subset_transform_p = Primitive("jaxinter_subset_transform")


def subset_transform(x: jax.Array, matrix: Matrix2) -> jax.Array:
    """``(A (x) ... (x) A) x`` over the last axis of x, float32 or float64 ``[..., 2**n]``."""
    return subset_transform_p.bind(x, matrix=tuple(float(entry) for entry in matrix))


def _subset_transform_lax(x, *, matrix):
    """Player by player in lax, for platforms without a kernel. 0 and 1 entries cost nothing."""
    a00, a01, a10, a11 = matrix
    shape = x.shape
    for player in range(shape[-1].bit_length() - 1):
        pairs = x.reshape(*shape[:-1], -1, 2, 1 << player)
        without, with_ = pairs[..., 0, :], pairs[..., 1, :]
        x = jnp.stack(
            [_combine(a00, without, a01, with_), _combine(a10, without, a11, with_)], axis=-2
        ).reshape(shape)
    return x


def _combine(a, x, b, y):
    """a x + b y without multiplying by 0 or 1, as csrc/lattice.h: an infinity stays where it is."""
    terms = [
        z if scale == 1 else -z if scale == -1 else z * np.asarray(scale, z.dtype)
        for scale, z in ((a, x), (b, y))
        if scale != 0
    ]
    return sum(terms[1:], terms[0]) if terms else jnp.zeros_like(x)


def _transpose(cotangent, x, *, matrix):
    if type(cotangent) is ad.Zero:
        return [cotangent]
    a00, a01, a10, a11 = matrix
    return [subset_transform_p.bind(cotangent, matrix=(a00, a10, a01, a11))]


def _batch(args, dims, *, matrix):
    return subset_transform_p.bind(jnp.moveaxis(args[0], dims[0], 0), matrix=matrix), 0


def _lower_cpu(ctx, x, *, matrix):
    rule = jax.ffi.ffi_lowering("jaxinter_subset_transform")
    return rule(ctx, x, matrix=np.asarray(matrix, np.float64))


subset_transform_p.def_impl(partial(xla.apply_primitive, subset_transform_p))
subset_transform_p.def_abstract_eval(lambda x, *, matrix: jax.core.ShapedArray(x.shape, x.dtype))
ad.deflinear2(subset_transform_p, _transpose)
batching.primitive_batchers[subset_transform_p] = _batch
mlir.register_lowering(
    subset_transform_p, mlir.lower_fun(_subset_transform_lax, multiple_results=False)
)
mlir.register_lowering(subset_transform_p, _lower_cpu, platform="cpu")

masked_inputs_p = Primitive("jaxinter_masked_inputs")


def masked_inputs(masks: Any, x: jax.Array, baseline: jax.Array, players: jax.Array) -> jax.Array:
    """masks bool ``[m, n]``, n >= 1; x, baseline, players (int32) of one shape; ``[m, *shape]``."""
    return masked_inputs_p.bind(masks, x, baseline, players)


def _keep(masks, players):
    """Which elements of which row keep their input, bool ``[m, *shape]``."""
    kept = masks[:, jnp.clip(players, 0, masks.shape[1] - 1)]
    return kept | (players < 0)[None]


def _masked_inputs_lax(masks, x, baseline, players):
    return jnp.where(_keep(masks, players), x[None], baseline[None])


def _masked_inputs_jvp(primals, tangents):
    masks, *_, players = primals
    out = masked_inputs_p.bind(*primals)
    if all(type(t) is ad.Zero for t in tangents[1:3]):
        return out, ad.Zero(jax.typeof(out).to_tangent_aval())
    moved = (ad.instantiate_zeros(t) for t in tangents[1:3])
    return out, masked_inputs_p.bind(masks, *moved, players)


def _masked_inputs_transpose(cotangent, masks, x, baseline, players):
    if type(cotangent) is ad.Zero:
        return [None] * 4
    keep = _keep(masks, players)
    to_x = jnp.where(keep, cotangent, 0).sum(axis=0) if ad.is_undefined_primal(x) else None
    to_baseline = None
    if ad.is_undefined_primal(baseline):
        to_baseline = jnp.where(keep, 0, cotangent).sum(axis=0)
    return [None, to_x, to_baseline, None]


def _masked_inputs_batch(args, dims):
    return jax.vmap(_masked_inputs_lax, in_axes=dims)(*args), 0


def _lower_masked_inputs_cpu(ctx, *operands):
    return jax.ffi.ffi_lowering("jaxinter_masked_inputs")(ctx, *operands)


masked_inputs_p.def_impl(partial(xla.apply_primitive, masked_inputs_p))
masked_inputs_p.def_abstract_eval(
    lambda masks, x, baseline, players: jax.core.ShapedArray((masks.shape[0], *x.shape), x.dtype)
)
ad.primitive_jvps[masked_inputs_p] = _masked_inputs_jvp
ad.primitive_transposes[masked_inputs_p] = _masked_inputs_transpose
batching.primitive_batchers[masked_inputs_p] = _masked_inputs_batch
mlir.register_lowering(masked_inputs_p, mlir.lower_fun(_masked_inputs_lax, multiple_results=False))
mlir.register_lowering(masked_inputs_p, _lower_masked_inputs_cpu, platform="cpu")
