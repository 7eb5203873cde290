# SPDX-License-Identifier: Apache-2.0
"""Five real networks explained, a picture of each.

    python examples/explain.py [photograph] [sentence] [digit] [houses] [cancer] [--small] [--out .]

`--small`: fewer players, for a quick check. What has to be installed: see networks.py.
"""

import argparse
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import networks
import numpy as np
from matplotlib import pyplot

import jaxinter as ji

RUN = {"noise_ratio": 0.02, "tol": 1e-3, "progress": True}  # the noise bound of paper 003


def photograph(small):
    """EfficientNet-Lite0 on a cat: the patches that its class hangs on most, the rest grey."""
    model = networks.efficientnet_lite0()
    x, rgb = networks.photograph("chelsea")
    players = f"patches:4x4:gradients={4 if small else 10}"
    value_fn = ji.value_function(model, x, players=players)  # absent: 0, medium grey
    result = ji.explain(value_fn, x, **RUN)
    axes = ji.plot.effects_on_patches(rgb, value_fn.players, result)
    name = networks.class_name(value_fn.target)
    np.ravel(axes)[0].figure.suptitle(f'EfficientNet-Lite0: log-odds of "{name}"')
    return result


def sentence(small):
    """A film review's words, absent as [MASK] and dropped: the two tell different stories."""
    model, tokenizer, (sentences, labels) = networks.sentiment_minilm()
    text = next(
        s
        for k, s in enumerate(sentences)
        if len(ji.word_spans(s)) == (5 if small else 10) and labels[k]
    )
    _, both = pyplot.subplots(2, figsize=(9, 6.5), layout="constrained")
    for ax, baseline in zip(both, ("mask", "drop")):
        value_fn = ji.value_function(model, text, tokenizer=tokenizer, baseline=baseline, target=1)
        result = ji.explain(value_fn, text, **RUN)
        ji.plot.effects_on_words(text, result, ax)
        empty, full = result.bias, result.reconstruct()[-1]
        ax.set_title(f"absent words: {baseline}; log-odds of praise {empty:+.1f} without any word, "
                     f"{full:+.1f} with all")  # fmt: skip
    return result


def digit(small):
    """An MNIST CNN: 16 patches of a 3, absent ones black."""
    model, images, labels = networks.digit_cnn()
    x = images[np.flatnonzero(np.asarray(labels) == 3)[0]]
    players = ji.patches(x.shape, (2, 2) if small else (4, 4), channels="first")
    black = float(images.min())
    result = ji.explain(model, x, players=players, baseline=black, target=3, **RUN)
    axes = ji.plot.effects_on_patches(x, players, result, channels="first")
    np.ravel(axes)[0].figure.suptitle("digit CNN: log-odds of a 3")
    return result


def houses(small):
    """The price of a district in California, log10 dollars: 8 columns, JAX."""
    apply, params, table = networks.california()
    row = 1000
    result = ji.explain(
        (apply, params), table.x[row], output="value", player_names=table.names, **RUN
    )
    ax = ji.plot.effects_on_columns(result, values=table.x[row].round(1))
    ax.set_title("house prices: log10 of a district's price; columns in standard deviations")
    return result


def cancer(small):
    """Boosted trees on ten measurements of cells, three columns each; absent: 20 other patients."""
    model, train, held_out, players = networks.boosting()
    rows = train.x[: 2 if small else 20]
    result = ji.explain(model, held_out.x[0], players=players, baseline=rows, target=1, **RUN)
    ax = ji.plot.effects_on_columns(result)
    ax.set_title("boosted trees: log-odds that a tumour is benign")
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    examples = [photograph, sentence, digit, houses, cancer]
    parser.add_argument("names", nargs="*", default=[], help="which; default: all")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("."))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for example in examples:
        if options.names and example.__name__ not in options.names:
            continue
        start = time.perf_counter()
        result = example(options.small)
        path = options.out / f"{example.__name__}.png"
        pyplot.savefig(path, dpi=150, bbox_inches="tight")
        pyplot.close("all")
        print(f"\n{example.__name__}: {result}, {time.perf_counter() - start:.1f} s, {path}")
        for effect in result.merge_singletons().top(5):
            print(f"  {effect.effect:+.3g}  {effect.kind} of {', '.join(map(str, effect.players))}")


if __name__ == "__main__":
    main()
