# SPDX-License-Identifier: Apache-2.0
"""The JAX primitives: shape rules, lowerings, derivatives, batching.

``subset_transform_p`` computes ``(A (x) ... (x) A) x`` over the last axis, A a 2x2 matrix given row
by row as the parameter ``matrix``. It is linear, so its transpose is itself with A transposed, and
jvp, vjp and hessian of any order follow. On CPUs, and on CUDA where that was built, it is a kernel
of ``csrc``; everywhere else XLA compiles ``_subset_transform_lax``.

``and_or_effects_p`` is the fused split, its two transforms and its sums by order; its derivative is
that of the composition, ``and_or_effects_composed``.

``masked_inputs_p`` assembles masked inputs; it is linear in input and baseline together.

Under plain jit with an array sharded over its batch, every device works on its own samples: the
kernels' targets are batch partitionable (_native.py), and the lowering says which axes are the
batch.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir, xla

from jaxinter import _native  # which registers the targets

Matrix2 = tuple[float, float, float, float]
# One player's 2x2 factor, row by row; csrc/lattice.h has a step without multiplications for each.
MOBIUS: Matrix2 = (1, 0, -1, 1)
ZETA: Matrix2 = (1, 0, 1, 1)
SUPERSET_MOBIUS: Matrix2 = (1, -1, 0, 1)
SUPERSET_ZETA: Matrix2 = (1, 1, 0, 1)
COMPLEMENT_MOBIUS: Matrix2 = (0, 1, 1, -1)

subset_transform_p = Primitive("jaxinter_subset_transform")


def subset_transform(x: jax.Array, matrix: Matrix2) -> jax.Array:
    """``(A (x) ... (x) A) x`` over the last axis of x, float32 or float64 ``[..., 2**n]``."""
    return subset_transform_p.bind(x, matrix=tuple(float(entry) for entry in matrix))


def lattice_index(x: jax.Array) -> jax.Array:
    """The index of each coalition, int32 ``[1, ..., 2**n]``, to select entries of x by."""
    return jax.lax.broadcasted_iota(
        jnp.int32, (*(1 for _ in x.shape[:-1]), x.shape[-1]), x.ndim - 1
    )


def without_empty(x: jax.Array) -> jax.Array:
    """x with 0 at the empty coalition."""
    return jnp.where(lattice_index(x) == 0, 0.0, x)


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


_AXIS_NAMES = "ijklmnopqrstuvwxyz"  # as Shardy's rules spell them


def _varying_alike(*operands):
    """Operands that vary over the same mesh axes, where shard_map tells them apart.

    A select that never selects carries the axes over; XLA drops it.
    """
    kinds = [jax.typeof(x) for x in operands]
    kinds = [getattr(k, "vma", None) or getattr(k, "manual_axis_type", None) for k in kinds]
    if all(kind == kinds[0] for kind in kinds):
        return operands
    never = jnp.stack([jnp.any(x != x) for x in operands]).any() & False
    return tuple(jnp.where(never, jnp.zeros_like(x), x) for x in operands)


def ffi_lowering(target: str, ctx, lattice_axes: tuple[int, ...]):
    """The lowering to `target`: the last `lattice_axes` of each operand and result stay whole."""
    shapes = [aval.shape for aval in (*ctx.avals_in, *ctx.avals_out)]
    n_batch = len(shapes[0]) - lattice_axes[0]
    named = n_batch + sum(lattice_axes) <= len(_AXIS_NAMES)
    if not named or not all(isinstance(size, int) and size for size in sum(shapes, ())):
        return jax.ffi.ffi_lowering(target)
    names, kept = iter(_AXIS_NAMES), []
    sizes: dict[str, int] = {}
    batch = [next(names) for _ in range(n_batch)]
    rows = []
    for shape, n_kept in zip(shapes, lattice_axes):
        own = [next(names) for _ in range(n_kept)]
        kept += own
        rows.append(batch + own)
        sizes |= dict(zip(rows[-1], shape))
    text = [f"[{', '.join(row)}]" for row in rows]
    operands, results = text[: len(ctx.avals_in)], text[len(ctx.avals_in) :]
    rule = (
        f"#sdy.op_sharding_rule<({', '.join(operands)})->({', '.join(results)}) "
        f"{{{', '.join(f'{name}={size}' for name, size in sizes.items())}}} "
        f"need_replication={{{', '.join(kept)}}}, custom>"
    )
    attributes = {
        "mhlo.frontend_attributes": mlir.ir_attribute({"num_batch_dims": str(n_batch)}),
        "sdy.sharding_rule": mlir.ir.Attribute.parse(rule),
    }
    return jax.ffi.ffi_lowering(target, extra_attributes=attributes)


def register_lowerings(
    primitive: Primitive,
    kernel: Any,
    lax: Any,
    fits: Callable[[Any, str], bool] = lambda ctx, platform: True,
) -> None:
    """The kernel's lowering on the platforms that have it, and where it ``fits(ctx, platform)``;
    operations of XLA's own elsewhere."""

    def traced(*operands, **parameters):
        # when the program is lowered, outside of the context that made its 64-bit numbers
        with jax.enable_x64(True):
            return lax(*operands, **parameters)

    other = mlir.lower_fun(traced, multiple_results=primitive.multiple_results)

    def lower(ctx, *operands, platform, **parameters):
        has_kernel = _native.has_kernels(platform) and fits(ctx, platform)
        return (kernel if has_kernel else other)(ctx, *operands, **parameters)

    mlir.register_lowering(primitive, other)
    for platform in _native.PLATFORMS:
        mlir.register_lowering(primitive, partial(lower, platform=platform), platform=platform)


def _lower_subset_transform(ctx, x, *, matrix):
    rule = ffi_lowering("jaxinter_subset_transform", ctx, (1, 1))
    return rule(ctx, x, matrix=np.asarray(matrix, np.float64))


subset_transform_p.def_impl(partial(xla.apply_primitive, subset_transform_p))
subset_transform_p.def_abstract_eval(lambda x, *, matrix: x.update(weak_type=False))
ad.deflinear2(subset_transform_p, _transpose)
batching.primitive_batchers[subset_transform_p] = _batch
register_lowerings(subset_transform_p, _lower_subset_transform, _subset_transform_lax)

and_or_effects_p = Primitive("jaxinter_and_or_effects")
and_or_effects_p.multiple_results = True


def and_or_effects(
    v: jax.Array, gamma: jax.Array, delta: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """AND and OR effects ``[..., 2**n]`` and sums by order ``[..., 2, n]`` (positive, negative)."""
    operands = _varying_alike(v, gamma, *(() if delta is None else (delta,)))
    return tuple(and_or_effects_p.bind(*operands))


def and_or_effects_composed(v, gamma, delta=None):
    """The same by other primitives, one after the other."""
    half = 0.5 * (v if delta is None else v - delta)
    and_effects = subset_transform(half + gamma, MOBIUS)
    or_effects = without_empty(subset_transform(gamma - half, COMPLEMENT_MOBIUS))
    order_of = jax.lax.population_count(lattice_index(v))
    sums = []
    for sign in (1, -1):
        # where, not maximum: the derivative at 0 is 0, and NaN ends in both sums
        both = sum(jnp.where(sign * x <= 0, 0, sign * x) for x in (and_effects, or_effects))
        n = v.shape[-1].bit_length() - 1
        by_order = [jnp.where(order_of == m, both, 0).sum(axis=-1) for m in range(1, n + 1)]
        sums.append(jnp.stack(by_order, axis=-1) if n else jnp.zeros((*v.shape[:-1], 0), v.dtype))
    return [and_effects, or_effects, jnp.stack(sums, axis=-2)]


def _and_or_abstract(v, *_):
    n = v.shape[-1].bit_length() - 1
    effects = v.update(weak_type=False)
    sharding = v.sharding.update(spec=(*v.sharding.spec, None))
    return [effects, effects, effects.update(shape=(*v.shape[:-1], 2, n), sharding=sharding)]


def _and_or_jvp(primals, tangents):
    moved = tuple(ad.instantiate_zeros(t) for t in tangents)
    _, out_tangents = jax.jvp(and_or_effects_composed, primals, moved)
    return and_or_effects_p.bind(*primals), out_tangents


def _and_or_batch(args, dims):
    size = next(a.shape[d] for a, d in zip(args, dims) if d is not None)
    args = [
        jnp.broadcast_to(a, (size, *a.shape)) if d is None else jnp.moveaxis(a, d, 0)
        for a, d in zip(args, dims)
    ]
    return and_or_effects_p.bind(*args), [0, 0, 0]


def _lower_and_or(ctx, *operands):
    lattice_axes = (*(1 for _ in operands), 1, 1, 2)
    return ffi_lowering("jaxinter_and_or_effects", ctx, lattice_axes)(ctx, *operands)


and_or_effects_p.def_impl(partial(xla.apply_primitive, and_or_effects_p))
and_or_effects_p.def_abstract_eval(_and_or_abstract)
ad.primitive_jvps[and_or_effects_p] = _and_or_jvp
batching.primitive_batchers[and_or_effects_p] = _and_or_batch
register_lowerings(and_or_effects_p, _lower_and_or, and_or_effects_composed)

masked_inputs_p = Primitive("jaxinter_masked_inputs")


def masked_inputs(masks: Any, x: jax.Array, baseline: jax.Array, players: jax.Array) -> jax.Array:
    """masks bool ``[m, n]``, n >= 1, or indices ``[m]``; the rest of one shape; ``[m, *shape]``."""
    return masked_inputs_p.bind(*_varying_alike(masks, x, baseline, players))


def _keep(masks, players):
    """Which elements of which row keep their input, bool ``[m, *shape]``."""
    if masks.ndim == 1:
        last = 8 * masks.dtype.itemsize - 2
        bit = jnp.clip(players, 0, last).astype(masks.dtype)
        present = jax.lax.shift_right_logical(*jnp.broadcast_arrays(*_apart(masks, bit))) & 1 == 1
    else:
        present = masks[:, jnp.clip(players, 0, masks.shape[1] - 1)]
    return present | (players < 0)[None]


def _apart(rows, elements):
    """``[m]`` and ``[...]`` as ``[m, 1, ...]`` and ``[1, ...]``."""
    return rows.reshape(-1, *[1] * elements.ndim), elements[None]


def _masked_inputs_abstract(masks, x, baseline, players):
    named = x.sharding if masks.sharding.mesh.empty else masks.sharding
    sharding = named.update(spec=(masks.sharding.spec[0], *x.sharding.spec))
    return x.update(shape=(masks.shape[0], *x.shape), sharding=sharding, weak_type=False)


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


def _lower_masked_inputs(ctx, *operands):
    if getattr(ctx.module_context.axis_context, "num_devices", 1) > 1:
        # its operands share no batch: XLA spreads operations of its own
        return mlir.lower_fun(_masked_inputs_lax, multiple_results=False)(ctx, *operands)
    return jax.ffi.ffi_lowering("jaxinter_masked_inputs")(ctx, *operands)


masked_inputs_p.def_impl(partial(xla.apply_primitive, masked_inputs_p))
masked_inputs_p.def_abstract_eval(_masked_inputs_abstract)
ad.primitive_jvps[masked_inputs_p] = _masked_inputs_jvp
ad.primitive_transposes[masked_inputs_p] = _masked_inputs_transpose
batching.primitive_batchers[masked_inputs_p] = _masked_inputs_batch
register_lowerings(masked_inputs_p, _lower_masked_inputs, _masked_inputs_lax)
