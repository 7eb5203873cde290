# SPDX-License-Identifier: Apache-2.0
"""NID 12b. MLP-Cutoff: its error as interactions are added, and its functions of columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxinter.nid.additive import Cutoff
from jaxinter.nid.plot import _looks
from jaxinter.plot import _style

__all__ = ["cutoff", "interaction", "main_effects"]


def cutoff(found: Cutoff, ax: Any = None, *, truth: Any = None) -> Any:
    """The error of MLP-Cutoff as interactions are added one by one, and the error to reach.

    Args:
      found: from `cutoff`. Its bars are errors on validation rows; the one at the cutoff has a
        black edge, and those beyond it are pale. Diamonds are errors on test rows.
      ax: matplotlib axes to draw on; a new figure otherwise.
      truth: a `Function`, or interactions: a cross marks a true one, a ring a part of one.

    Returns:
      The axes.

    Raises:
      TypeError: found is no `Cutoff`.
      ValueError: truth of other columns.

    Source: paper 004, Fig. 6 and 7.
    """
    call = "nid.plot.cutoff"
    _style.check_kind(call, "found", found, Cutoff, "nid.cutoff")
    tried = found.tried[: len(found.errors) - 1]
    kinds = ["", *_looks.kinds(_looks.truth_sets(call, truth, found.column_names), tried)]
    labels = ["∅", *(_looks.label(members, 30) for members in tried)]
    if ax is None:
        each = 0.13 * max(label.count("\n") + 1 for label in labels) + 0.17
        size = (max(each * len(labels) + 1.2, 4.4), 4.2)
        ax = _style.pyplot().subplots(figsize=size, layout="constrained")[1]
    x = np.arange(len(labels))
    bars = ax.bar(
        x, found.errors, 0.7, color=[_looks.BAR if i <= found.k else _looks.PALE for i in x]
    )
    bars[found.k].set(edgecolor="black", linewidth=1.5)
    entries = [
        (bars[0], "validation"),
        (bars[found.k], "cutoff" if found.reached else "least error"),
    ]
    if np.isfinite(found.test_errors).any():
        looks: dict[str, Any] = {"color": "black", "linestyle": "", "marker": "D", "markersize": 4}
        looks |= {"markerfacecolor": "white", "zorder": 4}
        entries += [(ax.plot(x, found.test_errors, **looks)[0], "test")]
    goal = ax.axhline(found.goal, color="black", linestyle=_style.DASHED, linewidth=1.2)
    entries.append((goal, "goal" if found.reached else "goal, not reached"))
    ax.set_xticks(x, labels, rotation=90, fontsize=_style.SMALL, parse_math=False)
    ax.tick_params(axis="x", length=0, pad=3.5 if truth is None else 15)
    _looks.mark(ax, x, np.full(len(x), -0.03), kinds, transform=ax.get_xaxis_transform())
    if truth is not None:
        entries += [(_looks.line(kind), kind) for kind in (_looks.TRUE, _looks.PART)]
    ax.set(ylabel=_error_name(found), ylim=(0, None), xlim=(-0.6, len(x) - 0.4))
    ax.spines[["top", "right"]].set_visible(False)
    _looks.legend_above(ax, entries)
    return ax


def main_effects(
    found: Cutoff,
    axes: Any = None,
    *,
    columns: Sequence | None = None,
    target: Any = None,
    shared: bool = True,
) -> Any:
    """What each column adds on its own, over its range: a panel a column.

    Args:
      found: from `cutoff`.
      axes: matplotlib axes to draw on, one a column; a new figure otherwise.
      columns: which, by name, or number where they have none; None: all.
      target: of more than two classes, the class whose logit is drawn.
      shared: one scale for all; else each panel has its own, but for what is next to 0.

    Returns:
      The axes, ``[columns]``.

    Raises:
      TypeError: found is no `Cutoff`.
      ValueError: a column there is not, no columns, as many axes as no columns, or a target that is
        no class.

    Source: paper 004, Fig. 11.
    """
    call = "nid.plot.main_effects"
    _style.check_kind(call, "found", found, Cutoff, "nid.cutoff")
    names = tuple(found.column_names if columns is None else columns)
    if not names:
        raise ValueError(f"{call}: columns must be one or more; got none")
    effects = [found.main_effect(name) for name in names]
    effects = [(at, _of_class(call, found, values, target)) for at, values in effects]
    categorical = [_is_categorical(found, name) for name in names]
    if axes is None:
        axes = _style.panels(len(names), (2.1, 2.7 if any(categorical) else 2.0))[1]
    panels = _style.given_axes(call, axes, len(names))
    ends = np.array([(min(y.min(), 0.0), max(y.max(), 0.0)) for _, y in effects])
    if shared:
        ends[:] = ends[:, 0].min(), ends[:, 1].max()
    else:  # what is left of zeros by rounding is not drawn large
        ends[np.ptp(ends, axis=1) < 1e-4 * np.ptp(ends)] = ends.min(), ends.max()
    for ax, (at, values), bars, (low, high) in zip(panels, effects, categorical, ends):
        up, down = np.maximum(values, 0), np.minimum(values, 0)
        for half, colour in ((up, _style.POSITIVE), (down, _style.NEGATIVE)):
            if bars:
                ax.bar(range(len(at)), half, 0.8, color=colour)
            else:
                ax.fill_between(at, 0, half, color=colour, linewidth=0)
        if bars:
            _name_categories(ax.xaxis, at, _style.points(ax)[0], rotation=90)
        else:
            ax.plot(at, values, color="black", linewidth=1.2)
            ax.set_xlim(at[0], at[-1])
            ax.locator_params(axis="x", nbins=2)
            ax.xaxis.set_major_formatter("{x:g}")
        ax.axhline(0, color="black", linewidth=0.8)
        room = 0.06 * (high - low) or 1.0
        ax.set_ylim(low - room, high + room)
        ax.tick_params(labelsize=_style.SMALL)
        ax.spines[["top", "right"]].set_visible(False)
    _style.label_outer(panels, "", _effect_name(found, target), tidy=False)
    for ax, name in zip(panels, names):
        ax.set_xlabel(_looks.axis_name(name), parse_math=False)
        ax.tick_params(axis="y", labelleft=bool(ax.get_ylabel()) or not shared)
    return axes


def interaction(
    found: Cutoff, pair: Sequence, ax: Any = None, *, X: Any = None, target: Any = None
) -> Any:
    """What a pair of columns adds together, as a map: orange raises the target, blue lowers it.

    Between two numeric columns lines of equal effect are drawn, dashed below 0.

    Args:
      found: from `cutoff`.
      pair: one of its `interactions`: the columns along x and along y, in either order.
      ax: matplotlib axes to draw on; a new figure otherwise.
      X: rows to show as dots, as `cutoff` took them. Far from all of them the map would be a guess:
        it is left blank.
      target: of more than two classes, the class whose logit is drawn.

    Returns:
      The axes.

    Raises:
      TypeError: found is no `Cutoff`.
      ValueError: a pair that the model has not, rows of other columns, a target that is no class.

    Source: paper 004, Fig. 12.
    """
    from matplotlib.colors import LinearSegmentedColormap

    call = "nid.plot.interaction"
    _style.check_kind(call, "found", found, Cutoff, "nid.cutoff")
    pairs = [members for members in found.interactions if len(members) == 2]
    if tuple(pair) not in pairs and tuple(pair)[::-1] not in pairs:
        raise ValueError(f"{call}: pair must be one of {pairs}; got {pair!r}")
    in_order = tuple(pair) in pairs
    ends, values = found.interaction_effect(pair if in_order else tuple(pair)[::-1])
    values = _of_class(call, found, values, target)
    if not in_order:
        ends, values = ends[::-1], values.T
    named = [_is_categorical(found, name) for name in pair]
    places = [np.arange(len(at)) if n else at for at, n in zip(ends, named)]
    if X is not None:
        dots = _positions(call, found, X, pair)
        values = np.ma.masked_where(~_near(dots, places, named), values)
    if ax is None:
        size = [0.4 * len(at) + 2.2 if n else 5.0 for at, n in zip(ends, named)]
        width, height = np.clip(size, 3.6, 9.0)
        ax = _style.pyplot().subplots(figsize=(width + 0.8, height - 0.6), layout="constrained")[1]
    most = float(np.abs(values).max()) or 1.0
    colours = LinearSegmentedColormap.from_list("", (_style.NEGATIVE, "white", _style.POSITIVE))
    looks = {"cmap": colours, "vmin": -most, "vmax": most, "rasterized": True}
    shades = ax.pcolormesh(*places, values.T, shading="nearest", **looks)
    if not any(named):
        ax.contour(*places, values.T, levels=8, colors="black", linewidths=0.6)
    elif all(named):
        _write_numbers(ax, values)
    if X is not None:
        ax.set_facecolor("0.92")  # no rows: neither 0 nor a guess
        ax.plot(*(x[:: max(1, -(-len(x) // 2000))] for x in dots), ",", color="black", alpha=0.5)
    for axis, at, categorical, room in zip((ax.xaxis, ax.yaxis), ends, named, _style.points(ax)):
        if categorical:
            _name_categories(axis, at, room, rotation=90 if axis is ax.xaxis else 0)
    for axis, name in zip((ax.xaxis, ax.yaxis), pair):
        axis.set_label_text(_looks.axis_name(name), parse_math=False)
    label = _effect_name(found, target).replace("\n", " ")
    bar = ax.figure.colorbar(shades, ax=ax, label=label, aspect=25)
    bar.outline.set_visible(False)
    return ax


def _error_name(found: Cutoff) -> str:
    if found.encoder.task == "regression":
        return "error: RMSE of the standardised target"
    return "error: 1 - AUC" if found.encoder.n_outputs == 1 else "error: cross-entropy"


def _effect_name(found: Cutoff, target: Any) -> str:
    classes = found.encoder.classes
    if classes is None:
        return "effect on\nthe target"
    if len(classes) == 2:
        return f"effect on the\nlog-odds of {_looks.short(classes[1])}"
    return f"effect on the\nlogit of {_looks.short(target)}"


def _of_class(call: str, found: Cutoff, values: np.ndarray, target: Any) -> np.ndarray:
    """The values of one class, of more than two."""
    classes = found.encoder.classes or ()
    if found.encoder.n_outputs == 1:
        if target is not None:
            raise ValueError(f"{call}: target is for more than two classes; got {target!r}")
        return values
    if target not in classes:
        raise ValueError(f"{call}: target must be one of {list(classes)}; got {target!r}")
    return np.take(values, classes.index(target), axis=-1)


def _near(
    dots: Sequence[np.ndarray], places: Sequence[np.ndarray], named: Sequence[bool]
) -> np.ndarray:
    """Cells of a map ``[a, b]`` that have a row, or are at most two from one along numbers."""
    from scipy.ndimage import binary_dilation

    cells = [np.abs(x[:, None] - at).argmin(1) for x, at in zip(dots, places)]
    filled = np.zeros([len(at) for at in places], bool)
    filled[tuple(cells)] = True
    reach = [np.ones(1 if categorical else 5, bool) for categorical in named]
    return binary_dilation(filled, np.logical_and.outer(*reach))


def _is_categorical(found: Cutoff, column: Any) -> bool:
    return found.column_names.index(column) in found.encoder.categories


def _name_categories(axis: Any, at: np.ndarray, room: float, *, rotation: int) -> None:
    """All of them where there is room, of so many points; else every second, .."""
    step = int(np.ceil((_style.SMALL + 1) * len(at) / room))
    places = range(0, len(at), step)
    looks = {"fontsize": _style.SMALL, "parse_math": False, "rotation": rotation}
    axis.set_ticks(places, [_looks.short(at[i]) for i in places], **looks)
    axis.set_tick_params(length=0)


def _write_numbers(ax: Any, values: np.ndarray) -> None:
    """In cells, where they have room: grey prints keep the sign."""
    most = np.abs(values).max()
    digits = max(0, 2 - int(np.ceil(np.log10(most)))) if most > 0 else 0
    rounded = np.round(values, digits) + 0.0  # no -0
    texts = [[f"{x:+.{digits}f}" for x in row] for row in rounded.tolist()]
    width, height = _style.points(ax) / values.shape
    if max(_style.text_width(t, 6.5) for row in texts for t in row) < width - 2 and height > 9:
        for i, row in enumerate(texts):
            for j, text in enumerate(row):
                looks = {"ha": "center", "va": "center", "fontsize": 6.5}
                ax.text(i, j, text, path_effects=_style.halo(), zorder=5, **looks)


def _positions(call: str, found: Cutoff, X: Any, pair: Sequence) -> list[np.ndarray]:
    """Where rows lie on the axes of a pair."""
    x = found.encoder.encode(call, X)
    owner = found.encoder.columns
    inputs = [x[:, owner == found.column_names.index(name)] for name in pair]
    # Of one-hot inputs, where the one is; spread over the cell.
    spread = np.random.default_rng(0).uniform(-0.35, 0.35, (2, len(x)))
    return [
        each.argmax(1) + by if _is_categorical(found, name) else each[:, 0]
        for name, each, by in zip(pair, inputs, spread)
    ]
