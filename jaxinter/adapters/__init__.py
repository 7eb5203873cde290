# SPDX-License-Identifier: Apache-2.0
"""A model of any framework and an input to a value function. Frameworks are imported when met."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxinter import _arrays
from jaxinter.adapters.model import CALL, Model, array_value_function
from jaxinter.value_fn import ValueFunction

__all__ = ["value_function"]


def value_function(
    model: Any,
    x: Any = None,
    *,
    target: Any = "predicted",
    output: str | Callable[[Any], Any] | None = None,
    players: Any = None,
    baseline: Any = None,
    background: str = "keep",
    channels: str | None = None,
    layer: Any = None,
    tokenizer: Any = None,
    seed: int = 0,
    player_names: Any = None,
) -> ValueFunction:
    """v of the coalitions of one input: the model on x with the absent players replaced.

    Args:
      model: what gives outputs ``[m, ...]`` for inputs ``[m, *x.shape]``:

        * a torch ``nn.Module``, on its device, run in evaluation and inference mode and left in the
          mode it came in; or a function of tensors, where x is a tensor;
        * a flax nnx module; linen ``(module, variables)``; ``(function, parameters)``; a function
          of JAX arrays, where x is one: one jitted program from masks to values;
        * a transformers model or pipeline, an ONNX Runtime session, any module that takes
          ``input_ids`` and ``attention_mask``: with a text for x, and `tokenizer`;
        * a scikit-learn estimator; an ONNX Runtime session; a function of numpy arrays;
        * a shapiq Game or Imputer, or a `ValueFunction`: then x is left out;
        * a function of masks: then x is the number of players.
      x: one input without a batch axis: an array, a text, a row of a data frame (Series, or a
        frame of one row).
      target: the class to explain, by its number, or by name where the model knows it (labels of
        scikit-learn and transformers; of a language model, a token); "predicted", the likeliest
        for x; "all" outputs at once (v is ``[m, classes]``); a pair ``(a, b)``: a rather than b.
      output: "log-odds", "logit", "log-probability", "probability", "value" (the output itself),
        or a function of the model's outputs (of its logits, where it gives more) that gives
        ``[m]`` or ``[m, k]``. Default: log-odds where there are several classes, the output itself
        of a regression or a single output.
      players: an int array of x's shape (of a superpixel map: of its height and width), -1 for
        background; or a choice by name:

        * "patches:4x4", all cells of a grid; "patches:8x8:brightest=10", the cells of largest L1
          norm; "...:gradients=10", those of largest integrated gradients; "...:random=10", drawn
          by `seed` from all but the outer ring;
        * "columns" of a table row, or a mapping of names to groups of columns (by name or number);
        * "words" of a text, "words:random=10" (no words of grammar), "tokens", or a list of words,
          of their numbers, or of (start, end) in the text.

        Default: columns, words.
      baseline: what replaces an absent player.

        * arrays: a number or array that broadcasts to x (default 0), "zero", "mean" (the image's
          mean colour), "tau:2" (a step of 2 towards 0, see `tau_step`), "learned" (from 0, see
          `learned_baseline`); or rows ``[rows, *x.shape]``: v is the mean over them;
        * texts: a token ("mask" where the tokenizer has one, or its text or id), "mean" and "zero"
          embeddings, "drop" (the text closes up) or "hide" (by the attention mask);
        * data frames: a frame or series of the same columns.
      background: what belongs to no player is kept ("keep"), or replaced too ("mask").
      channels: "first" or "last", where images have them; default: first for torch and ONNX.
      layer: explain from here on: x is the input, players are parts of the features that this
        layer gives. torch: the name of a submodule; nnx.Sequential: a number; for scikit-learn the
        method, for ONNX the output to use.
      tokenizer: a fast tokenizer of transformers, or one of the library tokenizers.
      seed: of random choices.
      player_names: instead of those that players come with.

    Returns:
      `ValueFunction`: for `evaluate`, with the players and their names for plots.

    Raises:
      ValueError, TypeError: an argument does not fit; the message names it.
      ImportError: an extra is missing.

    >>> v = value_function(lambda z: z @ np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    >>> v([[False, False], [True, False], [False, True]])
    array([0., 1., 2.])

    Source: paper 001, section 2.1 and appendix I.2 (masked samples, players, baselines).
    """
    if isinstance(model, ValueFunction):
        return model
    if _is(model, "shapiq", "Game") or _is(model, "shapiq.imputer.base", "Imputer"):
        from jaxinter.adapters.shapiq import value_function as of_game

        return of_game(model)
    if isinstance(x, (int, np.integer)) and not isinstance(x, bool) and callable(model):
        names = None if player_names is None else tuple(map(str, player_names))
        return ValueFunction(model, int(x), names)
    if hasattr(model, "tokenizer") and _is(getattr(model, "model", None), "torch.nn", "Module"):
        model, tokenizer = model.model, tokenizer or model.tokenizer  # a pipeline
    options = {"target": target, "output": output, "players": players, "seed": seed}
    options |= {"player_names": player_names}
    if isinstance(x, str):
        if tokenizer is None:
            raise ValueError(f"{CALL}: tokenizer must be given for a text")
        if background != "keep":
            raise ValueError(f'{CALL}: background must be "keep" for a text; got {background!r}')
        from jaxinter.adapters.text import text_value_function

        wrapped = as_model(model, None, layer)
        if hasattr(wrapped, "features") and layer is not None:
            raise ValueError(f"{CALL}: layer must be None for a text; got {layer!r}")
        return text_value_function(wrapped, x, tokenizer, baseline=baseline, **options)
    if x is None:
        raise TypeError(
            f"{CALL}: x must be an input of the model, or of a function of masks the number of "
            "players; got None"
        )
    options |= {"background": background, "channels": channels}
    if _is(x, "pandas", "Series") or _is(x, "pandas", "DataFrame"):
        return _of_frame(model, x, layer, baseline, options)
    wrapped = as_model(model, x, layer)
    if layer is not None and hasattr(wrapped, "features"):
        x = wrapped.features(x)
    return array_value_function(wrapped, x, baseline=baseline, **options)


def as_model(model: Any, x: Any, layer: Any = None) -> Any:
    """The model in the words that all frameworks share; x tells what a mere function takes."""
    if _is(model, "torch.nn", "Module") or (_arrays.is_torch(x) and callable(model)):
        from jaxinter.adapters.torch import TorchModel

        return TorchModel(model, layer)
    if _is_estimator(model):
        from jaxinter.adapters.sklearn import SklearnModel

        return SklearnModel(model, layer)
    if _is(model, "onnxruntime", "InferenceSession"):
        from jaxinter.adapters.onnx import OnnxModel

        return OnnxModel(model, layer)
    pair = isinstance(model, tuple) and len(model) == 2
    flax = _is(model, "flax.nnx", "Module") or _is(model, "flax.linen", "Module")
    if pair or flax or (_arrays.is_jax(x) and callable(model)):
        from jaxinter.adapters.jax import JaxModel

        return JaxModel(model, layer)
    if not callable(model):
        raise TypeError(
            f"{CALL}: model must be a network of torch, flax, transformers, scikit-learn or ONNX "
            f"Runtime, a shapiq game, (function, parameters), or a function; got "
            f"{type(model).__name__}"
        )
    if layer is not None:
        raise ValueError(f"{CALL}: layer must be None for a function; got {layer!r}")
    return Model(model)


def _of_frame(model: Any, x: Any, layer: Any, baseline: Any, options: dict) -> ValueFunction:
    row = _frame(x)
    if len(row) != 1:
        raise ValueError(f"{CALL}: x must be one row; got a data frame of {len(row)}")
    if _is(baseline, "pandas", "Series") or _is(baseline, "pandas", "DataFrame"):
        baseline = _frame(baseline)
        if set(baseline.columns) != set(row.columns) or not len(baseline):
            raise ValueError(
                f"{CALL}: baseline must have rows of the columns of x, {list(row.columns)}; got "
                f"{len(baseline)} rows of {list(baseline.columns)}"
            )
        baseline = baseline[list(row.columns)]
    if _is_estimator(model):
        from jaxinter.adapters.sklearn import FrameModel

        wrapped = FrameModel(model, layer, row, baseline)
        return array_value_function(wrapped, wrapped.x, baseline=wrapped.baseline, **options)
    values = row.to_numpy(np.float64)[0]
    wrapped = as_model(model, values, layer)
    wrapped.column_names = tuple(row.columns)
    return array_value_function(wrapped, values, baseline=baseline, **options)


def _frame(rows: Any) -> Any:
    return rows.to_frame().T.infer_objects() if rows.ndim == 1 else rows


def _is_estimator(model: Any) -> bool:
    """Of scikit-learn, or with its interface and no other."""
    methods = hasattr(model, "predict") or hasattr(model, "predict_proba")
    return _is(model, "sklearn.base", "BaseEstimator") or (methods and not callable(model))


def _is(x: Any, module: str, name: str) -> bool:
    """isinstance without an import: nothing is of a class whose module was never imported."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(x, kind)
