# SPDX-License-Identifier: Apache-2.0
"""shapiq's games, imputers, explainers and plots, in and out. Written for shapiq 1.4."""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np

from jaxinter import _arrays, _checks, indices, masks
from jaxinter.evaluate import evaluate
from jaxinter.value_fn import ValueFunction

try:
    from shapiq import Game, InteractionValues
    from shapiq.approximator.base import Approximator
    from shapiq.game_theory.indices import AllIndices
    from shapiq.imputer.base import Imputer
except ModuleNotFoundError as error:
    if error.name != "shapiq":  # one that shapiq itself lacks
        raise
    raise ImportError(
        "jaxinter.adapters.shapiq needs shapiq: pip install 'jaxinter[shapiq]'"
    ) from error

__all__ = ["Exact", "as_game", "to_interaction_values", "value_function"]


def value_function(game: Game) -> ValueFunction:
    """A shapiq game or fitted imputer as a value function, to `evaluate`.

    Its worths are v itself, before shapiq subtracts `normalization_value`: v(empty) is what the
    game gives for no player. Player names come along where the game has them.

    Args:
      game: a `shapiq.Game`, precomputed or not, or an `Imputer` fitted to the input to explain (of
        an explainer: `explainer.imputer.fit(x)`). A `MarginalImputer` without a `random_state`
        draws its background anew in each call: give it one, for v to be one function. Fitted to
        another input later, it leaves this v as it is.

    Raises:
      TypeError: not a `Game`.
      ValueError: an imputer that is not fitted.

    >>> v = value_function(as_game([1.0, 2.0, 3.0, 6.0], player_names=["a", "b"]))
    >>> v.player_names, evaluate(v, v.n_players)
    (('a', 'b'), array([1., 2., 3., 6.]))
    """
    call = "value_function"
    if not isinstance(game, Game):
        raise TypeError(
            f"{call}: game must be a shapiq Game or Imputer; got {type(game).__name__}. A function "
            "of masks is a value function already: evaluate(function, n)"
        )
    if isinstance(game, Imputer):
        try:
            _ = game.x
        except AttributeError as error:
            raise ValueError(
                f"{call}: the imputer must be fitted to the input to explain; call .fit(x) first"
            ) from error
        game = copy(game)  # fit() replaces the input that it holds
    names = sorted(game.player_name_lookup, key=game.player_name_lookup.__getitem__)

    def worth(coalitions: np.ndarray) -> Any:
        if game.precomputed:
            return game(coalitions) + game.normalization_value
        return game.value_function(coalitions)  # to the bit; not row by row where game is verbose

    return ValueFunction(worth, int(game.n_players), player_names=tuple(names) or None)


def as_game(values: Any, player_names: Sequence[str] | None = None) -> Game:
    """A table as a `shapiq.Game`, for shapiq's explainers, approximators and `ExactComputer`.

    A coalition is looked up by its index, not by a tuple in a dict. Not normalised: the game gives
    v(empty) for no player.

    Args:
      values: any array ``[2**n]``, the worth of each coalition, n >= 1; copied.
      player_names: n different names, by which shapiq then takes coalitions too.

    Raises:
      ValueError: not one table of n >= 1 players, or the names are not n different ones.

    >>> game = as_game([1.0, 2.0, 3.0, 6.0], player_names=["a", "b"])
    >>> game(np.array([[False, True], [True, True]])), game(("a",))
    (array([3., 6.]), array([2.]))
    """
    table = _one_table("as_game", "values", values)
    n = table.size.bit_length() - 1
    if not n:
        raise ValueError("as_game: values must be of at least 1 player; got 1 entry")
    names = None if player_names is None else [str(name) for name in player_names]
    if names is not None and (len(names) != n or len(set(names)) != n):
        raise ValueError(f"as_game: player_names must be {n} different names; got {names}")
    return _TableGame(table, names)


class _TableGame(Game):
    def __init__(self, table: np.ndarray, player_names: list[str] | None):
        n = table.size.bit_length() - 1
        super().__init__(n_players=n, normalize=False, player_names=player_names)
        self._table = table

    def value_function(self, coalitions: np.ndarray) -> np.ndarray:
        return self._table[masks.encode(coalitions)]


class Exact(Approximator):
    """Exact indices of shapiq's explainers by `index`: an `Approximator` that approximates nothing.

    It evaluates all 2^n coalitions of the game, as the game is called (an imputer centres it), and
    takes one Mobius transform and a superset sum an order where `shapiq.ExactComputer` takes 3^n
    steps of Python. Pass it as ``approximator=`` to `TabularExplainer` or `AgnosticExplainer`; what
    they are told of index and order themselves does not reach an approximator.

    Args:
      n: number of players.
      max_order: the largest order k; SV and BV are of order 1 whatever it is.
      index: one of `Exact.valid_indices`.
      batch_size: coalitions in a call of the game. An imputer that samples its background without a
        `random_state` does so in each call: up to 16 players, there is one by default.
      random_state: kept for shapiq; nothing here is random.

    Raises:
      ValueError: an unknown index, or n or max_order below 1.

    >>> exact = Exact(n=2, max_order=2, index="k-SII")
    >>> exact(budget=4, game=as_game([1.0, 2.0, 3.0, 6.0])).dict_values
    {(): 1.0, (0,): 1.0, (1,): 2.0, (0, 1): 2.0}
    """

    valid_indices = tuple(name for name in indices.NAMES if name in AllIndices)

    def __init__(
        self,
        n: int,
        max_order: int = 2,
        index: str = "k-SII",
        *,
        batch_size: int = 1 << 16,
        random_state: int | None = None,
    ) -> None:
        n = _checks.count("Exact", "n", n, least=1)
        max_order = _checks.count("Exact", "max_order", max_order, least=1)
        if index not in self.valid_indices:
            known = ", ".join(self.valid_indices)
            raise ValueError(f"Exact: index must be one of {known}; got {index!r}")
        max_order = 1 if index in ("SV", "BV") else min(n, max_order)
        super().__init__(n, max_order, index, random_state=random_state, initialize_dict=False)
        self.batch_size = _checks.count("Exact", "batch_size", batch_size, least=1)

    def approximate(
        self, budget: int | None, game: Game | Callable[[np.ndarray], np.ndarray], **_: Any
    ) -> InteractionValues:
        """The index of all sets of up to `max_order` players, and v(empty) for none.

        Args:
          budget: how many coalitions may be evaluated, at least 2^n; None for no limit.
          game: a game, or a function of masks, bool ``[m, n]`` to ``[m]``.

        Returns:
          `InteractionValues` with `estimated` False and v(empty) as `baseline_value` and as entry
          ``()``, for every index (shapiq's own SII, BII and FBII have other numbers there).

        Raises:
          ValueError: too small a budget, a game of other than n players, of more than one output,
            or one that is not finite.
        """
        if budget is not None and budget < 1 << self.n:
            raise ValueError(
                f"Exact: budget must be at least 2**{self.n} = {1 << self.n} coalitions; got "
                f"{budget}. Raise it, or take an approximator that samples"
            )
        if isinstance(game, Game) and game.n_players != self.n:
            raise ValueError(f"Exact: game must have n = {self.n} players; got {game.n_players}")
        # no probe: its coalitions would come on top of the budget
        values = evaluate(game, self.n, batch_size=self.batch_size, probe=False)
        if values.ndim > 1:
            raise ValueError(
                f"Exact: game must give one number a coalition; got {len(values)}. Choose an output"
            )
        effects = indices.index(values.astype(np.float64), self.index, self.max_order)
        return to_interaction_values(effects, self.index, self.max_order)


def to_interaction_values(
    effects: Any, index: str, max_order: int | None = None, *, threshold: float | None = None
) -> InteractionValues:
    """A table of effects, of `index` or of a transform, as shapiq's `InteractionValues`.

    They have no player names in shapiq 1.4; its plots take them as ``feature_names=``.

    Args:
      effects: any array ``[2**n]``; entry 0 is v(empty), and the result's `baseline_value`.
      index: what the effects are, one of shapiq's names. shapiq renames to "SV" and "BV" what
        becomes those at order 1.
      max_order: keep orders up to this one; n for None.
      threshold: leave out |effect| <= threshold, where a look-up then gives 0.0; single players
        stay, the nodes of shapiq's graph plots. None: every set is kept, zeros too.

    Raises:
      ValueError: not one table, an unknown index, or `max_order` below 1.

    >>> to_interaction_values([1.0, 3.0, 2.0, 0.0], "Moebius", threshold=0.0).dict_values
    {(): 1.0, (0,): 3.0, (1,): 2.0}
    """
    call = "to_interaction_values"
    table = _one_table(call, "effects", effects)
    n = table.size.bit_length() - 1
    if index not in AllIndices:
        raise ValueError(f"{call}: index must be one of {', '.join(AllIndices)}; got {index!r}")
    k = n if max_order is None else min(n, _checks.count(call, "max_order", max_order, least=1))
    order = masks.orders(n)
    keep = order <= k
    if threshold is not None:
        keep &= (order <= 1) | (
            abs(table) > _checks.real(call, "threshold", threshold, positive=False)
        )
    sets = {_checks.members(s): s for s in np.flatnonzero(keep).tolist()}
    members = sorted(sets, key=lambda players: (len(players), players))  # as shapiq lists them
    return InteractionValues(
        table[[sets[players] for players in members]],
        index=index,
        max_order=k,
        min_order=0,
        n_players=n,
        interaction_lookup={players: row for row, players in enumerate(members)},
        estimated=False,
        estimation_budget=table.size,
        baseline_value=float(table[0]),
    )


def _one_table(call: str, argument: str, x: Any) -> np.ndarray:
    """x as a float64 copy ``[2**n]``."""
    x = _arrays.to_numpy(call, argument, x)
    _checks.n_players(call, argument, x.shape)
    if x.ndim != 1:
        raise ValueError(f"{call}: {argument} must be one table [2**n]; got shape {x.shape}")
    _checks.float_dtype(call, argument, x.dtype)
    return x.astype(np.float64)
