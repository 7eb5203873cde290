# SPDX-License-Identifier: Apache-2.0
"""scikit-learn estimators, and what has their interface, on rows of arrays and of data frames."""

from typing import Any

import numpy as np

from jaxinter import _arrays
from jaxinter.adapters.model import CALL, Model

METHODS = {"predict_proba": "probabilities", "decision_function": "logits", "predict": "values"}


class SklearnModel(Model):
    """An estimator by `predict_proba`, `decision_function` or `predict`: the first that it has."""

    def __init__(self, estimator: Any, method: str | None = None):
        asked = [name for name in METHODS if method in (None, name)]
        found = next((name for name in asked if hasattr(estimator, name)), None)
        if found is None:
            raise ValueError(
                f"{CALL}: layer must name one of {', '.join(METHODS)} that the estimator has; got "
                f"{method!r} of {type(estimator).__name__}"
                if method
                else f"{CALL}: the estimator must have one of {', '.join(METHODS)}; got "
                f"{type(estimator).__name__}"
            )
        super().__init__(getattr(estimator, found), METHODS[found])
        fitted = getattr(estimator, "feature_names_in_", None)
        self.column_names = None if fitted is None else tuple(fitted)
        names = getattr(estimator, "classes_", ())
        self.classes = {name: i for i, name in enumerate(names) if isinstance(name, str)}

    def place(self, x: Any) -> np.ndarray:
        x = _arrays.to_numpy(CALL, "x", x)
        if x.dtype.kind not in "biuf":
            raise TypeError(
                f"{CALL}: x and baseline must hold numbers, or be rows of data frames; got dtype "
                f"{x.dtype}"
            )
        return x if x.dtype == np.float32 else x.astype(np.float64)

    def forward(self, inputs: Any) -> Any:
        assert self.function is not None
        if self.column_names is not None and isinstance(inputs, np.ndarray):
            import pandas as pd

            inputs = pd.DataFrame(inputs, columns=list(self.column_names))
        return np.asarray(self.function(inputs))


class FrameModel(SklearnModel):
    """The same on a row of a data frame, which keeps its columns, whatever they hold.

    The array that is masked, `x`, says for each column which row of `frame` its value is taken
    from: row 0 is that of x, the others are the baseline's, `baseline` says which.
    """

    def __init__(self, estimator: Any, method: str | None, row: Any, baseline: Any):
        super().__init__(estimator, method)
        import pandas as pd

        self.of_arrays = self.column_names is None and hasattr(estimator, "n_features_in_")
        self.column_names = tuple(row.columns)
        if not isinstance(baseline, pd.DataFrame):
            raise ValueError(
                f"{CALL}: baseline must be given for a row of a data frame, a frame or a series of "
                "the same columns (the background; its rows are averaged over); got "
                f"{type(baseline).__name__}"
            )
        # Row 0 is x, the others are the baseline: one table, so that dtypes and categories agree.
        self.frame = pd.concat([row, baseline], ignore_index=True)
        for name, dtype in row.dtypes.items():
            if isinstance(dtype, pd.CategoricalDtype):
                others = set(self.frame[name].dropna()) - set(dtype.categories)
                if others:
                    raise ValueError(
                        f"{CALL}: baseline must hold categories of x; those of column {name!r} are "
                        f"{list(dtype.categories)}; got {others.pop()!r}"
                    )
                self.frame[name] = self.frame[name].astype(dtype)
        self.digest = pd.util.hash_pandas_object(self.frame).to_numpy()
        self.x = np.zeros(row.shape[1], np.int64)
        self.baseline = np.arange(1, len(self.frame))[:, None].repeat(row.shape[1], axis=1)

    def place(self, x: Any) -> np.ndarray:
        return np.asarray(x, np.int64)

    def forward(self, inputs: np.ndarray) -> Any:
        import pandas as pd

        assert self.function is not None
        taken = pd.DataFrame(
            {
                name: self.frame[name].array.take(inputs[:, j])
                for j, name in enumerate(self.frame.columns)
            }
        )
        return np.asarray(self.function(taken.to_numpy() if self.of_arrays else taken))
