# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime sessions: arrays, or the tokens of a text, in; the first float output out."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxinter import _arrays
from jaxinter.adapters.model import CALL, Model

DTYPES = {"float": "float32", "double": "float64"}  # the others go by their own names


class OnnxModel(Model):
    """An `InferenceSession`; `output` names one of its outputs (default: the first of floats)."""

    channels = "first"

    def __init__(self, session: Any, output: str | None = None):
        super().__init__(session)
        self.session = session
        self.inputs = {i.name: i for i in session.get_inputs()}
        floats = [o.name for o in session.get_outputs() if "float" in o.type or "double" in o.type]
        known = [o.name for o in session.get_outputs()]
        if output not in (None, *known) or not (output or floats):
            raise ValueError(
                f"{CALL}: layer must name an output of the session, {known}; got {output!r}"
                if output
                else f"{CALL}: the session must have an output of floats; it has {known} (convert "
                "classifiers of scikit-learn with zipmap=False)"
            )
        self.output = output or floats[0]
        if re.search(r"prob(s|_|$|abilit)", self.output.lower()):
            self.scores = "probabilities"

    def place(self, x: Any) -> np.ndarray:
        x = _arrays.to_numpy(CALL, "x", x)
        wanted = self._dtype(next(iter(self.inputs.values())))
        cast = x.astype(wanted)
        if wanted.kind != "f" and not np.array_equal(cast, x):
            raise ValueError(f"{CALL}: x and baseline must hold {wanted}, as the session takes it")
        return cast

    def forward(self, inputs: Any) -> np.ndarray:
        if not isinstance(inputs, Mapping):
            if len(self.inputs) != 1:
                raise ValueError(
                    f"{CALL}: the session takes {list(self.inputs)}; an array needs one input"
                )
            inputs = {next(iter(self.inputs)): inputs}
        if "token_type_ids" in self.inputs and "input_ids" in inputs:
            inputs = {"token_type_ids": 0 * inputs["input_ids"], **inputs}
        missing = set(self.inputs) - set(inputs)
        if missing:
            raise ValueError(f"{CALL}: the session wants {sorted(missing)} besides {list(inputs)}")
        if "attention_mask" not in self.inputs and not np.all(inputs.get("attention_mask", 1)):
            raise ValueError(
                f"{CALL}: baseline must be a token: the session takes no attention_mask"
            )
        feed = {
            name: np.ascontiguousarray(inputs[name], self._dtype(i))
            for name, i in self.inputs.items()
        }
        rows = len(next(iter(feed.values())))
        fixed = next(iter(self.inputs.values())).shape[0]  # a name or None where it is free
        if not isinstance(fixed, int):
            return self.session.run([self.output], feed)[0]
        if fixed != 1:
            raise ValueError(
                f"{CALL}: the session takes batches of {fixed} only; export it with a free one"
            )
        one_by_one = [
            self.session.run([self.output], {k: v[r : r + 1] for k, v in feed.items()})[0]
            for r in range(rows)
        ]
        return np.concatenate(one_by_one)

    @staticmethod
    def _dtype(i: Any) -> np.dtype:
        name = i.type.removeprefix("tensor(").removesuffix(")")
        try:
            return np.dtype(DTYPES.get(name, name))
        except TypeError as error:
            raise ValueError(
                f"{CALL}: the session must take tensors of numbers; input {i.name!r} is {i.type}"
            ) from error
