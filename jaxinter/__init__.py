# SPDX-License-Identifier: Apache-2.0
"""Certified sparsest AND-OR interactions of neural networks. The public list, in pipeline order."""

from importlib.metadata import version as _version

from jaxinter import plot as plot
from jaxinter.assemble import brightest_patches as brightest_patches
from jaxinter.assemble import columns as columns
from jaxinter.assemble import masked_inputs as masked_inputs
from jaxinter.assemble import patches as patches
from jaxinter.evaluate import evaluate as evaluate
from jaxinter.interactions import Effect as Effect
from jaxinter.interactions import Interactions as Interactions
from jaxinter.interactions import load as load
from jaxinter.masks import all_masks as all_masks
from jaxinter.masks import decode as decode
from jaxinter.masks import encode as encode
from jaxinter.masks import orders as orders
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
