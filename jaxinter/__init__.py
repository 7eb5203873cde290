# SPDX-License-Identifier: Apache-2.0
"""Certified sparsest AND-OR interactions of neural networks. The public list, in pipeline order."""

from importlib.metadata import version as _version

from jaxinter import plot as plot
from jaxinter.adapters import value_function as value_function
from jaxinter.assemble import masked_inputs as masked_inputs
from jaxinter.baselines import learned_baseline as learned_baseline
from jaxinter.baselines import learned_data_baseline as learned_data_baseline
from jaxinter.baselines import mean_colour as mean_colour
from jaxinter.baselines import tau_step as tau_step
from jaxinter.evaluate import evaluate as evaluate
from jaxinter.explain import explain as explain
from jaxinter.indices import index as index
from jaxinter.interactions import Effect as Effect
from jaxinter.interactions import Interactions as Interactions
from jaxinter.interactions import load as load
from jaxinter.masks import all_masks as all_masks
from jaxinter.masks import decode as decode
from jaxinter.masks import encode as encode
from jaxinter.masks import orders as orders
from jaxinter.players import brightest_patches as brightest_patches
from jaxinter.players import columns as columns
from jaxinter.players import integrated_gradients as integrated_gradients
from jaxinter.players import label_map as label_map
from jaxinter.players import patches as patches
from jaxinter.players import random_patches as random_patches
from jaxinter.players import token_players as token_players
from jaxinter.players import word_spans as word_spans
from jaxinter.samples import evaluate_samples as evaluate_samples
from jaxinter.sparse import ConvergenceError as ConvergenceError
from jaxinter.sparse import StoredInteractions as StoredInteractions
from jaxinter.sparse import extract as extract
from jaxinter.sparse import extract_tables as extract_tables
from jaxinter.sparse import open_tables as open_tables
from jaxinter.sparse import sparsity as sparsity
from jaxinter.stats import OrderStrength as OrderStrength
from jaxinter.stats import order_strength as order_strength
from jaxinter.stats import salience_threshold as salience_threshold
from jaxinter.transform import AndOrInteractions as AndOrInteractions
from jaxinter.transform import and_interactions as and_interactions
from jaxinter.transform import and_or_interactions as and_or_interactions
from jaxinter.transform import mobius as mobius
from jaxinter.transform import or_interactions as or_interactions
from jaxinter.transform import superset_mobius as superset_mobius
from jaxinter.transform import superset_zeta as superset_zeta
from jaxinter.transform import zeta as zeta
from jaxinter.value_fn import ValueFunction as ValueFunction
from jaxinter.value_fn import class_difference as class_difference
from jaxinter.value_fn import log_odds as log_odds
from jaxinter.value_fn import log_probability as log_probability
from jaxinter.value_fn import logit as logit
from jaxinter.value_fn import probability as probability

__version__ = _version("jaxinter")
