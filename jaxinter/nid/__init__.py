# SPDX-License-Identifier: Apache-2.0
"""Neural interaction detection: interactions of columns, from the weights of trained networks.

    from jaxinter import nid

Source: paper 004 (Tsang, Cheng, Liu 2018).
"""

from jaxinter.nid import plot as plot
from jaxinter.nid import suite as suite
from jaxinter.nid.additive import Cutoff as Cutoff
from jaxinter.nid.cutoff import cutoff as cutoff
from jaxinter.nid.detect import detect as detect
from jaxinter.nid.detection import Detection as Detection
from jaxinter.nid.detection import load as load
from jaxinter.nid.network import MLP as MLP
from jaxinter.nid.network import AdditiveMLP as AdditiveMLP
from jaxinter.nid.network import MainEffects as MainEffects
from jaxinter.nid.outputs import OutputComparison as OutputComparison
from jaxinter.nid.outputs import by_outputs as by_outputs
from jaxinter.nid.ranking import AVERAGES as AVERAGES
from jaxinter.nid.ranking import Ranking as Ranking
from jaxinter.nid.ranking import rank as rank
