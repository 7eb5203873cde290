# SPDX-License-Identifier: Apache-2.0
"""Bad input: one clear message each. call -> exception -> what the message must say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinter as ji
from jaxinter import _checks

V = np.arange(8.0)
LOGITS = np.zeros((2, 3))
MASKS = np.ones((4, 3), bool)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def with_value(bad, *index):
    x = np.zeros((2, 8))
    x[index] = bad
    return x


# One row a call, however long: it is read down the columns.
# fmt: off
BAD_CALLS = [
    # transforms
    (lambda: ji.mobius(np.ones((3, 6))), ValueError, r"mobius: values .* length 2\*\*n; got shape \(3, 6\)"),
    (lambda: ji.zeta(np.ones(0)), ValueError, r"zeta: effects .* 2\*\*n; got shape \(0,\)"),
    (lambda: ji.zeta(3.0), ValueError, r"zeta: effects .* got shape \(\)"),
    (lambda: ji.mobius(jnp.ones(6)), ValueError, r"mobius: values .* got shape \(6,\)"),
    (lambda: jax.jit(ji.mobius)(jnp.ones(6)), ValueError, r"mobius: values .* got shape \(6,\)"),
    (lambda: ji.mobius(np.ones(4, complex)), TypeError, r"mobius: values must hold real numbers .* got dtype complex128"),
    (lambda: ji.mobius(np.array(["a", "b"])), TypeError, r"real numbers .* got dtype <U1"),
    (lambda: ji.mobius(np.ones(4, np.longdouble)), TypeError, r"got dtype float128|got dtype longdouble"),
    (lambda: ji.mobius([None, 1]), TypeError, r"got dtype object"),
    (lambda: ji.mobius(V, out=np.empty(4)), ValueError, r"out must be writable, of shape \(8,\)"),
    (lambda: ji.mobius(V, out=np.empty(8, np.float32)), ValueError, r"dtype float64; got .* dtype float32"),
    (lambda: ji.mobius(V, out=read_only(V)), ValueError, r"got shape \(8,\), dtype float64, read-only"),
    (lambda: ji.mobius(V, out=[0] * 8), TypeError, r"out must be a numpy array; got list"),
    (lambda: ji.mobius(jnp.ones(4), out=np.ones(4)), TypeError, r"out must be None for a JAX array"),
    (lambda: ji.and_or_interactions(np.ones(6), np.ones(6)), ValueError, r"and_or_interactions: values .* got shape \(6,\)"),
    (lambda: ji.and_or_interactions(V, np.ones(4)), ValueError, r"and_or_interactions: gamma must broadcast to the shape of values, \(8,\); got shape \(4,\)"),
    (lambda: ji.and_or_interactions(V, V, np.ones((2, 8))), ValueError, r"delta must broadcast to the shape of values"),
    (lambda: ji.and_or_interactions(V, V.astype(complex)), TypeError, r"and_or_interactions: gamma must hold real numbers"),
    (lambda: ji.and_or_interactions(V, jnp.ones(8, complex)), TypeError, r"gamma must hold real numbers"),
    (lambda: ji.and_or_interactions(np.broadcast_to(0.0, (1 << 31,)), 0.0), ValueError, r"at most 30 players; got 31"),
    # masks
    (lambda: ji.all_masks(-1), ValueError, r"all_masks: n must be a whole number >= 0; got -1"),
    (lambda: ji.all_masks(2.5), ValueError, r"all_masks: n must be a whole number"),
    (lambda: ji.all_masks(50), ValueError, r"all_masks: n = 50 players need [\d,]+ bytes; .* decode"),
    (lambda: ji.orders(60), ValueError, r"orders: n = 60 players need [\d,]+ bytes"),
    (lambda: ji.orders(63), ValueError, r"at most 62 players; got 63"),
    (lambda: ji.decode([8], 3), ValueError, r"decode: indices must be from 0 to 2\*\*3 - 1; got 8 to 8"),
    (lambda: ji.decode([0.5], 3), TypeError, r"decode: indices must be integers; got dtype float64"),
    (lambda: ji.encode([[2, 0]]), ValueError, r"encode: masks must be bool \[..., n\]"),
    (lambda: ji.encode(np.ones((2, 63), bool)), ValueError, r"at most 62 players"),
    # assembly
    (lambda: ji.masked_inputs(MASKS, np.ones(4), 0, [0, 1, 2, 3]), ValueError, r"a column for each player \(players go up to 3\), or int \[m\]; got bool \(4, 3\)"),
    (lambda: ji.masked_inputs(MASKS[0], np.ones(3), 0, [0, 1, 2]), ValueError, r"masks must be bool \[m, n\] .*, or int \[m\]; got bool \(3,\)"),
    (lambda: ji.masked_inputs(MASKS, np.ones(3), 0, [0, 1]), ValueError, r"players must broadcast to the shape of x, \(3,\); got shape \(2,\)"),
    (lambda: ji.masked_inputs(MASKS, np.ones(3), np.ones((3, 3)), [0, 1, 2]), ValueError, r"baseline must broadcast"),
    (lambda: ji.masked_inputs(MASKS, np.ones(3), 0, [0.0, 1, 2]), TypeError, r"players must be integers"),
    (lambda: ji.masked_inputs(MASKS, np.array(["a", None, 1], object), 0, [0, 1, 2]), TypeError, r"x must hold numbers or booleans of 1, 2, 4 or 8 bytes; got dtype object"),
    (lambda: ji.masked_inputs(np.ones((2, 63), bool), np.ones(3), 0, [0, 1, 2]), ValueError, r"at most 62 players; got 63"),
    (lambda: ji.masked_inputs(MASKS * 0.5, np.ones(3), 0, [0, 1, 2]), TypeError, r"masks must be bool or indices \(int\); got dtype float64"),
    (lambda: ji.masked_inputs([3, -1], np.ones(3), 0, [0, 1, 2]), ValueError, r"masks as indices must be from 0 to 2\*\*62 - 1; got -1 to 3"),
    (lambda: ji.masked_inputs(jnp.arange(3), np.ones(3), 0, [0, 1, 62]), ValueError, r"players must be at most 61; got 62"),
    (lambda: ji.masked_inputs(np.array([1 << 40]), jnp.ones(3), 0, [0, 1, 2]), ValueError, r"masks must fit int32 while jax_enable_x64 is off; got 1099511627776 to"),
    (lambda: ji.masked_inputs(jnp.arange(4), np.array([1 << 40]), 0, [0]), ValueError, r"x must fit int32 while jax_enable_x64 is off"),
    (lambda: ji.masked_inputs([1], np.array(["a", "b"]), 0, [0, 1]), TypeError, r"x must hold numbers or booleans .* got dtype <U1"),
    (lambda: ji.masked_inputs(np.array([1 << 40]), jnp.ones(3), 0, [0, 1, 40]), ValueError, r"more than 31 players need jax_enable_x64, .*; got 41 players"),
    (lambda: ji.masked_inputs(MASKS, np.ones(3), 0, [0, 1, 2], out=np.ones((4, 2))), ValueError, r"out must be writable, of shape \(4, 3\) and dtype float64; got shape \(4, 2\)"),
    (lambda: ji.masked_inputs(MASKS, np.ones(3), 0, [0, 1, 2], out=read_only(np.ones((4, 3)))), ValueError, r"read-only"),
    (lambda: ji.masked_inputs(MASKS, np.ones(3), 0, [0, 1, 2], out=[1]), TypeError, r"out must be a numpy array; got list"),
    (lambda: ji.masked_inputs(MASKS, jnp.ones(3), 0, [0, 1, 2], out=np.ones((4, 3))), TypeError, r"out must be None for JAX arrays"),
    (lambda: ji.masked_inputs(MASKS, np.ones(3, np.uint8), -1, [0, 1, 2]), ValueError, r"baseline must hold values of x's dtype uint8; got -1"),
    (lambda: ji.masked_inputs(MASKS, np.ones(3, int), 0.5, [0, 1, 2]), ValueError, r"baseline must hold values .* got 0.5"),
    (lambda: ji.patches((8, 8), 4), ValueError, r"patches: grid must be \(rows, columns\)"),
    (lambda: ji.patches((8,), (2, 2)), ValueError, r"patches: shape must be \(height, width\)"),
    (lambda: ji.patches((8, 8), (9, 2)), ValueError, r"patches: grid must be \(rows, columns\)"),
    (lambda: ji.brightest_patches(np.ones((4, 4)), (2, 2), 5), ValueError, r"k must be at most 4 cells; got 5"),
    (lambda: ji.columns(3, [[0], [3]]), ValueError, r"columns: groups must hold columns 0 to 2"),
    (lambda: ji.columns(3, [[0], [0, 1]]), ValueError, r"a column must be in one group only"),
    # value functions and evaluation
    (lambda: ji.log_odds(np.zeros((2, 1)), 0), ValueError, r"log_odds: logits .* at least 2 classes; got shape \(2, 1\)"),
    (lambda: ji.log_odds(LOGITS, 3), ValueError, r"target must be from 0 to 2; got 3 to 3"),
    (lambda: ji.log_odds(LOGITS, 0.5), TypeError, r"target must be integers"),
    (lambda: ji.log_odds(LOGITS, [0, 1, 2]), ValueError, r"log_odds: target must broadcast to \(2,\); got shape \(3,\)"),
    (lambda: ji.evaluate(3, 3), TypeError, r"evaluate: value_fn must be callable; got int"),
    (lambda: ji.evaluate(lambda m: m.sum(), 3), ValueError, r"value_fn must give \[m\] or \[m, outputs\] .* got shape \(\)"),
    (lambda: ji.evaluate(lambda m: np.where(m[:, 2], np.nan, 0.0), 3), ValueError, r"finite values; got nan at coalition 4 \(players \[2\] present\)"),
    (lambda: ji.evaluate(lambda m: m.sum(axis=1), 3, batch_size=0), ValueError, r"batch_size must be a whole number >= 1; got 0"),
    (lambda: ji.evaluate(lambda m: m.sum(axis=1), 45), ValueError, r"evaluate: n = 45 players need [\d,]+ bytes"),
    (lambda: ji.evaluate(lambda m: m if m[0, 0] else m.sum(axis=1), 2, batch_size=1), ValueError, r"gave \(\) outputs a coalition, then \(2,\)"),
    # extraction
    (lambda: ji.extract(np.ones(6)), ValueError, r"extract: values must have a last axis of length 2\*\*n; got shape \(6,\)"),
    (lambda: ji.extract(with_value(np.nan, 1, 5)), ValueError, r"extract: values must be finite; got nan at sample 1, coalition 5 \(players \[0, 2\] present\), 1 bad"),
    (lambda: ji.extract(with_value(np.inf, 0, 0)[0]), ValueError, r"got inf at coalition 0 \(players \[\] present\)"),
    (lambda: ji.extract(np.ones(4, complex)), TypeError, r"extract: values must hold real numbers"),
    (lambda: ji.extract(V, noise_ratio=-0.1), ValueError, r"noise_ratio must be finite and >= 0; got -0.1"),
    (lambda: ji.extract(V, noise_bound=np.nan), ValueError, r"noise_bound must be finite and >= 0"),
    (lambda: ji.extract(V, noise_ratio=0.1, noise_bound=0.1), ValueError, r"give one of noise_ratio, noise_bound and noise_preset"),
    (lambda: ji.extract(V, noise_bound=np.ones(3)), ValueError, r"noise_bound must broadcast to the batch shape \(\); got shape \(3,\)"),
    (lambda: ji.extract(V, tol=0), ValueError, r"tol must be a number > 0; got 0"),
    (lambda: ji.extract(V, tie_break=-1), ValueError, r"tie_break must be a number >= 0; got -1"),
    (lambda: ji.extract(V, max_iterations=0), ValueError, r"max_iterations must be a whole number >= 1"),
    (lambda: ji.extract(V, start=np.ones(4)), ValueError, r"start must have shape \(8,\); got \(4,\)"),
    (lambda: ji.extract(V, start=np.full(8, np.nan)), ValueError, r"extract: start must be finite; got nan at coalition 0"),
    (lambda: jax.jit(ji.extract)(jnp.ones(8)), TypeError, r"throw must be False for traced values"),
    (lambda: ji.extract(V, tol="a"), ValueError, r"extract: tol must be a number > 0; got 'a'"),
    (lambda: ji.extract(V, noise_bound="a"), TypeError, r"extract: noise_bound must hold real numbers"),
    (lambda: ji.extract(V * 1e-300), ValueError, r"must have max \|v - v\(empty\)\| = 0 or from 1e-290 to 1e\+290, .* got 7e-300"),
    (lambda: ji.extract([1e308, -1e308, 0, 1e308]), ValueError, r"neither overflow nor vanish; got inf"),
    (lambda: ji.extract(V, noise_preset="paper004"), ValueError, r"extract: noise_preset must be one of 'paper001', .*; got 'paper004'"),
    (lambda: ji.extract(V, noise_preset="paper001", noise_ratio=0.1), ValueError, r"give one of noise_ratio, noise_bound and noise_preset; got 0.1, None and 'paper001'"),
    (lambda: ji.extract(V, noise_per="data"), ValueError, r"extract: noise_per must be one of \('sample', 'dataset'\); got 'data'"),
    (lambda: ji.extract(V, method="sgd"), ValueError, r"extract: method must be one of .*'published'.*; got 'sgd'"),
    (lambda: ji.extract(V, engine="cuda"), ValueError, r"extract: engine must be one of .*'jax'.*; got 'cuda'"),
    (lambda: ji.extract(V, joint="both"), ValueError, r"extract: joint must be one of \(False, True, 'shared'\); got 'both'"),
    (lambda: ji.extract(V, joint=True), ValueError, r"values must be \[..., models, 2\*\*n\] with 2 to 16 models for joint; got shape \(8,\)"),
    (lambda: ji.extract(np.ones((3, 1, 8)), joint=True), ValueError, r"2 to 16 models for joint; got shape \(3, 1, 8\)"),
    (lambda: ji.extract(np.ones((17, 8)), joint=True), ValueError, r"2 to 16 models for joint; got shape \(17, 8\)"),
    (lambda: ji.extract(np.ones((2, 8)), joint=True, method="exact"), ValueError, r"'exact' takes one model at a time; use 'rhpr' for joint"),
    (lambda: ji.extract(np.ones((2, 8)), joint="shared"), ValueError, r"joint='shared' needs method='published'; True is certified"),
    (lambda: ji.extract(np.ones((3, 2, 8)), joint=True, noise_bound=np.ones(3)), ValueError, r"noise_bound must broadcast to the batch shape \(3, 2\); got shape \(3,\)"),
    (lambda: ji.extract(np.ones((3, 2, 8)), joint=True, start=np.ones((3, 8))), ValueError, r"start must have shape \(3, 2, 8\); got \(3, 8\)"),
    (lambda: ji.extract(np.ones(1 << 12), method="exact"), ValueError, r"method 'exact' takes at most 11 players .*; got 12. Use 'rhpr'"),
    (lambda: ji.extract(np.ones(1 << 21), noise_bound=0.1), ValueError, r"with noise, values must be of at most 20 players; got 21"),
    (lambda: jax.jit(lambda v: ji.extract(v, method="exact", throw=False))(jnp.ones(8)), TypeError, r"method 'exact' takes no traced values; use 'rhpr'"),
    (lambda: ji.sparsity(np.ones(6)), ValueError, r"sparsity: values must have a last axis of length 2\*\*n; got shape \(6,\)"),
    (lambda: ji.sparsity(with_value(np.nan, 1, 5)), ValueError, r"sparsity: values must be finite; got nan at sample 1, coalition 5"),
    (lambda: ji.sparsity(np.ones(4, complex)), TypeError, r"sparsity: values must hold real numbers"),
    (lambda: ji.sparsity(V, tol=0), ValueError, r"sparsity: tol must be a number > 0; got 0"),
    (lambda: ji.sparsity(V, noise_ratio=-0.1), ValueError, r"sparsity: noise_ratio must be finite and >= 0; got -0.1"),
    (lambda: ji.sparsity(V, noise_preset="mine"), ValueError, r"sparsity: noise_preset must be one of 'paper001'"),
    (lambda: ji.sparsity(V, noise_ratio=0.1, noise_per="data"), ValueError, r"sparsity: noise_per must be one of \('sample', 'dataset'\); got 'data'"),
    (lambda: ji.sparsity(np.ones((2, 8)), joint="shared"), ValueError, r"sparsity: joint must be .*; got 'shared'"),
    (lambda: ji.sparsity(V, joint=True), ValueError, r"sparsity: .* 2 to 16 models for joint; got shape \(8,\)"),
    (lambda: ji.extract(V, player_names=["a"]), ValueError, r"extract: player_names must be 3 names; got 1"),
    # results
    (lambda: ji.extract(V[None]).top(3), ValueError, r"Interactions.top: takes one sample; got a batch of shape \(1,\)"),
    (lambda: ji.extract(V).top(-1), ValueError, r"top: k must be a whole number >= 0"),
    (lambda: ji.extract(V).salient(), ValueError, r"give one of threshold and share_of_largest"),
    (lambda: ji.extract(V).salient(-1), ValueError, r"threshold must be >= 0; got -1"),
    (lambda: ji.extract(V).salient(share_of_largest=-1), ValueError, r"share_of_largest must be >= 0; got -1"),
    (lambda: ji.extract(V[None])[1], IndexError, r"index 1 is out of bounds for axis 0 with size 1"),
    (lambda: ji.extract(V)[0], IndexError, r"one sample cannot be indexed"),
    (lambda: ji.salience_threshold(with_value(np.nan, 1, 7)), ValueError, r"got nan at sample 1, coalition 7"),
    (lambda: ji.salience_threshold(V, ratio=-1), ValueError, r"ratio must be >= 0"),
    (lambda: ji.salience_threshold(np.ones(3)), ValueError, r"salience_threshold: values must have a last axis"),
    (lambda: ji.salience_threshold(V, rule="paper004"), ValueError, r"salience_threshold: rule must be one of 'paper001', .*; got 'paper004'"),
    (lambda: ji.salience_threshold(V, rule="largest"), ValueError, r"rule 'largest' takes Interactions; got ndarray"),
    (lambda: ji.salience_threshold(V, 0.1, rule="paper001"), ValueError, r"give one of ratio and rule; got 0.1 and 'paper001'"),
    (lambda: ji.order_strength(ji.extract(V), -1), ValueError, r"order_strength: threshold must be >= 0, .*; got -1"),
    (lambda: ji.order_strength(ji.extract(V), np.nan), ValueError, r"order_strength: threshold must be >= 0, .*; got nan"),
    (lambda: ji.order_strength(ji.extract(V), True), ValueError, r"threshold must be >= 0, .*; got True"),
    (lambda: ji.order_strength(ji.extract(V), "tau"), ValueError, r"order_strength: threshold must be one of 'paper001', .*; got 'tau'"),
    (lambda: ji.order_strength(ji.extract(V), np.ones(3)), ValueError, r"threshold must broadcast to the shape of the batch, \(\); got shape \(3,\)"),
    (lambda: ji.order_strength(ji.extract(V), where=np.ones((2, 8))), TypeError, r"order_strength: where must be bool \[..., 2, 2\*\*n\]; got dtype float64"),
    (lambda: ji.order_strength(ji.extract(V), where=np.ones((3, 8), bool)), ValueError, r"where must broadcast to the shape of the effects \(AND, OR\), \(2, 8\)"),
    (lambda: ji.order_strength(ji.extract(V)).normalized(0), ValueError, r"OrderStrength.normalized: by must be > 0; got 0"),
    (lambda: ji.order_strength(ji.extract(V)).normalized([1.0, 2.0]), ValueError, r"by must broadcast to the shape of the batch, \(\); got shape \(2,\)"),
    (lambda: ji.order_strength(ji.extract(V[None][:0])).mean(), ValueError, r"OrderStrength.mean: needs at least one sample; got a batch of shape \(0,\)"),
    (lambda: len(ji.order_strength(ji.extract(V))), TypeError, r"OrderStrength: one sample has no len"),
    (lambda: ji.order_strength(ji.extract(V))[0], IndexError, r"OrderStrength: one sample cannot be indexed"),
    (lambda: ji.first_order_strength(ji.extract(V[None][:0])), ValueError, r"first_order_strength: interactions must hold at least one sample"),
    (lambda: ji.new_strength(ji.extract(V), V), TypeError, r"new_strength: before must be Interactions or OrderStrength for 'averages'; got ndarray"),
    (lambda: ji.new_strength(ji.extract(V), ji.extract(V), of="both"), ValueError, r"of must be 'averages' or 'effects'; got 'both'"),
    (lambda: ji.new_strength(ji.extract(V), ji.extract(V[:4])), ValueError, r"must have as many players; got \[3, 2\]"),
    (lambda: ji.new_strength(ji.extract(V), ji.extract(V[None]), of="effects"), ValueError, r"must be of the same samples and players for 'effects'; got effects of shapes \(8,\) and \(1, 8\)"),
    (lambda: ji.new_strength(*[ji.order_strength(ji.extract(V))] * 2, of="effects"), TypeError, r"after must be Interactions for 'effects'; got OrderStrength"),
    (lambda: ji.new_strength(*[ji.order_strength(ji.extract(V))] * 2, threshold=1), ValueError, r"threshold must be None for OrderStrength; got 1"),
    (lambda: ji.salient_counts(ji.extract(V), None), ValueError, r"salient_counts: threshold must be a number, .*; got None"),
    (lambda: ji.sparsity_conditions(np.ones(3)), ValueError, r"sparsity_conditions: values must have a last axis"),
    (lambda: ji.sparsity_conditions(with_value(np.nan, 1, 7)), ValueError, r"sparsity_conditions: values must be finite; got nan at sample 1, coalition 7"),
    (lambda: ji.sparsity_conditions(V, None), ValueError, r"sparsity_conditions: threshold must be .*; got None"),
    (lambda: ji.sparsity_curve(ji.extract(V)).to_pandas([0]), ValueError, r"to_pandas: ranks must be from 1 to 14; got 0 to 0"),
    (lambda: ji.sparsity_curve(ji.extract(V[None][:0])).to_pandas(), ValueError, r"to_pandas: needs at least one sample of one player"),
    (lambda: ji.matching_curve(ji.extract(V), [15]), ValueError, r"matching_curve: counts must be from 0 to 14; got 15 to 15"),
    (lambda: ji.matching_curve(ji.extract(V), [0.5]), ValueError, r"matching_curve: counts must be whole numbers \[m\]; got \[0.5\]"),
    (lambda: ji.matching_curve(ji.extract(V)).needed(-1), ValueError, r"MatchingCurve.needed: error must be a number >= 0; got -1"),
    # comparing models
    (lambda: ji.convergent(ji.extract(V), V), TypeError, r"convergent: b must be Interactions; got ndarray"),
    (lambda: ji.preserved(ji.extract(V), ji.extract(V[:4])), ValueError, r"preserved: original and pruned must have the same players; got 3 and 2"),
    (lambda: ji.removed(ji.extract(V), ji.extract(V[None])), ValueError, r"removed: original and pruned must be of the same samples; got batches of shape \(\) and \(1,\)"),
    (lambda: ji.generalizable(ji.extract(V, player_names="abc"), ji.extract(V, player_names="abd")), ValueError, r"generalizable: original and reference must have the same player_names; got \('a', 'b', 'c'\) and"),
    (lambda: ji.emerged(ji.extract(V), ji.extract(np.ones((2, 8)), joint=True)), ValueError, r"emerged: pruned must be of one model; got 2 models .* as pruned.model\(0\)"),
    (lambda: ji.convergent(ji.extract(V), ji.extract(V), None), ValueError, r"convergent: threshold must be a number, an array or a rule; got None"),
    (lambda: ji.convergent(ji.extract(V), ji.extract(V), "paper004"), ValueError, r"convergent: threshold must be .*paper001"),
    (lambda: ji.convergent(ji.extract(V), ji.extract(V), 1.0, -1.0), ValueError, r"convergent: .*threshold must be .*got -1"),
    (lambda: ji.preserved_ratio(ji.extract(V), ji.extract(V), low=0), ValueError, r"preserved_ratio: low must be a whole number >= 1; got 0"),
    (lambda: ji.removed_strength(ji.extract(V), ji.extract(V), V), TypeError, r"removed_strength: reference must be Interactions; got ndarray"),
    (lambda: ji.pruning_efficiency([1, 2], [1]), ValueError, r"removed and generalizable must be of one length, \[ratios\]; got shapes \(2,\) and \(1,\)"),
    (lambda: ji.pruning_efficiency([1, 2], [1, 1], edges=[0, 2]), ValueError, r"edges must be positions from 0 to 1; got \[0, 2\]"),
    (lambda: ji.pruning_series(ji.extract(V), ji.extract(V[None]), ji.extract(V), ratios=[1]), TypeError, r"pruning_series: pruned must be a sequence of Interactions, one a ratio; got Interactions"),
    (lambda: ji.pruning_series(ji.extract(V), [ji.extract(V)], ji.extract(V), ratios=[1, 2]), ValueError, r"pruned must hold one network a ratio, 2; got 1"),
    (lambda: ji.pruning_series([], [ji.extract(V)], ji.extract(V), ratios=[1]), ValueError, r"original must hold one network a ratio, 1; got 0"),
    (lambda: ji.pruning_series(ji.extract(V), [ji.extract(V)] * 2, ji.extract(V), ratios=[2, 1]), ValueError, r"ratios must be one or more increasing numbers; got \[2, 1\]"),
    (lambda: ji.pruning_series(ji.extract(V), [ji.extract(V)], ji.extract(V), ratios=[1], accuracy=[90]), ValueError, r"accuracy must be 1 numbers from 0 to 1, one a ratio; got \[90\]"),
    (lambda: ji.pruning_series(ji.extract(V), [ji.extract(V)], ji.extract(V), ratios=[1], preserved_by="both"), ValueError, r"preserved_by must be 'original' or 'pruned'; got 'both'"),
    (lambda: ji.extract_pairs(V, [V], pair_mode="both"), ValueError, r"extract_pairs: pair_mode must be one of \('joint', 'fixed'\); got 'both'"),
    (lambda: ji.extract_pairs(V, [V, V[:4]]), ValueError, r"pruned_values\[1\] must have the shape of original_values, \(8,\); got \(4,\)"),
    (lambda: ji.extract_pairs(V, [V], joint=True), TypeError, r"extract_pairs: joint follows from pair_mode"),
    (lambda: ji.extract(V).model(0), ValueError, r"Interactions.model: takes interactions of several models; got one's"),
    (lambda: ji.extract(np.ones((2, 8)), joint=True).model(2), IndexError, r"Interactions.model: i must be from 0 to 1; got 2"),
    (lambda: ji.jaccard(ji.extract(V), ji.extract(V), 4), ValueError, r"jaccard: order must be from 1 to 3; got 4"),
    (lambda: ji.jaccard(ji.extract(V), ji.extract(V[None])[:0]), ValueError, r"jaccard: test must have at least one sample; got none"),
    (lambda: ji.jaccard_by_order(ji.extract(V), ji.extract(V), train_classes=1), ValueError, r"give both of train_classes and test_classes, or neither"),
    (lambda: ji.jaccard_by_order(ji.extract(V[None]), ji.extract(V), train_classes=[1, 2], test_classes=1), ValueError, r"train_classes must hold one class a sample, shape \(1,\); got shape \(2,\)"),
    # pairs of players
    (lambda: ji.multi_order_interaction(np.ones(6)), ValueError, r"multi_order_interaction: values .* got shape \(6,\)"),
    (lambda: ji.multi_order_interaction([1.0, 2.0]), ValueError, r"values must be of at least 2 players, a pair; got 1"),
    (lambda: ji.multi_order_interaction(np.ones(4, complex)), TypeError, r"multi_order_interaction: values must hold real numbers"),
    (lambda: ji.interaction_strength(1.0), ValueError, r"interaction_strength: values .* got shape \(\)"),
    (lambda: ji.interaction_strength(np.ones((0, 8))), ValueError, r"interaction_strength: values must hold at least one sample; got shape \(0, 8\)"),
    (lambda: ji.learning_difficulty(1), ValueError, r"learning_difficulty: n must be a whole number >= 2; got 1"),
]
# fmt: on


@pytest.mark.parametrize(
    ("call", "exception", "message"), BAD_CALLS, ids=[m for *_, m in BAD_CALLS]
)
def test_bad_call(call, exception, message):
    with pytest.raises(exception, match=message):
        call()


def test_torch_tensors_are_told_what_to_do(torch):
    with pytest.raises(TypeError, match="out must be a torch tensor; got ndarray"):
        ji.masked_inputs(MASKS, torch.ones(3), 0, [0, 1, 2], out=np.ones((4, 3)))
    x = torch.ones(3, requires_grad=True)
    with pytest.raises(ValueError, match="out must be None where a gradient is due"):
        ji.masked_inputs(MASKS, x, 0, [0, 1, 2], out=torch.ones(4, 3))
    with pytest.raises(TypeError, match="out must be a torch tensor; got ndarray"):
        ji.mobius(torch.ones(4), out=np.ones(4))
    with pytest.raises(ValueError, match="tensors that require grad; detach them"):
        ji.mobius(torch.ones(4, requires_grad=True), out=torch.ones(4))
    with pytest.raises(ValueError, match=r"must be on the CPU; got a tensor on meta. Use .cpu\(\)"):
        ji.mobius(torch.ones(4, device="meta"))


def test_more_players_than_memory_holds(monkeypatch):
    """n and the bytes are said before anything is allocated."""
    monkeypatch.setattr(_checks, "free_memory", lambda: 100_000)
    with pytest.raises(
        ValueError, match=r"extract: n = 10 players need 311,296 bytes; .* 100,000 free"
    ):
        ji.extract(np.ones(1024))


def test_native_door_refuses_what_python_should_have_checked():
    from jaxinter import _native

    identity = (1, 0, 0, 1)
    for x, out in ((4, 8), (6, 6)):
        with pytest.raises(ValueError, match=r"C-contiguous .* of one shape and dtype"):
            _native.subset_transform(np.ones(x), np.ones(out), identity)
    with pytest.raises(ValueError, match=r"C-contiguous .* of one shape and dtype"):
        _native.subset_transform(np.ones(4), np.ones(4, np.float32), identity)
    with pytest.raises(ValueError, match=r"C-contiguous .* of one shape and dtype"):
        _native.subset_transform(np.ones(8)[::2], np.ones(4), identity)
    with pytest.raises(ValueError, match=r"sums must be \[..., 2, n\]"):
        _native.and_or_effects(V, V, None, np.ones(8), np.ones(8), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="do not fit"):
        _native.masked_inputs(MASKS, 4, V[:3], V[:3], np.zeros(3, np.int32), np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"read-only|not writeable"):
        _native.subset_transform(V, read_only(V), (1, 0, -1, 1))


def test_ffi_handler_refuses_with_operand_and_operation():
    from jaxinter._primitives import subset_transform

    with pytest.raises(Exception, match=r"jaxinter_subset_transform: operand must have .* got 6"):
        subset_transform(jnp.ones(6), (1, 0, -1, 1)).block_until_ready()
