# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules, whole or from a layer on, on their own device, in the mode they came in."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from inspect import Parameter, signature
from typing import Any

import numpy as np
import torch

from jaxinter import _arrays
from jaxinter.adapters.model import CALL, Measure, Model, logits_of, one_row
from jaxinter.assemble import masked_inputs

# The outputs of all leaf modules of one row, and as much again for what lies between them.
ROW_BYTES_FACTOR = 2
TYPES = "token_type_ids"


class TorchModel(Model):
    """An `nn.Module`, or a function of tensors; autocast is left as it is around the call.

    With `layer`, x is the output of that submodule on the input given, and what is masked: the
    network runs from there on.
    """

    channels = "first"

    def __init__(self, function: Any, layer: str | None = None):
        super().__init__(function)
        self.module = function if isinstance(function, torch.nn.Module) else None
        self.classes = getattr(getattr(function, "config", None), "label2id", None) or {}
        tensors = self.module.parameters() if self.module is not None else ()
        weights = next((p for p in tensors if p.is_floating_point()), None)
        self.device = weights.device if weights is not None else None
        self.dtype = weights.dtype if weights is not None else None
        self.on_cpu = self.device is None or self.device.type == "cpu"
        self.layer = None
        if layer is not None:
            layers = dict(self.module.named_modules()) if self.module is not None else {}
            if layer not in layers:
                raise ValueError(
                    f"{CALL}: layer must name a submodule of the model; got {layer!r}. There are "
                    f"{', '.join(list(layers)[1:21])}"
                )
            self.layer = layers[layer]
            self._input: torch.Tensor | None = None  # on which the features were taken
            self._rows = 0  # of the input, below the layer; 0: as many as there are features

    def place(self, x: Any) -> torch.Tensor:
        tensor = x if isinstance(x, torch.Tensor) else _arrays.as_torch(CALL, "x", x)
        dtype = self.dtype if tensor.is_floating_point() else None
        return tensor.detach().to(self.device or tensor.device, dtype or tensor.dtype)

    def features(self, x: Any) -> torch.Tensor:
        """What the layer gives for one input: x of the rest of the network."""
        assert self.layer is not None
        self._input = one_row(self.place(x))
        found: list[Any] = []

        def keep(module: torch.nn.Module, args: Any, out: Any) -> None:
            found.append(out.clone() if isinstance(out, torch.Tensor) else out)

        with self._inference():
            handle = self.layer.register_forward_hook(keep)
            try:
                self._run(self._input.clone())
            finally:
                handle.remove()
        if len(found) != 1 or not isinstance(found[0], torch.Tensor):
            gave = ", ".join(type(out).__name__ for out in found)
            raise ValueError(
                f"{CALL}: layer must run once and give one tensor; ran {len(found)} times"
                + (f" and gave {gave}. Name a layer within it" if found else "")
            )
        features = found[0][0].clone()  # no inference tensor: gradients may be taken of it
        self._rows = self._fewest_rows(features)
        return features

    def forward(self, inputs: Any) -> Any:
        with self._inference():
            return self._from_layer(inputs) if self.layer is not None else self._run(inputs)

    def first(self, x: Any) -> tuple[Any, int]:
        held = 0

        def count(module: torch.nn.Module, args: Any, out: Any) -> None:
            nonlocal held
            for tensor in out if isinstance(out, tuple) else (out,):
                held += tensor.nbytes if isinstance(tensor, torch.Tensor) else 0

        modules = self.module.modules() if self.module is not None else ()
        handles = [
            m.register_forward_hook(count)
            for m in modules
            if not list(m.children()) and not isinstance(m, torch.jit.ScriptModule)  # has no hooks
        ]
        batch = one_row(x)
        try:
            outputs = self.forward(batch)
        finally:
            for handle in handles:
                handle.remove()
        held += sum(t.nbytes for t in (x.values() if isinstance(x, Mapping) else (x,)))
        held += getattr(outputs, "nbytes", 0)
        return outputs, ROW_BYTES_FACTOR * held if handles else 0

    def worth(
        self, x: Any, players: np.ndarray, baseline: Any, measure: Measure, target: Any
    ) -> Callable[[np.ndarray], Any]:
        rows = baseline if baseline.ndim > x.ndim else [baseline]

        def worth(masks: np.ndarray) -> torch.Tensor:
            total: Any = 0.0
            with torch.inference_mode():
                for row in rows:
                    inputs = masked_inputs(masks, x, row, players)
                    worths = measure(self.forward(inputs), target)
                    half = worths.is_floating_point() and worths.dtype.itemsize < 4
                    total = total + (worths.float() if half else worths)
                return (total / len(rows)).cpu()

        return worth

    def gradient_value(self, measure: Measure, target: Any) -> Callable[[Any], Any]:
        def value(inputs: torch.Tensor) -> torch.Tensor:
            with self._eval():
                run = self._from_layer if self.layer is not None else self._run
                return measure(run(inputs.clone()), target)  # it may write to its inputs

        return value

    def _run(self, inputs: Any) -> Any:
        run: Any = self.function
        if not isinstance(inputs, Mapping):
            return logits_of(run(inputs))
        # Tokenizers give token types whether or not the model has any.
        known = {k: v for k, v in inputs.items() if k != TYPES or self._takes_types}
        return logits_of(run(**known))

    @cached_property
    def _takes_types(self) -> bool:
        run: Any = self.function
        taken = signature(getattr(run, "forward", run)).parameters
        return TYPES in taken or any(p.kind is Parameter.VAR_KEYWORD for p in taken.values())

    def _from_layer(self, features: torch.Tensor, rows: int | None = None) -> Any:
        """The network with the layer's output replaced; below it, as few rows as it takes."""
        assert self.layer is not None
        assert self._input is not None
        rows = self._rows if rows is None else rows
        lower = self._input.repeat(rows or len(features), *[1] * (self._input.ndim - 1))
        handle = self.layer.register_forward_hook(lambda m, args, out: features)
        try:
            return self._run(lower)
        finally:
            handle.remove()

    def _fewest_rows(self, features: torch.Tensor) -> int:
        """1 where the network above the layer does not mind that below it ran one row; else 0."""
        probe = torch.stack([features, 0 * features])
        with self._inference():
            both = self._from_layer(probe.clone(), 0)
            try:
                quick = self._from_layer(probe.clone(), 1)
            except Exception:
                return 0
        if not isinstance(both, torch.Tensor) or quick.shape != both.shape:
            return 0
        return int(torch.allclose(quick, both, rtol=1e-4, atol=1e-5))

    @contextmanager
    def _inference(self) -> Iterator[None]:
        with torch.inference_mode(), self._eval():
            yield

    @contextmanager
    def _eval(self) -> Iterator[None]:
        """Evaluation mode; each submodule gets its own mode back, whatever happens."""
        modules = () if self.module is None else self.module.modules()  # it may be of length 0
        trained = [m for m in modules if m.training]
        for module in trained:
            module.training = False
        try:
            yield
        finally:
            for module in trained:
                module.training = True
