# SPDX-License-Identifier: Apache-2.0
"""Texts: words or spans as players, tokens replaced, averaged, hidden or dropped."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxinter.adapters.model import CALL, Model, host, key, read_target, shape_of
from jaxinter.assemble import masked_inputs
from jaxinter.players import read_choice, token_players, word_spans
from jaxinter.value_fn import ValueFunction

# In this order, the first that the tokenizer has stands for an absent word. Their usual texts, for
# the library tokenizers, which does not say what a token is for.
REPLACEMENTS = {
    "mask": ("[MASK]", "<mask>"),
    "unk": ("[UNK]", "<unk>"),
    "pad": ("[PAD]", "<pad>"),
    "eos": ("</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>"),
}


class Tokens(NamedTuple):
    """A tokenized text: arrays ``[tokens]``, and where each token lies in the text."""

    ids: np.ndarray
    offsets: np.ndarray  # [tokens, 2]
    extra: dict[str, np.ndarray]  # token_type_ids, where the tokenizer gives them


def text_value_function(
    model: Model,
    text: str,
    tokenizer: Any,
    *,
    target: Any,
    output: Any,
    players: Any,
    baseline: Any,
    seed: int,
    player_names: Any,
) -> ValueFunction:
    """`value_function` for a text.

    The model takes ``input_ids`` and ``attention_mask`` (and what else the tokenizer gives) and
    gives logits ``[m, classes]``, or of a language model ``[m, tokens, vocabulary]``: then those at
    the mask token in the text, or, where it has none, after the last token.
    """
    tokens = _tokenize(tokenizer, text)
    masked_at = np.flatnonzero(tokens.ids == _special(tokenizer, "mask"))
    spans = _spans(text, tokens, players, seed, tokens.offsets[masked_at])
    seats = token_players(tokens.offsets, spans)
    names = [text[a:b] for a, b in spans] if player_names is None else player_names
    if len(names) != len(spans):
        raise ValueError(
            f"{CALL}: player_names must be {len(spans)}, one a player; got {len(names)}"
        )
    rule = _rule(model, tokenizer, tokens, seats, baseline)

    def outputs_of(masks: np.ndarray) -> Any:
        inputs, kept = rule(masks)
        logits = model.forward({name: model.place(array) for name, array in inputs.items()})
        if len(shape_of(logits)) != 3:
            return logits
        if len(masked_at) > 1:
            raise ValueError(
                f"{CALL}: text must hold one mask token for a language model; got {len(masked_at)}"
            )
        last = kept.sum(axis=1) if not len(masked_at) else kept[:, : masked_at[0] + 1].sum(axis=1)
        return logits[np.arange(len(logits)), last - 1]

    everyone = np.ones((1, len(spans)), bool)
    first = outputs_of(everyone)
    target = model.numbered(target)
    if isinstance(target, str) and target not in ("predicted", "all"):
        target = _token(tokenizer, target)
    measure, target = read_target(first, target, output, model.scores)
    row = {name: model.place(array)[0] for name, array in rule(everyone)[0].items()}
    return ValueFunction(
        lambda masks: host(measure(outputs_of(masks), target)),
        len(spans),
        tuple(map(str, names)),
        seats,
        target,
        model.first(row)[1],
        model.on_cpu,
        key(tokens.ids, seats, repr(baseline), target, output if isinstance(output, str) else ""),
    )


def _rule(
    model: Model, tokenizer: Any, tokens: Tokens, seats: np.ndarray, baseline: Any
) -> Callable[[np.ndarray], tuple[dict[str, Any], np.ndarray]]:
    """Masks to the model's inputs, and which tokens of the text they hold."""
    ids, length = tokens.ids, len(tokens.ids)

    def whole(masks: np.ndarray, **changed: Any) -> tuple[dict[str, Any], np.ndarray]:
        arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), **tokens.extra}
        batch = {k: np.broadcast_to(v, (len(masks), length)) for k, v in arrays.items()}
        return {**batch, **changed}, np.ones((len(masks), length), bool)

    def replaced(masks: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        return whole(masks, input_ids=masked_inputs(masks, ids, token, seats))

    def hidden(masks: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        return whole(masks, attention_mask=masked_inputs(masks, np.ones_like(ids), 0, seats))

    def dropped(masks: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        kept = masked_inputs(masks, np.ones(length, bool), False, seats)
        order = np.argsort(~kept, axis=1, kind="stable")  # the kept close up, the rest is padding
        there = np.arange(length) < kept.sum(axis=1, keepdims=True)
        batch = {"input_ids": np.where(there, ids[order], pad)}
        batch |= {name: array[order] for name, array in tokens.extra.items()}
        return {**batch, "attention_mask": there.astype(ids.dtype)}, kept

    def embedded(masks: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        inputs, kept = whole(masks, inputs_embeds=masked_inputs(masks, x, fill, seats[:, None]))
        del inputs["input_ids"]
        return inputs, kept

    rule = baseline if isinstance(baseline, str) else ""
    if rule in ("mean", "zero"):
        embedding = getattr(getattr(model, "module", None), "get_input_embeddings", lambda: None)()
        if embedding is None:
            raise ValueError(
                f"{CALL}: baseline {baseline!r} needs a model with get_input_embeddings(); "
                f"{type(model.function).__name__} has none"
            )
        x = embedding(model.place(ids)).detach()
        # Over the players' tokens: paper 002, appendix J.3.
        fill = x[np.flatnonzero(seats >= 0)].mean(0) if rule == "mean" else 0 * x[0]
        return embedded
    if rule == "hide":
        return hidden
    if rule == "drop":
        pad = _special(tokenizer, "pad") or 0  # what stands there is hidden by the attention mask
        return dropped
    token = _replacement(tokenizer, baseline)
    return replaced


def _replacement(tokenizer: Any, baseline: Any) -> int:
    if isinstance(baseline, (int, np.integer)):
        return int(baseline)
    if not isinstance(baseline, (str, type(None))):
        raise TypeError(
            f"{CALL}: baseline of a text must be a token (text or id), or a name; got "
            f"{type(baseline).__name__}"
        )
    names = list(REPLACEMENTS) if baseline is None else [baseline]
    for name in names:
        found = _special(tokenizer, name) if name in REPLACEMENTS else _token(tokenizer, name)
        if found is not None:
            return found
    raise ValueError(
        f'{CALL}: baseline must be "mask", "drop", "hide", "mean" or "zero" (embeddings), or a '
        f"token (text or id) that the tokenizer knows; got {baseline!r}"
    )


def _spans(
    text: str, tokens: Tokens, players: Any, seed: int, holes: np.ndarray
) -> list[tuple[int, int]]:
    """Where the players are in the text; the mask token, a `hole`, is none unless it is named."""
    if isinstance(players, str) or players is None:
        choice = read_choice(CALL, players or "words")
        if choice.of == "tokens":
            spans = [(int(a), int(b)) for a, b in tokens.offsets if b > a]
        elif choice.of == "words":
            spans = word_spans(text, choice.k or None, seed=seed)
        else:
            raise ValueError(
                f'{CALL}: players of a text are "words", "tokens" or lists; got {players!r}'
            )
        return [(a, b) for a, b in spans if not any(a < end and b > start for start, end in holes)]
    chosen = list(players)
    if chosen and all(np.shape(c) == (2,) and not isinstance(c[0], str) for c in chosen):
        return [(int(a), int(b)) for a, b in chosen]
    return word_spans(text, chosen)


def _tokenize(tokenizer: Any, text: str) -> Tokens:
    """Of a fast tokenizer of transformers, or of the library tokenizers."""
    if hasattr(tokenizer, "encode") and hasattr(tokenizer, "token_to_id"):
        found = tokenizer.encode(text)
        real = np.array(found.attention_mask, bool)  # without what it was padded with
        ids, offsets, types = (
            np.array(a)[real] for a in (found.ids, found.offsets, found.type_ids)
        )
        return Tokens(ids, offsets, {"token_type_ids": types} if types.any() else {})
    try:
        found = tokenizer(text, return_offsets_mapping=True)
    except (NotImplementedError, TypeError) as error:
        raise TypeError(
            f"{CALL}: tokenizer must be a fast tokenizer of transformers (with offsets), or one of "
            f"the library tokenizers; got {type(tokenizer).__name__} ({error})"
        ) from error
    extra = {k: np.array(v) for k, v in found.items() if k == "token_type_ids"}
    return Tokens(np.array(found["input_ids"]), np.array(found["offset_mapping"]), extra)


def _special(tokenizer: Any, name: str) -> int | None:
    """The id of the tokenizer's mask, unk, pad or eos token."""
    if hasattr(tokenizer, "token_to_id"):
        found = map(tokenizer.token_to_id, REPLACEMENTS[name])
        return next((i for i in found if i is not None), None)
    return getattr(tokenizer, f"{name}_token_id", None)


def _token(tokenizer: Any, text: str) -> int:
    """The id of one token, as text."""
    known = tokenizer.get_vocab()
    if text in known:
        return int(known[text])
    found = tokenizer.encode(text, add_special_tokens=False)
    ids = getattr(found, "ids", found)
    if len(ids) != 1 or ids[0] == _special(tokenizer, "unk"):
        raise ValueError(
            f"{CALL}: {text!r} must be one token; the tokenizer makes {len(ids)} of it, ids {ids}"
        )
    return int(ids[0])
