# SPDX-License-Identifier: Apache-2.0
"""NID 1. A user's table as a network takes it: numbers as they are, categories as one-hot."""

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxinter import _arrays, _checks

__all__ = ["Encoder", "Table", "read"]

LEAST_ROWS = 10  # training, validation and testing each take a part
TASKS = ("regression", "classification")
PLAIN = (str, int, float, bool)  # what JSON keeps: names, categories and classes are of these


@dataclass(frozen=True)
class Encoder:
    """How columns become inputs, and a target classes. Python's own types alone: it can be saved.

    Attributes:
      column_names: the names of the p columns; 0 to p - 1 where an array was read.
      named: whether they are a frame's own names.
      categories: column number -> its categories, one input each; numeric columns are not in it.
      task: "regression" or "classification".
      classes: of each class number, the class; None in regression.
    """

    column_names: tuple[Any, ...]
    named: bool
    categories: dict[int, tuple[Any, ...]]
    task: str
    classes: tuple[Any, ...] | None

    @property
    def n_outputs(self) -> int:
        """1 for regression and for two classes, else the number of classes."""
        return 1 if self.classes is None or len(self.classes) == 2 else len(self.classes)

    @property
    def columns(self) -> np.ndarray:
        """int ``[q]``: the column number of each input, ascending."""
        numbers = np.arange(len(self.column_names))
        return np.repeat(numbers, [len(self.categories.get(j, (None,))) for j in numbers.tolist()])

    def labels(self, numbers: Iterable[int]) -> tuple[Any, ...]:
        """Columns as the user knows them: a frame's names, else the numbers themselves."""
        return tuple(self.column_names[j] for j in numbers)

    def encode(self, call: str, X: Any) -> np.ndarray:
        """The inputs of rows: numeric columns as they are, one input a category.

        Args:
          call: the public function that errors speak for.
          X: ``[m, p]``. A frame's columns are found by name where a frame was read, in any order,
            and further ones are left out; all else goes by position.

        Returns:
          float64 ``[m, q]``, C order, a copy.

        Raises:
          ValueError: a column missing, another number of columns, values missing or infinite, a
            category that was not read.
          TypeError: a column that was numeric and is not now.
        """
        names, columns = _opened(call, X)
        if self.named and names is not None:
            at = {name: i for i, name in enumerate(names)}
            missing = [name for name in self.column_names if name not in at]
            if missing:
                raise ValueError(
                    f"{call}: X must have the columns it was read with; missing: "
                    f"{_checks.listed(missing)}"
                )
            columns = [columns[at[name]] for name in self.column_names]
        elif len(columns) != len(self.column_names):
            raise ValueError(
                f"{call}: X must have {len(self.column_names)} columns, as it was read with; got "
                f"{len(columns)}"
            )
        rows, owner = len(columns[0]), self.columns
        needed, free = 8 * rows * len(owner), _checks.free_memory()
        if needed > free:
            widest = max(self.categories, key=lambda j: len(self.categories[j]), default=0)
            raise ValueError(
                f"{call}: X becomes {rows} x {len(owner)} inputs, {needed:,} bytes; this machine "
                f"has {free:,} free. {self._name(widest)} has {int((owner == widest).sum())} of "
                "them: merge categories, or take fewer rows"
            )
        inputs = np.empty((rows, len(owner)))
        starts = np.searchsorted(owner, range(len(columns))).tolist()
        if isinstance(columns, np.ndarray) and not self.categories:
            inputs[:] = columns.T
        else:
            for j, (column, start) in enumerate(zip(columns, starts)):
                if j not in self.categories:
                    inputs[:, start] = _numbers(call, self._name(j), column)
                    continue
                one_hot = inputs[:, start : start + len(self.categories[j])]
                one_hot[:] = 0.0
                one_hot[np.arange(rows), self._codes(call, j, column)] = 1.0
        bad = ~np.isfinite(inputs)
        if bad.any():
            first = int(bad.any(axis=0).argmax())
            _refuse_missing(call, self._name(int(owner[first])), bad[:, first])
        return inputs

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it; `from_dict` reads it back."""
        return {
            "column_names": list(self.column_names),
            "named": self.named,
            "categories": [[j, list(values)] for j, values in self.categories.items()],
            "task": self.task,
            "classes": None if self.classes is None else list(self.classes),
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "Encoder":
        """The encoder that `to_dict` wrote."""
        classes = saved["classes"]
        return cls(
            tuple(saved["column_names"]),
            saved["named"],
            {j: tuple(values) for j, values in saved["categories"]},
            saved["task"],
            None if classes is None else tuple(classes),
        )

    def _name(self, j: int) -> str:
        return _name(self.column_names[j])

    def _codes(self, call: str, j: int, column: Any) -> np.ndarray:
        codes, values = _coded(call, self._name(j), column)
        number = {value: k for k, value in enumerate(self.categories[j])}
        unknown = [value for value in values if value not in number]
        if unknown:
            raise ValueError(
                f"{call}: {self._name(j)} must hold categories that were read, "
                f"{_checks.listed(self.categories[j])}; got {_checks.listed(unknown)}"
            )
        return np.array([number[value] for value in values], int)[codes]


@dataclass(frozen=True, eq=False)
class Table:
    """A table as a network takes it.

    Attributes:
      inputs: float64 ``[rows, q]``, unscaled: one input a numeric column, one a category.
      columns: int ``[q]``, the column number of each input, ascending.
      target: float64 ``[rows]``; in classification int32, the class number.
      encoder: `Encoder`.
    """

    inputs: np.ndarray
    columns: np.ndarray
    target: np.ndarray
    encoder: Encoder


def read(call: str, X: Any, y: Any, *, categorical: Any = None, task: str | None = None) -> Table:
    """X and y as a network takes them; what cannot be trained on is refused by name.

    Args:
      call: the public function that errors speak for.
      X: ``[rows, p]``, an array of any library or a pandas frame. Numbers and booleans are one
        input a column. Categories, strings and objects of a frame are one input a category: in
        the dtype's order, else sorted; those that no row has are left out.
      y: ``[rows]`` or ``[rows, 1]``. Strings, objects, categories and numbers of two values are
        classes; other numbers are a regression target.
      categorical: names or numbers of further columns to take as categories: numeric codes.
      task: "regression" or "classification", where it should not be told from y.

    Returns:
      `Table`.

    Raises:
      ValueError: shapes that do not fit; missing or infinite values; columns or a target that do
        not vary; a category or class of its own for every row.
      TypeError: dates, complex numbers, nested objects.

    >>> table = read("read", np.arange(24.0).reshape(12, 2) % 9, [0, 1, 1] * 4, categorical=[1])
    >>> table.inputs.shape, table.columns.tolist(), table.encoder.task
    ((12, 10), [0, 1, 1, 1, 1, 1, 1, 1, 1, 1], 'classification')
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"{call}: task must be one of {_checks.listed(TASKS)}; got {task!r}")
    names, columns = _opened(call, X)
    rows, p = len(columns[0]) if len(columns) else 0, len(columns)
    if p < 2 or rows < LEAST_ROWS:
        raise ValueError(
            f"{call}: X must have at least {LEAST_ROWS} rows and 2 columns; got shape {(rows, p)}"
        )
    column = _column(call, y)
    if len(column) != rows:
        raise ValueError(f"{call}: y must have a value for each of {rows} rows; got {len(column)}")
    _check_index(call, X, y)
    target, task, classes = _target(call, column, task)
    known = tuple(range(p)) if names is None else names
    chosen = _chosen(call, categorical, known)
    categories = {}
    for j, one in enumerate(columns):
        if j in chosen or one.dtype.kind not in "biufcmM":
            categories[j] = _categories(call, _name(known[j]), one, j in chosen)
    encoder = Encoder(known, names is not None, categories, task, classes)
    inputs = encoder.encode(call, X)
    constant = inputs.min(axis=0) == inputs.max(axis=0)
    if constant.any():
        which = encoder.columns[constant].tolist()
        raise ValueError(
            f"{call}: X must have columns that vary; constant: "
            f"{_checks.listed(encoder.labels(which))}. Drop them"
        )
    return Table(inputs, encoder.columns, target, encoder)


def _opened(call: str, X: Any) -> tuple[tuple[Any, ...] | None, Any]:
    """A frame's names, or None, and the columns: Series of a frame, rows [p, rows] of an array."""
    if _is_pandas(X, "DataFrame"):
        names = tuple(_plain(call, "a column name of X", name) for name in X.columns)
        if len(set(names)) < len(names):
            twice = {name: None for name in names if names.count(name) > 1}
            raise ValueError(
                f"{call}: X must have a name of its own for each column; more than one is named "
                f"{_checks.listed(twice)}"
            )
        return names, [column for _, column in X.items()]
    if hasattr(X, "to_pandas"):
        raise TypeError(
            f"{call}: X must be an array or a pandas frame; got {type(X).__name__}. Use "
            "X.to_pandas()"
        )
    array = _array(call, "X", X)
    if array.ndim != 2:
        raise ValueError(
            f"{call}: X must be [rows, columns]; got {type(X).__name__} of shape {array.shape}"
        )
    if array.dtype.kind in "OSTU":
        raise TypeError(
            f"{call}: X must hold numbers; got dtype {array.dtype}. A table with strings can come "
            "as a pandas frame"
        )
    return None, _native_numbers(call, "X", array).T


def _column(call: str, y: Any) -> Any:
    """y as a Series or an array [rows]."""
    if _is_pandas(y, "DataFrame"):
        if y.shape[1] == 1:
            return y.iloc[:, 0]
        array = np.empty(y.shape, bool)
    elif _is_pandas(y, "Series"):
        return y
    elif _is_pandas(y, "Index") or _is_pandas(y, "api.extensions.ExtensionArray"):
        return sys.modules["pandas"].Series(y)
    else:
        array = _array(call, "y", y)
        if array.dtype.kind == "U" and isinstance(y, (list, tuple)):
            array = np.array(y, object)  # numpy makes strings of numbers beside strings
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{call}: y must be [rows] or [rows, 1]; got shape {array.shape}")
    if array.dtype.kind in "OTU":
        return array.astype(object)
    return _native_numbers(call, "y", array)


def _target(
    call: str, column: Any, task: str | None
) -> tuple[np.ndarray, str, tuple[Any, ...] | None]:
    """The target, its task, and its classes if it has any."""
    if column.dtype.kind in "biufcmM":
        numbers = _numbers(call, "y", column)
        if not np.isfinite(numbers).all():
            _refuse_missing(call, "y", ~np.isfinite(numbers))
        distinct, are_numbers = len(np.unique(numbers)), True
        if task is None:
            task = "classification" if distinct == 2 else "regression"
    else:
        codes, values = _coded(call, "y", column)
        distinct = len(values)
        are_numbers = _only_objects(column) and type(values[0]) in (int, float)
        if task is None and are_numbers and distinct > 2:
            raise TypeError(
                f"{call}: y holds numbers as objects: convert them, y.astype(float), or give "
                'task="classification"'
            )
        task = task or "classification"
        if task == "regression":
            if not are_numbers:
                raise TypeError(
                    f'{call}: y must hold numbers where task="regression"; got dtype {column.dtype}'
                )
            numbers = np.array(values, np.float64)[codes]
    if distinct < 2:
        raise ValueError(f"{call}: y must vary; got one value alone")
    if task == "regression":
        return np.array(numbers), task, None
    codes, values = _coded(call, "y", column)
    if len(values) == len(codes):
        raise ValueError(
            f"{call}: y must have fewer classes than rows; got {len(values)} of both"
            + ('. For numbers, task="regression"' if are_numbers else "")
        )
    return codes.astype(np.int32), task, values


def _chosen(call: str, categorical: Any, known: tuple[Any, ...]) -> set[int]:
    """The column numbers that `categorical` names; a name goes before a number."""
    if categorical is None:
        return set()
    at = {name: j for j, name in enumerate(known)}
    alone = isinstance(categorical, str) or not np.iterable(categorical)
    chosen = set()
    for given in [categorical] if alone else categorical:
        name = given.item() if isinstance(given, np.generic) else given
        number = isinstance(name, int) and 0 <= name < len(known)
        # A mask is no list of columns: True is no 1 here.
        if type(name) not in (str, int, float) or not (name in at or number):
            raise ValueError(
                f"{call}: categorical must hold columns of X, {_checks.listed(known)}; got "
                f"{given!r}"
            )
        chosen.add(at[name] if name in at else int(name))
    return chosen


def _categories(call: str, what: str, column: Any, asked: bool) -> tuple[Any, ...]:
    """The categories of a column, of which not every row may have its own."""
    codes, values = _coded(call, what, column)
    if not asked and _only_objects(column) and type(values[0]) in (int, float):
        raise TypeError(
            f"{call}: {what} holds numbers as objects: convert them, X.infer_objects(), or name it "
            "in categorical"
        )
    if len(values) == len(codes):
        raise ValueError(
            f"{call}: {what} has a category of its own for each of {len(codes)} rows, as names and "
            "identifiers do. Drop it"
        )
    return values


def _numbers(call: str, what: str, column: Any) -> np.ndarray:
    """A Series or an array as float64 [rows]; NaN where missing."""
    kind = column.dtype.kind
    if kind in "mM":
        raise TypeError(
            f"{call}: {what} holds dates or times ({column.dtype}). Make numbers of them (a year, "
            "a month, days since a day), or drop it"
        )
    if kind not in "biuf":
        raise TypeError(f"{call}: {what} must hold numbers; got dtype {column.dtype}")
    if isinstance(column.dtype, np.dtype):
        _checks.float_dtype(call, what, column.dtype)
        return np.asarray(column, np.float64)
    return column.to_numpy(np.float64, na_value=np.nan)


def _coded(call: str, what: str, column: Any) -> tuple[np.ndarray, tuple[Any, ...]]:
    """The category of each row, int [rows], and the categories that rows have, in order."""
    if column.dtype.kind in "fmMc":
        numbers = _numbers(call, what, column)
        if not np.isfinite(numbers).all():
            _refuse_missing(call, what, ~np.isfinite(numbers))
    ordered = hasattr(column.dtype, "categories")  # a pandas Categorical
    try:
        if ordered:
            codes, found = column.cat.codes.to_numpy(), column.cat.categories
            used, codes = np.unique(codes, return_inverse=True)
            codes = codes - (used[:1] < 0).sum()
            found = found[used[used >= 0]]
        elif not isinstance(column, np.ndarray):
            codes, found = column.factorize()
        elif column.dtype.kind != "O":
            found, codes = np.unique(column, return_inverse=True)
        else:
            at: dict[Any, int] = {}
            missing = [x is None or bool(x != x) for x in column]
            codes = np.array(
                [-1 if no else at.setdefault(x, len(at)) for x, no in zip(column, missing)], int
            )
            found = np.array([*at, None], object)[:-1]  # not a table where categories are tuples
    except (TypeError, ValueError) as error:  # what has no hash or no one truth value
        raise TypeError(
            f"{call}: {what} must hold one string or number a row; got nested or missing objects "
            f"({error})"
        ) from error
    if (codes < 0).any():
        _refuse_missing(call, what, codes < 0)
    values = [_plain(call, f"a category of {what}", value) for value in found]
    kinds = sorted({"number" if type(x) in (int, float) else type(x).__name__ for x in values})
    if len(kinds) > 1:
        raise TypeError(f"{call}: {what} must hold values of one kind; got {' and '.join(kinds)}")
    if ordered:
        return codes, tuple(values)
    order = sorted(range(len(values)), key=values.__getitem__)
    return np.argsort(order)[codes], tuple(values[k] for k in order)


def _plain(call: str, what: str, value: Any) -> Any:
    """A name or a category as Python's own str, int, float or bool."""
    plain = value.item() if isinstance(value, np.generic) else value
    if type(plain) not in PLAIN or (type(plain) is float and not math.isfinite(plain)):
        raise TypeError(
            f"{call}: {what} must be a string, a finite number or a boolean; got {value!r} "
            f"({type(value).__name__}). Strings can be made by .astype(str)"
        )
    return plain


def _native_numbers(call: str, argument: str, array: np.ndarray) -> np.ndarray:
    """An array of numpy's own real numbers: no bfloat16, no other byte order."""
    if array.dtype.kind in "mM":
        _numbers(call, argument, array)
    dtype = _checks.float_dtype(call, argument, array.dtype)
    own = array.dtype.kind in "biuf" and array.dtype.isnative
    return array if own else array.astype(dtype)


def _array(call: str, argument: str, x: Any) -> np.ndarray:
    """As numpy; NaN where a masked array is masked."""
    if isinstance(x, np.ma.MaskedArray):
        return np.ma.filled(x.astype(np.float64), np.nan) if np.ma.is_masked(x) else x.data
    try:
        return _arrays.host(call, argument, x)
    except ValueError as error:
        if not isinstance(x, (list, tuple)):
            raise
        raise ValueError(f"{call}: {argument} must have rows of one length; {error}") from error


def _check_index(call: str, X: Any, y: Any) -> None:
    """Refuses rows of y that are those of X in another order: rows go by position."""
    of_x: Any = getattr(X, "index", None)  # a list's index is its method
    of_y: Any = getattr(y, "index", None)
    if not (_is_pandas(of_x, "Index") and _is_pandas(of_y, "Index")) or of_x.equals(of_y):
        return
    if set(of_x) == set(of_y):
        raise ValueError(
            f"{call}: y must have its rows in the order of X; its index is that of X in another "
            "order. Use y.loc[X.index], or y.to_numpy() where the order is right"
        )


def _refuse_missing(call: str, what: str, bad: np.ndarray) -> None:
    raise ValueError(
        f"{call}: {what} must be finite, without missing values; {int(bad.sum())} of {len(bad)} "
        f"rows are not, the first row {int(bad.argmax())}. Fill or drop them"
    )


def _only_objects(column: Any) -> bool:
    """Whether a column is of numpy's dtype object, of which nobody said what it holds."""
    return isinstance(column.dtype, np.dtype) and column.dtype.kind == "O"


def _is_pandas(x: Any, name: str) -> bool:
    kind: Any = sys.modules.get("pandas")  # a frame cannot exist before pandas is imported
    if kind is None:
        return False
    for part in name.split("."):
        kind = getattr(kind, part)
    return isinstance(x, kind)


def _name(name: Any) -> str:
    return f"column {name!r} of X"
