# SPDX-License-Identifier: Apache-2.0
"""nid.table: what users' tables become, and what is refused. Read again by plain Python here."""

import json
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxinter import _checks
from jaxinter.nid import table
from jaxinter.nid.table import Encoder, read

CALL = "nid.detect"
ROWS = 12


def numbers(rows=ROWS, p=3):
    return np.random.default_rng(0).normal(size=(rows, p))


def slow_one_hot(column, categories):
    return [[float(value == category) for category in categories] for value in column]


@pytest.fixture
def pd(library):
    return library("pandas")


@pytest.fixture
def frame(pd):
    """Twelve rows of each kind of column, with what it should become."""
    return pd.DataFrame(
        {
            "age": np.arange(ROWS) * 0.5,
            "town": ["Ulm", "Aachen", "Bonn"] * 4,
            "size": pd.Categorical(["S", "L"] * 6, categories=["S", "M", "L"]),
            "code": [7, 3, 3, 7] * 3,
            "member": [True, False] * 6,
            "kind": np.array(["b", "a"] * 6, object),
        }
    )


# Arrays


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i1", "u8", "bool", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_through_exactly_as_a_copy(rng, dtype, order):
    x = abs(rng.normal(size=(50, 4))) * 9
    x = np.asarray(x > 6 if dtype == "bool" else x, dtype, order=order)
    read_as = read(CALL, x, rng.normal(size=50))
    assert read_as.inputs.dtype == np.float64 and read_as.inputs.flags.c_contiguous
    np.testing.assert_array_equal(read_as.inputs, x)
    assert not np.shares_memory(read_as.inputs, x)
    assert read_as.columns.tolist() == [0, 1, 2, 3]
    assert read_as.encoder == Encoder((0, 1, 2, 3), False, {}, "regression", None)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32"])
def test_jax_and_torch(torch, dtype):
    x, y = (numbers(20, 2) * 50).astype("int32"), numbers(20, 1)
    ours = jnp.asarray(x).astype(dtype)
    theirs = torch.from_numpy(x).to(getattr(torch, dtype))
    expected = np.asarray(ours.astype(jnp.float32))
    for X, target in ((ours, jnp.asarray(y)), (theirs, torch.from_numpy(y).requires_grad_())):
        read_as = read(CALL, X, target)
        np.testing.assert_array_equal(read_as.inputs, expected)
        np.testing.assert_array_equal(read_as.encoder.encode(CALL, X), expected)
        np.testing.assert_array_equal(read_as.target, np.asarray(target.tolist())[:, 0])


def test_lists_and_one_column_targets():
    x = numbers()
    for y in (x[:, 0].tolist(), x[:, :1], tuple(x[:, 0])):
        read_as = read(CALL, x.tolist(), y)
        np.testing.assert_array_equal(read_as.inputs, x)
        np.testing.assert_array_equal(read_as.target, x[:, 0])
        assert read_as.target.dtype == np.float64 and read_as.target.shape == (ROWS,)


def test_the_target_is_a_copy():
    x, y = numbers(), np.arange(12.0)
    assert not np.shares_memory(read(CALL, x, y).target, y)


def test_masked_arrays():
    x = np.ma.masked_array(numbers(), False)
    np.testing.assert_array_equal(read(CALL, x, np.arange(12)).inputs, x.data)
    x[3, 1] = np.ma.masked
    with pytest.raises(ValueError, match=r"column 1 of X must be finite.* 1 of 12 .* row 3"):
        read(CALL, x, np.arange(12))


def test_numeric_codes_named_in_categorical():
    x = numbers()
    x[:, 1] = [20, -5, 3] * 4
    for chosen in ([1], 1, (np.int64(1),), np.array([1]), {1}):
        read_as = read(CALL, x, np.arange(12), categorical=chosen)
        assert read_as.columns.tolist() == [0, 1, 1, 1, 2]
        assert read_as.encoder.categories == {1: (-5.0, 3.0, 20.0)}
        np.testing.assert_array_equal(read_as.inputs[:, 1:4], slow_one_hot(x[:, 1], (-5, 3, 20)))
        np.testing.assert_array_equal(read_as.inputs[:, [0, 4]], x[:, [0, 2]])
    integers = (x * 10).astype(int)  # codes of another dtype are the same codes
    np.testing.assert_array_equal(
        read(CALL, integers, np.arange(12), categorical=[1]).encoder.encode(CALL, integers * 1.0),
        read(CALL, integers * 1.0, np.arange(12), categorical=[1]).inputs,
    )


codes = st.integers(-3, 3) | st.sampled_from([2**60, 2**60 + 1])


@settings(max_examples=60)
@given(st.data())
def test_laws_of_any_table(data):
    rows, p = data.draw(st.integers(10, 20)), data.draw(st.integers(2, 4))
    column = st.lists(codes, min_size=rows, max_size=rows).filter(
        lambda column: 1 < len(set(map(float, column))) and len(set(column)) < rows
    )
    x = np.array([data.draw(column) for _ in range(p)]).T
    chosen = data.draw(st.sets(st.integers(0, p - 1)))
    read_as = read(CALL, x, np.arange(rows), categorical=chosen)
    inputs, columns, encoder = read_as.inputs, read_as.columns, read_as.encoder
    assert inputs.shape == (rows, len(columns))
    assert (np.diff(columns) >= 0).all() and set(columns) == set(range(p))
    assert set(encoder.categories) == chosen
    for j in range(p):
        block = inputs[:, columns == j]
        if j in chosen:
            assert encoder.categories[j] == tuple(sorted(set(x[:, j].tolist())))
            np.testing.assert_array_equal(block, slow_one_hot(x[:, j], encoder.categories[j]))
            assert (block.sum(axis=1) == 1).all() and (block.sum(axis=0) > 0).all()
        else:
            np.testing.assert_array_equal(block, x[:, j : j + 1])
    assert Encoder.from_dict(json.loads(json.dumps(encoder.to_dict(), allow_nan=False))) == encoder
    shuffled = np.random.default_rng(0).permutation(rows)[:5]
    np.testing.assert_array_equal(encoder.encode(CALL, x[shuffled]), inputs[shuffled])


# Frames


def test_frame(frame, pd):
    read_as = read(CALL, frame, frame["age"] ** 2, categorical=["code"])
    encoder = read_as.encoder
    assert encoder.column_names == tuple(frame) and encoder.named
    assert encoder.categories == {
        1: ("Aachen", "Bonn", "Ulm"), 2: ("S", "L"), 3: (3, 7), 5: ("a", "b"),
    }  # fmt: skip
    assert read_as.columns.tolist() == [0, 1, 1, 1, 2, 2, 3, 3, 4, 5, 5]
    expected = [
        [[x] for x in frame["age"]],
        *(slow_one_hot(frame[encoder.column_names[j]], encoder.categories[j]) for j in (1, 2, 3)),
        [[float(x)] for x in frame["member"]],
        slow_one_hot(frame["kind"], ("a", "b")),
    ]
    np.testing.assert_array_equal(read_as.inputs, np.concatenate(expected, axis=1))
    assert encoder.labels([0, 3]) == ("age", "code") and encoder.labels([]) == ()
    assert read(CALL, frame, frame["age"], categorical=[3]).encoder == encoder  # by number


def test_categories_keep_the_order_of_their_dtype(frame, pd):
    frame["size"] = frame["size"].cat.reorder_categories(["M", "L", "S"])
    assert read(CALL, frame, frame["age"]).encoder.categories[2] == ("L", "S")


def test_encode_finds_columns_by_name(frame, pd):
    read_as = read(CALL, frame, frame["age"])
    other = frame[[*reversed(frame.columns)]].assign(extra="x").iloc[[4, 1, 7]]
    other["size"] = other["size"].astype(str)
    other["town"] = other["town"].astype("category")
    np.testing.assert_array_equal(read_as.encoder.encode(CALL, other), read_as.inputs[[4, 1, 7]])
    assert read_as.encoder.encode(CALL, other[:0]).shape == (0, len(read_as.columns))


def test_encode_goes_by_position_without_names(pd):
    x = numbers()
    encoder = read(CALL, x, np.arange(12)).encoder
    np.testing.assert_array_equal(encoder.encode(CALL, pd.DataFrame(x, columns=list("cba"))), x)
    encoder = read(CALL, pd.DataFrame(x, columns=list("cba")), np.arange(12)).encoder
    np.testing.assert_array_equal(encoder.encode(CALL, x), x)


def test_integer_names_are_not_positions(pd):
    x = pd.DataFrame({2: [5, 6] * 6, 0: np.arange(12.0), 1: np.arange(12.0) ** 2})
    encoder = read(CALL, x, np.arange(12), categorical=[2]).encoder
    assert encoder.column_names == (2, 0, 1) and encoder.categories == {0: (5, 6)}
    assert encoder.labels([0, 1]) == (2, 0)
    np.testing.assert_array_equal(encoder.encode(CALL, x[[0, 1, 2]]), encoder.encode(CALL, x))


@pytest.mark.parametrize(
    "dtype", ["Int64", "Float32", "boolean", "float32", "uint8", "bool", "Sparse[float]"]
)
def test_numeric_dtypes_of_frames(pd, dtype):
    x = pd.DataFrame({"a": pd.Series([0.0, 1.0, 1.0] * 4).astype(dtype), "b": np.arange(12.0)})
    read_as = read(CALL, x, np.arange(12))
    np.testing.assert_array_equal(read_as.inputs, np.stack([[0, 1, 1] * 4, np.arange(12)], 1))
    assert not read_as.encoder.categories


@pytest.mark.parametrize("dtype", ["str", "string", "object", "category"])
def test_string_dtypes_of_frames_and_missing_strings(pd, dtype):
    x = pd.DataFrame({"a": pd.Series(["u", "v", "u"] * 4).astype(dtype), "b": np.arange(12.0)})
    encoder = read(CALL, x, np.arange(12)).encoder
    assert encoder.categories == {0: ("u", "v")}
    assert {type(value) for value in encoder.categories[0]} == {str}
    x.loc[[5, 7], "a"] = None
    for refused in (lambda: read(CALL, x, np.arange(12)), lambda: encoder.encode(CALL, x)):
        with pytest.raises(ValueError, match=r"column 'a' of X .* 2 of 12 rows .* first row 5"):
            refused()


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", "float64"])
def test_missing_numbers_of_frames(pd, dtype):
    x = pd.DataFrame({"a": pd.Series([0, 1, None] * 4).astype(dtype), "b": np.arange(12.0)})
    for chosen in ([], ["a"]):
        with pytest.raises(ValueError, match=r"column 'a' of X .* 4 of 12 rows .* first row 2"):
            read(CALL, x, np.arange(12), categorical=chosen)
    with pytest.raises(ValueError, match=r"y must be finite, .* 4 of 12 rows .* first row 2"):
        read(CALL, numbers(), x["a"])


def test_numpy_names_and_categories_become_plain(pd):
    x = pd.DataFrame(numbers(12, 2), columns=pd.Index([np.int64(4), np.str_("b")], dtype=object))
    x["c"] = np.array([np.float32(0.1), np.float32(0.2)] * 6, object)
    encoder = read(CALL, x, np.array([np.str_("u"), np.str_("v")] * 6), categorical="c").encoder
    plain = (*encoder.column_names, *encoder.categories[2], *encoder.classes)
    assert [type(value) for value in plain] == [int, str, str, float, float, str, str]


# Targets


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (["no", "yes", "no"] * 4, ("no", "yes")),
        (np.array(["b", "a", "c"] * 4), ("a", "b", "c")),
        (np.array(["b", "a", "c"] * 4, object), ("a", "b", "c")),
        ([True, False] * 6, (False, True)),
        (np.array([[5], [-1]] * 6), (-1, 5)),
        (jnp.array([0.0, 1.0] * 6), (0.0, 1.0)),
        (np.array([3, 1] * 6, object), (1, 3)),
        (np.array([0.5, 1, 2] * 4), None),
    ],
)
def test_targets_of_arrays(y, classes):
    read_as = read(CALL, numbers(), y)
    assert read_as.encoder.classes == classes
    assert read_as.encoder.task == ("classification" if classes else "regression")
    if classes:
        assert read_as.target.dtype == np.int32
        assert [classes[k] for k in read_as.target] == np.ravel(y).tolist()
        assert [type(k) for k in classes] == [type(k) for k in sorted(set(np.ravel(y).tolist()))]


def test_targets_of_frames(frame, pd):
    x = numbers()
    for y, classes in (
        (frame["town"], ("Aachen", "Bonn", "Ulm")),
        (frame["size"], ("S", "L")),
        (frame["size"].array, ("S", "L")),
        (frame[["code"]], (3, 7)),
        (pd.Index(frame["member"]), (False, True)),
        (pd.Series(pd.Categorical([9, 5, 7] * 4, [9, 7, 5], ordered=True)), (9, 7, 5)),
        (frame["code"].astype("Int64"), (3, 7)),
    ):
        read_as = read(CALL, x, y)
        assert read_as.encoder.classes == classes and read_as.encoder.task == "classification"
        given = y.iloc[:, 0] if y.ndim == 2 else y
        assert [classes[k] for k in read_as.target] == list(given)


def test_the_task_can_be_said():
    x, y = numbers(), [0, 1, 2] * 4
    assert read(CALL, x, y).encoder.task == "regression"
    said = read(CALL, x, y, task="classification")
    assert said.encoder.classes == (0, 1, 2) and said.target.tolist() == y
    for two in ([0, 1] * 6, [False, True] * 6, np.array([0, 1] * 6, object)):
        said = read(CALL, x, two, task="regression")
        assert said.encoder.classes is None and said.target.dtype == np.float64
        assert said.target.tolist() == [0.0, 1.0] * 6


def test_outputs_of_a_network():
    def outputs(y):
        return read(CALL, numbers(), y).encoder.n_outputs

    assert [outputs(y) for y in (np.arange(12), ["a", "b"] * 6, ["a", "b", "c"] * 4)] == [1, 1, 3]


# Rows of pandas


def test_an_index_in_another_order_is_refused(frame, pd):
    y = frame["age"]
    with pytest.raises(ValueError, match=r"y must have its rows in the order of X.*y\.loc"):
        read(CALL, frame, y[::-1])
    read(CALL, frame, y[::-1].to_numpy())
    read(CALL, frame, y[::-1].reset_index(drop=True))
    read(CALL, frame.set_index(pd.Index(list("abcdefghijkl"))), y)


# Saving, size


def test_an_encoder_is_plain(frame):
    encoder = read(CALL, frame, frame["town"], categorical=["code"]).encoder
    for kept in (
        pickle.loads(pickle.dumps(encoder)),
        Encoder.from_dict(json.loads(json.dumps(encoder.to_dict(), allow_nan=False))),
    ):
        assert kept == encoder
        assert list(map(type, kept.categories)) == [int] * 4
        np.testing.assert_array_equal(kept.encode(CALL, frame), encoder.encode(CALL, frame))


def test_what_does_not_fit_is_refused_before_it_is_made(monkeypatch):
    x = numbers(100, 3)
    x[:, 1] = np.arange(100) // 2
    monkeypatch.setattr(_checks, "free_memory", lambda: 8 * 100 * 51)
    read(CALL, x, np.arange(100))
    with pytest.raises(ValueError, match=r"100 x 52 inputs, 41,600 bytes; .*column 1 of X has 50"):
        read(CALL, x, np.arange(100), categorical=[1])


# Bad input


def with_value(bad, *rows, column=1):
    x = numbers()
    x[list(rows), column] = bad
    return x


Y = np.arange(12.0)
TEXT = [["a", "b"]] * 12

# fmt: off
BAD_ARRAYS = [
    (lambda: read(CALL, with_value(np.nan, 4, 7), Y), ValueError, r"nid.detect: column 1 of X must be finite, without missing values; 2 of 12 rows are not, the first row 4"),
    (lambda: read(CALL, with_value(-np.inf, 2), Y), ValueError, r"column 1 of X must be finite.*1 of 12 rows.*row 2"),
    (lambda: read(CALL, with_value(np.nan, 4), Y, categorical=[1]), ValueError, r"column 1 of X must be finite.*row 4"),
    (lambda: read(CALL, with_value(np.nan, 4).round(), Y, categorical=[0]), ValueError, r"column 1 of X must be finite.*row 4"),
    (lambda: read(CALL, with_value(3.0, *range(12)), Y), ValueError, r"X must have columns that vary; constant: 1\. Drop"),
    (lambda: read(CALL, with_value(3.0, *range(12)), Y, categorical=[1]), ValueError, r"columns that vary; constant: 1\."),
    (lambda: read(CALL, numbers(12, 1), Y), ValueError, r"at least 10 rows and 2 columns; got shape \(12, 1\)"),
    (lambda: read(CALL, numbers(9), Y[:9]), ValueError, r"at least 10 rows and 2 columns; got shape \(9, 3\)"),
    (lambda: read(CALL, np.empty((0, 3)), []), ValueError, r"got shape \(0, 3\)"),
    (lambda: read(CALL, np.empty((12, 0)), Y), ValueError, r"got shape \(0, 0\)|got shape \(12, 0\)"),
    (lambda: read(CALL, Y, Y), ValueError, r"X must be \[rows, columns\]; got ndarray of shape \(12,\)"),
    (lambda: read(CALL, np.zeros((12, 2, 2)), Y), ValueError, r"of shape \(12, 2, 2\)"),
    (lambda: read(CALL, [[1], [2, 3]] * 6, Y), ValueError, r"nid.detect: X must have rows of one length"),
    (lambda: read(CALL, numbers() * 1j, Y), TypeError, r"X must hold real numbers .* got dtype complex128"),
    (lambda: read(CALL, numbers().astype(np.longdouble), Y), TypeError, r"X must hold real numbers"),
    (lambda: read(CALL, TEXT, Y), TypeError, r"X must hold numbers; got dtype <U1.*pandas frame"),
    (lambda: read(CALL, np.array(TEXT, object), Y), TypeError, r"X must hold numbers; got dtype object"),
    (lambda: read(CALL, numbers().astype("M8[s]"), Y), TypeError, r"X holds dates or times \(datetime64"),
    (lambda: read(CALL, numbers(), Y, categorical=[1]), ValueError, r"column 1 of X has a category of its own for each of 12 rows"),
    (lambda: read(CALL, numbers(), Y, categorical=[3]), ValueError, r"categorical must hold columns of X, 0, 1, 2; got 3"),
    (lambda: read(CALL, numbers(), Y, categorical=[-1]), ValueError, r"categorical .* got -1"),
    (lambda: read(CALL, numbers(), Y, categorical=["a"]), ValueError, r"categorical .* got 'a'"),
    (lambda: read(CALL, numbers(), Y, categorical=1.5), ValueError, r"categorical must hold columns of X, .* got 1\.5"),
    (lambda: read(CALL, numbers(), Y, categorical=len), ValueError, r"categorical must hold columns of X, .* got <built-in"),
    (lambda: read(CALL, numbers(), Y, categorical=[[1]]), ValueError, r"categorical .* got \[1\]"),
    (lambda: read(CALL, numbers(), Y, categorical=[False, True, False]), ValueError, r"categorical .* got False"),
    (lambda: read(CALL, numbers(12, 9), Y, categorical=9), ValueError, r"0, 1, 2, 3, 4 and 4 more; got 9"),
    (lambda: read(CALL, numbers(), Y, task="ranking"), ValueError, r"task must be one of 'regression', 'classification'; got 'ranking'"),
    (lambda: read(CALL, numbers(), Y[:11]), ValueError, r"y must have a value for each of 12 rows; got 11"),
    (lambda: read(CALL, numbers(), numbers()), ValueError, r"y must be \[rows\] or \[rows, 1\]; got shape \(12, 3\)"),
    (lambda: read(CALL, numbers(), 3.0), ValueError, r"y must be \[rows\] .* got shape \(\)"),
    (lambda: read(CALL, numbers(), with_value(np.nan, 3)[:, 1]), ValueError, r"y must be finite, .* 1 of 12 rows .* row 3"),
    (lambda: read(CALL, numbers(), with_value(np.inf, 3)[:, 1], task="classification"), ValueError, r"y must be finite, .* row 3"),
    (lambda: read(CALL, numbers(), [*"aabbaabbaab", None]), ValueError, r"y must be finite, without missing values; 1 of 12 .* row 11"),
    (lambda: read(CALL, numbers(), [*"aabbaabbaa", 1.0, 2.0]), TypeError, r"y must hold values of one kind; got number and str"),
    (lambda: read(CALL, numbers(), [[1], [2, 3]] * 6), ValueError, r"nid.detect: y must have rows of one length"),
    (lambda: read(CALL, numbers(), np.full(12, 2.0)), ValueError, r"y must vary; got one value alone"),
    (lambda: read(CALL, numbers(), ["a"] * 12), ValueError, r"y must vary; got one value alone"),
    (lambda: read(CALL, numbers(), Y * 1j), TypeError, r"y must hold real numbers .* complex"),
    (lambda: read(CALL, numbers(), Y.astype("M8[s]")), TypeError, r"y holds dates or times"),
    (lambda: read(CALL, numbers(), np.array([b"a", b"b"] * 6)), TypeError, r"y must hold real numbers .* got dtype \|S1"),
    (lambda: read(CALL, numbers(), ["a", "b"] * 6, task="regression"), TypeError, r'y must hold numbers where task="regression"; got dtype object'),
    (lambda: read(CALL, numbers(), Y, task="classification"), ValueError, r'y must have fewer classes than rows; got 12 of both. For numbers, task="regression"'),
    (lambda: read(CALL, numbers(), list("abcdefghijkl")), ValueError, r"fewer classes than rows; got 12 of both$"),
    (lambda: read(CALL, numbers(), np.array([1, 2, 3] * 4, object)), TypeError, r"y holds numbers as objects: convert them"),
    (lambda: read(CALL, numbers(), Y).encoder.encode("Detection.predict", numbers(5, 4)), ValueError, r"Detection.predict: X must have 3 columns, as it was read with; got 4"),
    (lambda: read(CALL, numbers(), Y).encoder.encode(CALL, with_value(np.nan, 1)), ValueError, r"column 1 of X must be finite"),
    (lambda: read(CALL, numbers(), Y).encoder.encode(CALL, Y), ValueError, r"X must be \[rows, columns\]"),
    (lambda: read(CALL, numbers().round(), Y, categorical=[0]).encoder.encode(CALL, numbers() + 99.5), ValueError, r"column 0 of X must hold categories that were read, .*; got [\d.]+"),
]
# fmt: on


@pytest.mark.parametrize(("call", "error", "says"), BAD_ARRAYS)
def test_bad_arrays(call, error, says):
    with pytest.raises(error, match=says):
        call()


# fmt: off
BAD_FRAMES = [
    (lambda pd, f: read(CALL, f.assign(age=np.nan), Y), ValueError, r"column 'age' of X must be finite, .* 12 of 12 rows"),
    (lambda pd, f: read(CALL, f.assign(age=1, code=2), Y), ValueError, r"constant: 'age', 'code'\. Drop them"),
    (lambda pd, f: read(CALL, f.assign(town="Ulm"), Y), ValueError, r"constant: 'town'"),
    (lambda pd, f: read(CALL, f.assign(town=list("abcdefghijkl")), Y), ValueError, r"column 'town' of X has a category of its own for each of 12 rows.* Drop it"),
    (lambda pd, f: read(CALL, f.assign(day=pd.date_range("2020", periods=12)), Y), TypeError, r"column 'day' of X holds dates or times .*Make numbers"),
    (lambda pd, f: read(CALL, f.assign(day=pd.date_range("2020", periods=12, tz="UTC")), Y), TypeError, r"column 'day' of X holds dates or times"),
    (lambda pd, f: read(CALL, f.assign(day=pd.date_range("2020", periods=12)), Y, categorical=["day"]), TypeError, r"column 'day' of X holds dates"),
    (lambda pd, f: read(CALL, f.assign(took=pd.to_timedelta(np.arange(12), "s")), Y), TypeError, r"column 'took' of X holds dates or times"),
    (lambda pd, f: read(CALL, f.assign(day=pd.Series(pd.period_range("2020", periods=12))), Y), TypeError, r"a category of column 'day' of X must be a string, .* \(Period\)"),
    (lambda pd, f: read(CALL, f.assign(bin=pd.cut(f["age"], 3)), Y), TypeError, r"a category of column 'bin' of X must be .*\(Interval\)\. Strings can be made by"),
    (lambda pd, f: read(CALL, f.assign(cell=[[1], [2]] * 6), Y), TypeError, r"column 'cell' of X must hold one string or number a row; got nested"),
    (lambda pd, f: read(CALL, f.assign(cell=[(1,), (2,)] * 6), Y), TypeError, r"a category of column 'cell' of X must be .*\(tuple\)"),
    (lambda pd, f: read(CALL, f.assign(cell=["a", 1] * 6), Y), TypeError, r"column 'cell' of X must hold values of one kind; got number and str"),
    (lambda pd, f: read(CALL, f.assign(cell=np.array([1.5, 2.5] * 6, object)), Y), TypeError, r"column 'cell' of X holds numbers as objects: convert them, X.infer_objects\(\), or name it in categorical"),
    (lambda pd, f: read(CALL, f.assign(cell=f["age"] * 1j), Y), TypeError, r"column 'cell' of X must hold numbers; got dtype complex128"),
    (lambda pd, f: read(CALL, pd.concat([f, f[["age"]]], axis=1), Y), ValueError, r"X must have a name of its own for each column; more than one is named 'age'"),
    (lambda pd, f: read(CALL, pd.DataFrame(numbers(12, 2), columns=[("a", 1), ("a", 2)]), Y), TypeError, r"a column name of X must be a string"),
    (lambda pd, f: read(CALL, pd.DataFrame(numbers(12, 2), columns=[1.0, np.nan]), Y), TypeError, r"a column name of X must be a string, a finite number"),
    (lambda pd, f: read(CALL, pd.DataFrame(), []), ValueError, r"at least 10 rows and 2 columns; got shape \(0, 0\)"),
    (lambda pd, f: read(CALL, f[["age"]], Y), ValueError, r"got shape \(12, 1\)"),
    (lambda pd, f: read(CALL, f, Y, categorical=["height"]), ValueError, r"categorical must hold columns of X, 'age', 'town', 'size', 'code', 'member' and 1 more; got 'height'"),
    (lambda pd, f: read(CALL, f, f[["age", "code"]]), ValueError, r"y must be \[rows\] or \[rows, 1\]; got shape \(12, 2\)"),
    (lambda pd, f: read(CALL, f, pd.date_range("2020", periods=12)), TypeError, r"y holds dates or times"),
    (lambda pd, f: read(CALL, f, f["size"], task="regression"), TypeError, r"y must hold numbers .* got dtype category"),
    (lambda pd, f: read(CALL, f, f["town"], task="regression"), TypeError, r"y must hold numbers where task"),
    (lambda pd, f: read(CALL, f, f["town"].where(f["age"] > 1)), ValueError, r"y must be finite, without missing values; 3 of 12 rows are not, the first row 0"),
    (lambda pd, f: read(CALL, f, Y).encoder.encode(CALL, f.drop(columns=["age", "kind"])), ValueError, r"columns it was read with; missing: 'age', 'kind'"),
    (lambda pd, f: read(CALL, f, Y).encoder.encode(CALL, f.assign(town="Rome")), ValueError, r"column 'town' of X must hold categories that were read, 'Aachen', 'Bonn', 'Ulm'; got 'Rome'"),
    (lambda pd, f: read(CALL, f, Y).encoder.encode(CALL, f.assign(age="old")), TypeError, r"column 'age' of X must hold numbers; got dtype (str|object)"),
    (lambda pd, f: read(CALL, f, Y).encoder.encode(CALL, numbers(4, 6)), ValueError, r"column 'town' of X must hold categories that were read"),
    (lambda pd, f: read(CALL, f, Y).encoder.encode(CALL, numbers(4, 5)), ValueError, r"X must have 6 columns"),
]
# fmt: on


@pytest.mark.parametrize(("call", "error", "says"), BAD_FRAMES)
def test_bad_frames(call, error, says, pd, frame):
    with pytest.raises(error, match=says):
        call(pd, frame)


def test_frames_of_other_libraries_say_so():
    class Frame:
        def to_pandas(self):
            raise AssertionError

    with pytest.raises(TypeError, match=r"or a pandas frame; got Frame\. Use X\.to_pandas\(\)"):
        read(CALL, Frame(), Y)


def test_nothing_optional_is_imported():
    assert not {"pandas", "torch"} & set(vars(table))
