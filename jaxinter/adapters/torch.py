# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules, whole or from a layer on, on their own device, in the mode they came in."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from jaxinter import _arrays
from jaxinter.adapters.model import CALL, Measure, Model
from jaxinter.assemble import masked_inputs

# The outputs of all leaf modules of one row, and as much again for what lies between them.
ROW_BYTES_FACTOR = 2


class TorchModel(Model):
    """An `nn.Module`, or a function of tensors; autocast is left as it is around the call.

    With `layer`, x is the output of that submodule on the input given, and what is masked: the
    network runs from there on.
    """

    channels = "first"

    def __init__(self, function: Any, layer: str | None = None):
        super().__init__(function)
        self.module = function if isinstance(function, torch.nn.Module) else None
        tensors = self.module.parameters() if self.module is not None else ()
        weights = next((p for p in tensors if p.is_floating_point()), None)
        self.device = weights.device if weights is not None else None
        self.dtype = weights.dtype if weights is not None else None
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
        self._input = self.place(x)[None]
        found: list[torch.Tensor] = []
        with self._inference():
            handle = self.layer.register_forward_hook(lambda m, args, out: found.append(out))
            try:
                self._run(self._input)
            finally:
                handle.remove()
        if len(found) != 1 or not isinstance(found[0], torch.Tensor):
            raise ValueError(f"{CALL}: layer must run once and give one tensor; ran {len(found)}")
        features = found[0][0].clone()
        self._rows = self._fewest_rows(features)
        return features

    def forward(self, inputs: Any) -> torch.Tensor:
        with self._inference():
            return self._from_layer(inputs) if self.layer is not None else self._run(inputs)

    def first(self, x: Any) -> tuple[torch.Tensor, int]:
        held = 0

        def count(module: torch.nn.Module, args: Any, out: Any) -> None:
            nonlocal held
            for tensor in out if isinstance(out, tuple) else (out,):
                held += tensor.nbytes if isinstance(tensor, torch.Tensor) else 0

        modules = self.module.modules() if self.module is not None else ()
        handles = [
            m.register_forward_hook(count) for m in modules if not any(True for _ in m.children())
        ]
        batch = {k: v[None] for k, v in x.items()} if isinstance(x, Mapping) else x[None]
        try:
            outputs = self.forward(batch)
        finally:
            for handle in handles:
                handle.remove()
        tensors = batch.values() if isinstance(batch, Mapping) else (batch,)
        held += sum(t.nbytes for t in tensors) + outputs.nbytes
        return outputs, ROW_BYTES_FACTOR * held if handles else 0

    def worth(
        self, x: Any, players: np.ndarray, baseline: Any, measure: Measure, target: Any
    ) -> Callable[[np.ndarray], Any]:
        rows = baseline if baseline.ndim > x.ndim else [baseline]
        buffer = torch.empty((0, *x.shape), dtype=x.dtype)  # used again by each call

        def worth(masks: np.ndarray) -> torch.Tensor:
            nonlocal buffer
            if x.is_cpu and len(buffer) < len(masks):
                buffer = torch.empty((len(masks), *x.shape), dtype=x.dtype)
            total: Any = 0.0
            with torch.inference_mode():
                for row in rows:
                    out = buffer[: len(masks)] if x.is_cpu else None
                    inputs = masked_inputs(masks, x, row, players, out)
                    total = total + measure(self.forward(inputs), target)
                return (total / len(rows)).cpu()

        return worth

    def gradient_value(self, measure: Measure, target: Any) -> Callable[[Any], Any]:
        def value(inputs: torch.Tensor) -> torch.Tensor:
            with self._eval():
                run = self._from_layer if self.layer is not None else self._run
                return measure(run(inputs), target)

        return value

    def _run(self, inputs: Any) -> torch.Tensor:
        run: Any = self.function
        out = run(**inputs) if isinstance(inputs, Mapping) else run(inputs)
        logits = getattr(out, "logits", None)  # of Hugging Face
        if logits is None and isinstance(out, (tuple, list)) and out:
            logits = out[0]
        out = logits if logits is not None else out
        if not isinstance(out, torch.Tensor):
            raise TypeError(
                f"{CALL}: the model must give a tensor, or an object with .logits; got "
                f"{type(out).__name__}"
            )
        return out

    def _from_layer(self, features: torch.Tensor, rows: int | None = None) -> torch.Tensor:
        """The network with the layer's output replaced; below it, as few rows as it takes."""
        assert self.layer is not None
        assert self._input is not None
        rows = self._rows if rows is None else rows
        lower = self._input.expand(rows or len(features), *self._input.shape[1:])
        handle = self.layer.register_forward_hook(lambda m, args, out: features)
        try:
            return self._run(lower)
        finally:
            handle.remove()

    def _fewest_rows(self, features: torch.Tensor) -> int:
        """1 where the network above the layer does not mind that below it ran one row; else 0."""
        probe = torch.stack([features, 0 * features])
        with self._inference():
            both = self._from_layer(probe, 0)
            try:
                quick = self._from_layer(probe, 1)
            except Exception:
                return 0
        return int(quick.shape == both.shape and torch.allclose(quick, both, rtol=1e-4, atol=1e-5))

    @contextmanager
    def _inference(self) -> Iterator[None]:
        with torch.inference_mode(), self._eval():
            yield

    @contextmanager
    def _eval(self) -> Iterator[None]:
        """Evaluation mode; each submodule gets its own mode back, whatever happens."""
        trained = [m for m in self.module.modules() if m.training] if self.module else []
        for module in trained:
            module.training = False
        try:
            yield
        finally:
            for module in trained:
                module.training = True
