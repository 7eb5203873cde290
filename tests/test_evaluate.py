# SPDX-License-Identifier: Apache-2.0
"""Stage 3c: every coalition once, in chunks; probed, stopped anywhere, resumed to the same bits."""

import builtins
import gc
import inspect
import os
import re
import signal
import subprocess
import sys
import time
import warnings
import weakref
from contextlib import contextmanager

import jax.numpy as jnp
import numpy as np
import pytest

import jaxinter as ji
from jaxinter import _checks, _progress
from jaxinter._table_file import Layout, TableFile

N = 6


class Recorded:
    """A function of masks: which coalitions it was given, call for call; raises when told to."""

    def __init__(self, worth, most=None):
        self.worth, self.most = worth, most
        self.calls, self.at, self.error = [], None, None

    def before(self, call, error):
        self.calls.clear()
        self.at, self.error = call, error

    def __call__(self, masks):
        self.calls.append(ji.encode(masks).tolist())
        if len(self.calls) == self.at:
            raise self.error
        if self.most and len(masks) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return self.worth(masks)

    @property
    def sizes(self):
        return [len(call) for call in self.calls]


def perceptron(seed=0, n=N, outputs=None, hidden=64):
    """A float32 network: the bits of a row depend on how many are computed with it."""
    rng = np.random.default_rng(seed)
    into = rng.normal(size=(n, hidden)).astype(np.float32)
    out = rng.normal(size=(hidden,) if outputs is None else (hidden, outputs)).astype(np.float32)
    return lambda masks: np.tanh(masks.astype(np.float32) @ into) @ out


def players_present(masks):
    return masks.sum(axis=1)


def of_batch(masks):
    """A network quantized by the largest number of its batch."""
    sums = masks @ np.sqrt(np.arange(1.0, masks.shape[1] + 1))
    step = max(np.abs(sums).max(), 1.0) / 7
    return np.round(sums / step) * step


def of_range(first, end, size):
    return [list(range(a, min(a + size, end))) for a in range(first, end, size)]


KILLED = """
import os, sys, time
from pathlib import Path
import numpy as np
import jaxinter as ji

N = 6
here = Path(sys.argv[1])

{perceptron}

calls = []

def logged(seed):
    worth = perceptron(seed, 10)

    def value_fn(masks):
        with open(here / "log", "a") as log:
            print(seed, ji.encode(masks)[0], len(masks), file=log)
        calls.append(seed)
        time.sleep(0.01 if len(calls) < 12 else 60)
        return worth(masks)

    return value_fn

{call}
"""


@pytest.fixture(autouse=True, scope="class")
def small_heap():
    """Where memory runs out, garbage is collected: a tenth of a second in all that pytest holds."""
    gc.freeze()
    yield
    gc.unfreeze()


@contextmanager
def killed(call, here, calls=8):
    """A process that runs `call`; the block begins at its given call of v and ends in SIGKILL."""
    code = KILLED.format(perceptron=inspect.getsource(perceptron), call=call)
    process = subprocess.Popen([sys.executable, "-c", code, str(here)], cwd=here)
    try:
        while not (here / "log").exists() or len(log(here)) < calls:
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.005)
        yield
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL


def log(here):
    """(seed, first coalition, size) of each call of the killed process."""
    return [tuple(map(int, line.split())) for line in (here / "log").read_text().splitlines()]


PROBED = [[0, 63, 0b010101, 0b001001]]


class TestEvaluate:
    @pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
    def test_every_coalition_once_in_order(self, batch_size):
        value_fn = Recorded(lambda masks: masks @ np.array([1.0, 2.0, 4.0]))
        np.testing.assert_array_equal(ji.evaluate(value_fn, 3, batch_size=batch_size), np.arange(8))
        assert value_fn.calls == of_range(0, 8, batch_size)

    def test_outputs_lead_and_any_array_is_taken(self):
        table = ji.evaluate(lambda masks: jnp.asarray(masks).astype(jnp.float32), 3, batch_size=4)
        assert table.dtype == np.float32 and table.flags.c_contiguous
        np.testing.assert_array_equal(table, ji.all_masks(3).T)

    def test_torch_with_a_gradient_due(self, torch):
        weights = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
        table = ji.evaluate(lambda masks: torch.from_numpy(masks).float() @ weights, 3)
        np.testing.assert_array_equal(table, np.arange(8))

    def test_a_buffer_that_the_model_writes_again(self):
        buffer = np.empty(4)

        def value_fn(masks):
            buffer[: len(masks)] = masks.sum(axis=1)
            return buffer[: len(masks)]

        np.testing.assert_array_equal(ji.evaluate(value_fn, 4, batch_size=4), ji.orders(4))
        ji.evaluate(value_fn, 5, batch_size=2, probe=True)  # the probe is cut in two

    def test_a_wider_chunk_widens_the_table(self):
        def value_fn(masks):
            first = not masks.any()
            return np.full(len(masks), 16777217.0, np.float32 if first else np.float64)

        table = ji.evaluate(value_fn, 1, batch_size=1)
        assert table[1] == 16777217.0

    @pytest.mark.parametrize("probe", [None, True])
    @pytest.mark.parametrize("n", [0, 1, 2])
    def test_few_players(self, n, probe, tmp_path):
        worth = lambda masks: masks.sum(axis=1) + 3  # noqa: E731
        for resume in (None, tmp_path / "table", tmp_path / "table"):
            table = ji.evaluate(worth, n, probe=probe, resume=resume)
            np.testing.assert_array_equal(table, ji.orders(n) + 3.0)

    def test_a_value_function_knows_its_players(self):
        v = ji.ValueFunction(players_present, 3)
        np.testing.assert_array_equal(ji.evaluate(v), ji.orders(3))
        np.testing.assert_array_equal(ji.evaluate(v, 3), ji.orders(3))
        with pytest.raises(ValueError, match="n must be 3, as value_fn says; got 4"):
            ji.evaluate(v, 4)
        with pytest.raises(TypeError, match="n must be given, the number of players"):
            ji.evaluate(players_present)

    def test_tables_that_do_not_fit(self, monkeypatch, tmp_path):
        """Said after the first chunk, where the outputs are known, and before a file is made."""
        monkeypatch.setattr(_checks, "free_memory", lambda: 1000)
        v = Recorded(lambda masks: masks.astype(np.float32))
        with pytest.raises(ValueError, match=r"n = 6 players need 1,536 bytes; .* 1,000 free"):
            ji.evaluate(v, 6, batch_size=4)
        assert len(v.calls) == 1
        with pytest.raises(ValueError, match="n = 6 players need 1,536 bytes"):
            ji.evaluate(v, 6, resume=tmp_path / "table")
        assert not any(tmp_path.iterdir())
        with pytest.raises(ValueError, match="n = 7 players need 1,024 bytes"):
            ji.evaluate(v, 7)


class TestBadWorths:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("outputs", [None, 2])
    def test_named_by_coalition_and_players(self, bad, outputs):
        def worth(masks):
            values = np.where(ji.encode(masks) >= 5, bad, 0.0)
            return values if outputs is None else np.stack([0 * masks[:, 0], values], axis=1)

        names = ("sky", "dog", "grass")
        got = f"{bad}" if outputs is None else rf"\[ *0\. +{bad} *\]"
        coalition = rf"got {got} at coalition 5 \(players \[0, 2\] present"
        with pytest.raises(ValueError, match=coalition + ": sky, grass"):
            ji.evaluate(ji.ValueFunction(worth, 3, names), batch_size=2)
        with pytest.raises(ValueError, match=coalition + r"\)"):
            ji.evaluate(worth, 3, batch_size=2)

    @pytest.mark.parametrize(
        ("worth", "message"),
        [
            (lambda masks: masks.sum(), r"m = 4; got shape \(\)"),
            (lambda masks: masks.sum(axis=1)[1:], r"m = 4; got shape \(3,\)"),
            (lambda masks: masks[:, :, None] * 1.0, r"m = 4; got shape \(4, 3, 1\)"),
            (lambda masks: masks.T * 1.0, r"m = 4; got shape \(3, 4\)"),
            (lambda masks: masks[:, 0] * 1j, r"value_fn must hold real numbers .* complex128"),
            (lambda masks: ["a"] * len(masks), r"value_fn must hold real numbers .* <U1"),
            (lambda masks: None, r"got shape \(\)"),
        ],
    )
    def test_wrong_shape_or_dtype_is_said_at_the_first_chunk(self, worth, message):
        value_fn = Recorded(worth)
        with pytest.raises((ValueError, TypeError), match=f"evaluate: .*{message}"):
            ji.evaluate(value_fn, 3, batch_size=4)
        assert value_fn.calls == [[0, 1, 2, 3]]

    def test_outputs_that_change(self, tmp_path):
        def worth(masks):
            return masks * 1.0 if masks[0, 3] else masks[:, :2] * 1.0

        with pytest.raises(ValueError, match=r"gave \(2,\) outputs a coalition, then \(4,\)"):
            ji.evaluate(worth, 4, batch_size=8, probe=False)
        dtype = lambda masks: masks[:, 0].astype(np.float32 if masks[0, 3] else float)  # noqa: E731
        with pytest.raises(ValueError, match=r"\(\) outputs of float64 a coalition, then \(\) of"):
            ji.evaluate(dtype, 4, batch_size=8, resume=tmp_path / "table")

    def test_what_the_model_raises_comes_through_with_the_coalitions(self):
        value_fn = Recorded(players_present)
        value_fn.before(2, ValueError("a layer of mine"))
        with pytest.raises(ValueError, match=r"^a layer of mine") as caught:
            ji.evaluate(value_fn, 4, batch_size=4)
        assert caught.value.__notes__ == ["evaluate: at coalitions 4 to 7 of 16"]
        assert len(value_fn.calls) == 2  # it is not tried again


class TestMemory:
    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
            RuntimeError("RESOURCE_EXHAUSTED: failed to allocate request for 2.0GiB"),
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            RuntimeError("std::bad_alloc"),
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        ],
        ids=lambda error: str(error)[:20],
    )
    def test_a_call_that_runs_out_is_halved_and_so_are_those_after_it(self, error):
        def worth(masks):
            if len(masks) > 5:
                raise error
            return masks.sum(axis=1)

        value_fn = Recorded(worth)
        table = ji.evaluate(value_fn, 5, batch_size=16)
        np.testing.assert_array_equal(table, ji.orders(5))
        failed, rest = value_fn.calls[:2], value_fn.calls[2:]
        assert failed == [list(range(16)), list(range(8))]
        assert rest == of_range(0, 32, 4)

    def test_down_to_one_and_then_the_error_itself(self):
        value_fn = Recorded(players_present, most=0.5)
        with pytest.raises(RuntimeError, match="CUDA out of memory") as caught:
            ji.evaluate(value_fn, 4, batch_size=11)
        assert value_fn.sizes == [11, 5, 2, 1]
        assert caught.value.__notes__ == ["evaluate: at coalitions 0 to 0 of 16"]

    def test_what_the_failed_call_held_is_free_at_the_next(self):
        class Activations:
            pass

        held = []

        def value_fn(masks):
            assert all(reference() is None for reference in held)
            activations = Activations()
            held.append(weakref.ref(activations))
            if len(masks) > 2:
                raise MemoryError
            return masks.sum(axis=1)

        ji.evaluate(value_fn, 3, batch_size=8)
        assert len(held) == 2 + 4

    def test_in_the_probe(self):
        value_fn = Recorded(players_present, most=3)
        np.testing.assert_array_equal(ji.evaluate(value_fn, 8, probe=True), ji.orders(8))
        assert value_fn.sizes[0] == 4 and max(value_fn.sizes[1:]) == 2

    @pytest.mark.parametrize(
        ("row_bytes", "on_cpu", "free", "memory", "rows"),
        [
            (1000, True, 1 << 40, 8191, 8),
            (1000, True, 1 << 40, 8000, 8),
            (1000, True, 1 << 40, 7999, 4),
            (1000, True, 1 << 40, 1, 1),
            (1000, True, 100_000, 64_000, 64),  # as told, whatever is free
            (1, True, 1 << 40, 1 << 40, 8192),
            (1 << 20, True, 1 << 40, None, 64),
            (1 << 20, False, 1 << 40, None, 1024),
            (1 << 20, False, 1 << 28, None, 64),
            (0, True, 1 << 40, None, 1024),
        ],
    )
    def test_the_budget_decides_the_size_of_a_chunk(
        self, row_bytes, on_cpu, free, memory, rows, monkeypatch
    ):
        monkeypatch.setattr(_checks, "free_memory", lambda: max(free, 8 << 14))
        n = max(3, rows.bit_length())  # two chunks at least
        worth = Recorded(players_present)
        v = ji.ValueFunction(worth, n, row_bytes=row_bytes, on_cpu=on_cpu)
        ji.evaluate(v, memory=memory, probe=False)
        assert set(worth.sizes) == {rows}

    def test_bad_budgets(self):
        for memory in (0, -1, 1.5):
            with pytest.raises(ValueError, match="memory must be a whole number >= 1"):
                ji.evaluate(players_present, 3, memory=memory)
        with pytest.raises(ValueError, match="batch_size must be a whole number >= 1; got 'fast'"):
            ji.evaluate(players_present, 3, batch_size="fast")


class TestProbe:
    def test_a_model_that_is_not_deterministic(self, rng):
        def value_fn(masks):
            return masks.sum(axis=1) + rng.uniform(-0.5, 0.5, size=len(masks))

        with pytest.warns(RuntimeWarning, match=r"not deterministic: .* by up to 0\.\d") as caught:
            table = ji.evaluate(value_fn, 8)
        np.testing.assert_allclose(table, ji.orders(8), atol=0.5)
        assert len(caught) == 1 and caught[0].filename == __file__

    def test_the_other_rows_of_the_batch_matter(self):
        """By a mean over the batch: of 0, 8, 4 and 3 players; then of 4, 4, 3 and 3."""

        def of_mean(masks):
            return masks.sum(axis=1) + masks.sum(axis=1).mean()

        with pytest.warns(RuntimeWarning, match=r"other rows of its batch, by up to 0\.25 ") as got:
            table = ji.evaluate(of_mean, 8, batch_size=256)
        np.testing.assert_array_equal(table, ji.orders(8) + 4)
        assert len(got) == 1 and got[0].filename == __file__
        assert "batch_size=1 or" in str(got[0].message)

    @pytest.mark.parametrize("resume", [False, True])
    def test_safe_evaluates_one_by_one_where_it_is_due(self, resume, tmp_path):
        path = tmp_path / "table" if resume else None
        expected = [of_batch(mask[None])[0] for mask in ji.all_masks(8)]
        with pytest.warns(RuntimeWarning, match="They are evaluated one by one"):
            table = ji.evaluate(of_batch, 8, batch_size="safe", resume=path)
        np.testing.assert_array_equal(table, expected)
        with pytest.warns(RuntimeWarning, match="depends on the other rows"):
            table = ji.evaluate(of_batch, 8)
        assert np.abs(table - expected).max() > 1

    def test_safe_costs_nothing_where_it_is_not(self):
        value_fn = Recorded(perceptron(n=9))
        table = ji.evaluate(value_fn, 9, batch_size="safe")
        np.testing.assert_array_equal(table, ji.evaluate(value_fn.worth, 9))
        assert value_fn.sizes[-1] == 512 and sum(value_fn.sizes[:-1]) <= 16

    def test_one_by_one_there_are_no_other_rows(self):
        table = ji.evaluate(of_batch, 8, batch_size=1)
        np.testing.assert_array_equal(table, [of_batch(m[None])[0] for m in ji.all_masks(8)])

    @pytest.mark.parametrize("outputs", [None, 3])
    @pytest.mark.parametrize("hidden", [3, 64, 1500])
    def test_rounding_is_no_alarm(self, outputs, hidden):
        for seed in range(5):
            worth = perceptron(seed, 8, outputs, hidden)
            ji.evaluate(worth, 8)
            ji.evaluate(lambda masks, worth=worth: worth(masks) / 1e6 + 1e3, 8)

    def test_noise_of_rounding_is_no_alarm(self, rng):
        """As sums in any order have it, on a GPU."""
        worth = perceptron(n=8)
        ji.evaluate(lambda masks: worth(masks) * (1 + 1e-6 * rng.normal(size=len(masks))), 8)

    def test_rounding_of_torch_is_no_alarm(self, torch):
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Linear(8, 300), torch.nn.BatchNorm1d(300), torch.nn.Linear(300, 1)
        )

        def worth(masks):
            with torch.inference_mode():
                return net(torch.from_numpy(masks).float())[:, 0]

        ji.evaluate(net.eval() and worth, 8)
        net.train()
        with pytest.warns(RuntimeWarning, match="depends on the other rows of its batch"):
            ji.evaluate(worth, 8)

    @pytest.mark.parametrize("n", [7, 8])
    def test_from_8_players_on_or_as_told(self, n):
        value_fn = Recorded(players_present)
        counts = []
        for probe in (None, True, False):
            value_fn.before(None, None)
            ji.evaluate(value_fn, n, probe=probe)
            counts.append(len(value_fn.calls))
        assert counts == [3 if n == 8 else 1, 3, 1]
        with warnings.catch_warnings(action="error"):
            ji.evaluate(of_batch, n, probe=False)


class TestProgress:
    def test_says_what_how_many_and_how_fast(self, monkeypatch, capfd):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "120")

        def slowly(masks):
            time.sleep(0.02)
            return masks.sum(axis=1)

        ji.evaluate(slowly, 5, batch_size=2, progress=True)
        out, shown = capfd.readouterr()
        assert out == ""
        assert "evaluating" in shown and "32/32" in shown
        assert "/s" in shown and "0:00:0" in shown
        ji.evaluate(slowly, 1, progress="my network")
        assert "my network" in capfd.readouterr().err
        ji.evaluate(slowly, 1)
        assert capfd.readouterr().err == ""

    def test_a_log_gets_a_line_now_and_then(self, monkeypatch, capfd):
        monkeypatch.setattr(_progress, "SECONDS_A_LINE", 0.05)

        def slowly(masks):
            time.sleep(0.02)
            return masks.sum(axis=1)

        ji.evaluate(slowly, 5, batch_size=2, progress=True)
        lines = capfd.readouterr().err.splitlines()
        assert 2 <= len(lines) <= 7
        assert all(re.fullmatch(r"evaluating: \d+ of 32, [\d.]+/s, \d+ s left", x) for x in lines)

    def test_counts_on_where_a_run_goes_on(self, monkeypatch, tmp_path):
        counted = []

        @contextmanager
        def counter(title, total):
            counted.append((title, total))
            yield counted.append

        monkeypatch.setattr(_progress, "counter", counter)
        value_fn = Recorded(players_present)
        value_fn.before(5, KeyboardInterrupt())
        fns = [ji.ValueFunction(players_present, 3, key="a"), ji.ValueFunction(value_fn, 3)]
        options = {"batch_size": 2, "progress": True, "resume": tmp_path / "tables.npz"}
        with pytest.raises(KeyboardInterrupt):
            ji.evaluate_samples(fns, **options)
        assert counted == [("evaluating", 16), 0, 2, 4, 6, 8, 8, 8, 10, 12]
        value_fn.before(None, None)
        counted.clear()
        ji.evaluate_samples(fns, **options)
        assert counted == [("evaluating", 16), 8, 12, 14, 16, 16]
        counted.clear()
        ji.evaluate(players_present, 3, batch_size=4, progress="mine")
        assert counted == [("mine", 8), 4, 8]


class TestResume:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "made" / "table"

    def run(self, value_fn, path, **options):
        return ji.evaluate(value_fn, N, resume=path, probe=False, **{"batch_size": 8} | options)

    def stopped(self, worth, path, **options):
        """A run that ends at its sixth call: the probe is the first, each other a chunk of 8."""
        worth.before(6, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            self.run(ji.ValueFunction(worth, N, row_bytes=1000), path, **options)
        worth.before(None, None)

    @pytest.mark.parametrize("outputs", [None, 3])
    @pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("lost"), SystemExit()])
    def test_a_stop_loses_one_chunk(self, error, outputs, path):
        value_fn = Recorded(perceptron(outputs=outputs))
        expected = ji.evaluate(value_fn, N, batch_size=8)
        value_fn.before(6, error)
        with pytest.raises(type(error)) as caught:
            self.run(value_fn, path)
        assert f"32 of 64 coalitions are in {path}" in caught.value.__notes__[-1]
        value_fn.before(None, None)
        # The traceback that is kept, as notebooks do, is not in the way.
        table = self.run(value_fn, path)
        assert value_fn.calls == PROBED + of_range(32, 64, 8)
        np.testing.assert_array_equal(table, expected)
        assert table.dtype == expected.dtype and table.flags.c_contiguous
        value_fn.before(None, None)
        np.testing.assert_array_equal(self.run(value_fn, str(path)), expected)
        assert value_fn.calls == PROBED
        assert [file.name for file in path.parent.iterdir()] == ["table"]

    def test_the_table_is_no_window_on_the_file(self, path):
        table = self.run(perceptron(), path)
        kept = table.copy()
        table[:] = 0
        np.testing.assert_array_equal(self.run(perceptron(), path), kept)

    def test_a_kill_loses_one_chunk(self, tmp_path):
        """SIGKILL, and before it another process is refused."""
        path, value_fn = tmp_path / "table", Recorded(perceptron(n=10))
        with killed("ji.evaluate(logged(0), 10, batch_size=32, resume=here / 'table')", tmp_path):
            with pytest.raises(ValueError, match="in use by another process"):
                ji.evaluate(value_fn, 10, resume=path)
        started = [first for _, first, size in log(tmp_path) if size == 32]
        value_fn.before(None, None)
        table = ji.evaluate(value_fn, 10, resume=path)
        np.testing.assert_array_equal(table, ji.evaluate(perceptron(n=10), 10, batch_size=32))
        resumed = [call[0] for call in value_fn.calls if len(call) == 32]
        assert started == list(range(0, started[-1] + 1, 32))
        assert resumed == list(range(resumed[0], 1024, 32))
        assert resumed[0] in (started[-1], started[-1] + 32)  # it ended before the kill came

    @pytest.mark.parametrize("part", ["values", "checksum", "rows"])
    def test_a_damaged_block_is_evaluated_again(self, part, path):
        value_fn = Recorded(perceptron())
        expected = self.run(value_fn, path)
        content = bytearray(path.read_bytes())
        start = len(content) - 64 * 4
        flipped = {"values": start + 8 * 4 * 3, "checksum": start - 64 + 8 * 3}
        content[flipped.get(part, start - 64 + 8 * 3 + 4)] ^= 64
        path.write_bytes(content)
        value_fn.before(None, None)
        with pytest.warns(RuntimeWarning, match=r"1 of 8 blocks .*coalitions 24 to 31 ") as caught:
            table = self.run(value_fn, path)
        assert caught[0].filename == __file__
        assert value_fn.calls == PROBED + of_range(24, 32, 8)
        np.testing.assert_array_equal(table, expected)
        self.run(value_fn, path)  # without a warning

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda content: b"", "must be a file that evaluate wrote, or a new name"),
            (lambda content: b"\0" * 9999, "must be a file that evaluate wrote"),
            (lambda content: content[:5], "must be a file that evaluate wrote"),
            (lambda content: content[:40], "damaged in its first lines"),
            (lambda content: content.replace(b'"n": 6', b'"n": 7'), "damaged in its first lines"),
            (lambda content: content[:-1], "must be of 4,416 bytes; got 4,415"),
            (lambda content: content[:4096], "must be of 4,416 bytes; got 4,096"),
            (lambda content: content + b"\0", "must be of 4,416 bytes; got 4,417"),
        ],
    )
    def test_other_and_broken_files_are_refused_and_left_alone(self, change, message, path):
        self.run(perceptron(), path)
        content = change(path.read_bytes())
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"evaluate: resume .*{message}"):
            self.run(perceptron(), path)
        assert path.read_bytes() == content

    @pytest.mark.parametrize(
        ("value_fn", "n", "message"),
        [
            (perceptron(n=5), 5, "holds 6 players; got n = 5"),
            (perceptron(1), 6, r"of another model, input or setting: v of coalition 63 was .*, is"),
            (perceptron(outputs=2), 6, r"holds \(\) outputs a coalition, this one gives \(2,\)"),
            (lambda masks: perceptron()(masks).astype(float), 6, "holds float32, .* gives float64"),
            (lambda masks: perceptron()(masks) * 1.01, 6, "of another model, input or setting"),
            (lambda masks: perceptron()(~masks), 6, "of another model, input or setting"),
            (lambda masks: perceptron()(masks[:, ::-1]), 6, "of another model, input or setting"),
        ],
    )
    def test_another_model_is_refused(self, value_fn, n, message, path):
        self.stopped(Recorded(perceptron()), path)
        content = path.read_bytes()
        with pytest.raises(ValueError, match=f"resume file {path} .*{message}"):
            ji.evaluate(value_fn, n, resume=path)
        assert path.read_bytes() == content

    def test_other_outputs_are_refused_class_by_class(self, path):
        worth = perceptron(outputs=3)
        ji.evaluate(worth, N, resume=path)
        with pytest.raises(ValueError, match="of another model"):
            ji.evaluate(lambda masks: worth(masks)[:, [0, 2, 1]], N, resume=path)
        with pytest.raises(ValueError, match=r"holds \(3,\) outputs .* gives \(\)"):
            ji.evaluate(lambda masks: worth(masks)[:, 0], N, resume=path)

    def test_the_same_model_but_for_rounding_goes_on(self, path):
        expected = self.run(perceptron(), path)
        other = lambda masks: perceptron()(masks) * np.float32(1 + 1e-6)  # noqa: E731
        np.testing.assert_array_equal(self.run(other, path), expected)

    def test_two_at_once(self, path):
        def value_fn(masks):
            if path.exists():
                self.run(perceptron(), path)
            return perceptron()(masks)

        with pytest.raises(ValueError, match=f"resume file {path} is in use by another process"):
            self.run(value_fn, path)
        self.run(perceptron(), path)

    def test_of_two_that_make_the_file_the_first_keeps_it(self, tmp_path):
        path, layout = tmp_path / "table", Layout(3, None, "float32", 4)
        TableFile.create(path, layout, np.zeros(4))
        inode = path.stat().st_ino
        TableFile.create(path, layout, np.zeros(4))
        assert path.stat().st_ino == inode
        assert [file.name for file in tmp_path.iterdir()] == ["table"]

    def test_a_full_disk_is_said_before_the_run(self, path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        value_fn = Recorded(perceptron())
        with pytest.raises(OSError, match="No space left"):
            self.run(value_fn, path)
        assert value_fn.calls == PROBED
        assert not any(path.parent.iterdir())

    @pytest.mark.parametrize(
        ("options", "sizes"),
        [
            ({"batch_size": None}, [8, 8, 8, 8]),  # as before: the bits of a row depend on it
            ({"batch_size": 4}, [4] * 8),
            ({"batch_size": 3}, [3, 3, 2] * 4),
            ({"batch_size": 32}, [8, 8, 8, 8]),
            ({"batch_size": None, "memory": 3000}, [2] * 16),
        ],
    )
    def test_the_size_of_a_chunk_is_that_of_the_file(self, options, sizes, path):
        worth = Recorded(perceptron())
        v = ji.ValueFunction(worth, N, row_bytes=1000)
        self.stopped(worth, path)
        ji.evaluate(v, resume=path, probe=False, **options)
        worth.calls = [call for call in worth.calls if call != PROBED[0] and call[0] >= 32]
        assert worth.sizes == sizes
        smaller = min(8, *sizes[:1])
        self.damage(path)
        worth.before(None, None)
        with pytest.warns(RuntimeWarning, match="damaged"):
            ji.evaluate(v, resume=path, probe=False)
        assert max(worth.sizes[-2:]) == smaller

    def damage(self, path):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)

    @pytest.mark.parametrize("free", [4 * 2000, 1 << 40])
    def test_an_automatic_run_resumes_to_the_same_bits(self, free, path, monkeypatch):
        """Less or more is free the second time: the sizes stay."""
        worth = Recorded(perceptron(hidden=700))
        v = ji.ValueFunction(worth, N, row_bytes=1000)
        monkeypatch.setattr(_checks, "free_memory", lambda: 4 * 8000)
        expected = ji.evaluate(v)
        assert set(worth.sizes) == {8}
        self.stopped(worth, path, batch_size=None)
        monkeypatch.setattr(_checks, "free_memory", lambda: free)
        np.testing.assert_array_equal(ji.evaluate(v, resume=path, probe=False), expected)
        assert worth.calls[-4:] == of_range(32, 64, 8) and sum(worth.sizes[:-4]) == 4

    def test_what_fits_the_memory_is_kept(self, path):
        """Of a run that was told 16, found that 4 fit, and was stopped: 4 from the start."""
        value_fn = Recorded(perceptron(), most=4)
        value_fn.before(8, KeyboardInterrupt())  # probe, 16, 8, four times 4, 4
        with pytest.raises(KeyboardInterrupt):
            self.run(value_fn, path, batch_size=16)
        value_fn.before(None, None)
        table = self.run(value_fn, path, batch_size=16)
        assert value_fn.calls == PROBED + of_range(16, 64, 4)
        np.testing.assert_array_equal(table, ji.evaluate(perceptron(), N, batch_size=4))

    def test_chunks_that_do_not_divide(self, path):
        value_fn = Recorded(perceptron())
        expected = ji.evaluate(perceptron(), N, batch_size=7)
        np.testing.assert_array_equal(self.run(value_fn, path, batch_size=7), expected)
        assert value_fn.calls == PROBED + of_range(0, 64, 7)
        np.testing.assert_array_equal(self.run(value_fn, path, batch_size=7), expected)


@pytest.mark.parametrize("suffix", ["npz", "zarr"])
class TestSamples:
    @pytest.fixture(autouse=True)
    def zarr(self, suffix):
        return pytest.importorskip("zarr") if suffix == "zarr" else None

    @pytest.fixture
    def path(self, suffix, tmp_path):
        return tmp_path / "made" / f"tables.{suffix}"

    @pytest.fixture
    def worths(self):
        return [Recorded(perceptron(seed)) for seed in range(4)]

    def functions(self, worths, keys="abcd", n=N):
        """Of these samples, by these letters."""
        return [ji.ValueFunction(worths["abcd".index(key)], n, key=f"of {key}") for key in keys]

    def run(self, worths, path, keys="abcd", **options):
        options = {"batch_size": 8, "probe": False} | options
        return ji.evaluate_samples(self.functions(worths, keys), resume=path, **options)

    def stopped(self, worths, path, sample, call, keys="abcd"):
        worths[sample].before(call, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt) as caught:
            self.run(worths, path, keys)
        for worth in worths:
            worth.before(None, None)
        return caught.value

    @pytest.fixture
    def expected(self, worths):
        tables = np.stack([ji.evaluate(worth, N, batch_size=8) for worth in worths])
        for worth in worths:
            worth.before(None, None)
        return tables

    def held(self, path):
        """The array of tables as `extract_tables` takes it."""
        return path if path.suffix == ".npz" else path / "values"

    @pytest.mark.parametrize("outputs", [None, 3])
    def test_what_evaluate_gives_sample_by_sample(self, outputs, path):
        worths = [Recorded(perceptron(seed, outputs=outputs)) for seed in range(4)]
        expected = [ji.evaluate(worth, N, batch_size=8) for worth in worths]
        tables = self.run(worths, path)
        np.testing.assert_array_equal(tables, expected)
        assert tables.dtype == np.float32
        np.testing.assert_array_equal(self.run(worths, None), expected)
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        stored = ji.extract_tables(self.held(path), path.parent / "out", noise_ratio=0.1, tol=1e-2)
        held = tables.reshape(-1, 64) if path.suffix == ".npz" else tables
        np.testing.assert_allclose(stored[:].reconstruct() + stored[:].residual, held, atol=1e-4)

    def test_skips_what_is_there_and_adds_the_rest_in_any_order(self, worths, expected, path):
        np.testing.assert_array_equal(self.run(worths, path, "ca"), expected[[2, 0]])
        for worth in worths:
            worth.before(None, None)
        np.testing.assert_array_equal(self.run(worths, path, "dcbab"), expected[[3, 2, 1, 0, 1]])
        assert worths[2].calls == PROBED and worths[0].calls == []
        assert worths[1].calls == worths[3].calls == PROBED + of_range(0, 64, 8)
        np.testing.assert_array_equal(self.run(worths, path, "a"), expected[:1])
        stored = ji.extract_tables(self.held(path), path.parent / "out", noise_ratio=0.1, tol=1e-2)
        assert len(stored) == 4

    def test_the_same_sample_twice_is_evaluated_once(self, worths, expected, path):
        np.testing.assert_array_equal(self.run(worths, None, "aba"), expected[[0, 1, 0]])
        assert len(worths[0].calls) == 8
        np.testing.assert_array_equal(self.run(worths, path, "aba"), expected[[0, 1, 0]])

    def test_stopped_within_a_sample_it_goes_on_at_its_chunk(self, worths, expected, path):
        error = self.stopped(worths, path, 2, 4)
        assert "at sample 2 of 4; those before it are in" in error.__notes__[-1]
        assert "16 of 64 coalitions are in" in error.__notes__[-2]
        np.testing.assert_array_equal(self.run(worths, path, "cdba"), expected[[2, 3, 1, 0]])
        assert worths[2].calls == PROBED + of_range(16, 64, 8)
        assert worths[3].calls == PROBED + of_range(0, 64, 8)
        assert [worth.calls for worth in worths[:2]] == [[], PROBED]  # one is compared
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    def test_stopped_within_the_first_sample(self, worths, expected, path):
        self.stopped(worths, path, 0, 3)
        np.testing.assert_array_equal(self.run(worths, path), expected)
        assert worths[0].calls == PROBED + of_range(8, 64, 8)

    def test_an_error_in_memory_says_the_sample(self, worths):
        worths[1].before(1, RuntimeError("mine"))
        with pytest.raises(RuntimeError, match="mine") as caught:
            self.run(worths, None)
        assert caught.value.__notes__[-1] == "evaluate_samples: at sample 1 of 4"

    def test_a_kill_loses_one_chunk(self, path, tmp_path):
        path.parent.mkdir()
        call = "fns = [ji.ValueFunction(logged(k), 10, key=str(k)) for k in range(3)]\n"
        call += f"ji.evaluate_samples(fns, batch_size=256, resume={str(path)!r})"
        worths = [Recorded(perceptron(seed, n=10)) for seed in range(3)]
        functions = [ji.ValueFunction(worths[k], 10, key=str(k)) for k in range(3)]
        with killed(call, tmp_path):  # the first: 2 of the probe and 4; the others: 1 and 4
            with pytest.raises(ValueError, match="is in use by another process"):
                ji.evaluate_samples(functions, resume=path)
        started = [(seed, first) for seed, first, size in log(tmp_path) if size == 256]
        tables = ji.evaluate_samples(functions, resume=path)
        expected = [ji.evaluate(perceptron(k, n=10), 10, batch_size=256) for k in range(3)]
        np.testing.assert_array_equal(tables, expected)
        chunks = [(k, call[0]) for k in range(3) for call in worths[k].calls if len(call) == 256]
        everyone = [(k, first) for k in range(3) for first in range(0, 1024, 256)]
        assert started + chunks in (everyone, [*started, *everyone[len(started) - 1 :]])

    def test_two_at_once(self, worths, path):
        """Even of other samples."""

        def worth(masks):
            self.run(worths, path, "b")

        fn = ji.ValueFunction(worth, N, key="of a")
        with pytest.raises(ValueError, match=f"evaluate_samples: resume file {path} is in use by"):
            ji.evaluate_samples([fn], resume=path)
        self.run(worths, path)

    def test_what_a_killed_process_has_left_is_cleared_away(self, worths, path):
        self.run(worths, path)
        parts = path.with_name(f"{path.name}.parts")
        parts.mkdir()
        for name in ("of%20a.table", "of%20z.table.77.part", f"{path.name}.part"):
            (parts / name).touch()
        self.run(worths, path, "ab")
        assert not parts.exists()

    def test_another_model_is_refused_before_anything_is_added(self, worths, path):
        self.run(worths, path, "bc")
        files = self.contents(path)
        others = [Recorded(perceptron(seed + 10)) for seed in range(4)]
        with pytest.raises(ValueError, match=f"{path}, sample 1, is of another model, input or"):
            self.run(others, path, "abc")
        assert [len(other.calls) for other in others] == [0, 1, 0, 0]
        assert self.contents(path) == files

    def contents(self, path):
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        return {file: file.read_bytes() for file in files if file.is_file()}

    def test_samples_without_keys_are_known_by_their_worths(self, worths, path):
        unnamed = [ji.ValueFunction(worth, N) for worth in worths]
        tables = ji.evaluate_samples(unnamed[:3], resume=path)
        np.testing.assert_array_equal(ji.evaluate_samples(unnamed, resume=path)[:3], tables)
        with pytest.raises(ValueError, match="sample 1, is of another model, input or setting"):
            ji.evaluate_samples([unnamed[0], unnamed[2]], resume=path)

    def test_samples_that_do_not_go_together(self, worths, path):
        fns = [*self.functions(worths, "ab"), ji.ValueFunction(players_present, 5)]
        with pytest.raises(ValueError, match="same number of players; got 6 and, at sample 2, 5"):
            ji.evaluate_samples(fns, resume=path)
        assert not path.parent.exists()
        self.run(worths, path, "ab")
        with pytest.raises(ValueError, match=r"holds tables \(64,\); got samples of 5 players"):
            ji.evaluate_samples(fns[2:], resume=path)
        wide = [Recorded(perceptron(3, outputs=2))] * 4
        with pytest.raises(ValueError, match=r"outputs and dtype; got .*float32 \(64,\) and, at"):
            self.run(wide, path, "d")
        with pytest.raises(ValueError, match=r"float32 \(64,\) and, at sample 0, float64 \(64,\)"):
            self.run([players_present] * 4, path, "c")
        with pytest.raises(ValueError, match=r"float32 \(64,\) and, at sample 1, float64 \(64,\)"):
            self.run([worths[0], players_present], None, "ab")
        assert len(self.run(worths, path, "ab")) == 2

    def test_what_is_learnt_from_one_sample_holds_for_the_next(self, path):
        worths = [Recorded(perceptron(seed), most=4) for seed in range(3)]
        self.run(worths, path, "abc", batch_size=None)
        assert worths[0].sizes == [4, 64, 32, 16, 8] + [4] * 16
        assert worths[1].sizes == worths[2].sizes == [4] + [4] * 16

    def test_the_first_sample_is_probed(self, path):
        worths = [Recorded(of_batch) for _ in range(3)]
        expected = [[of_batch(mask[None])[0] for mask in ji.all_masks(N)]] * 3
        with pytest.warns(RuntimeWarning, match="They are evaluated one by one") as caught:
            tables = self.run(worths, path, "abc", batch_size="safe")
        np.testing.assert_array_equal(tables, expected)
        assert len(caught) == 1 and caught[0].filename == __file__
        assert worths[1].sizes == worths[2].sizes == [1] * (4 + 64)
        worths[0].before(None, None)
        with pytest.warns(RuntimeWarning, match="other rows of its batch") as caught:
            self.run(worths, None, "abc", probe=True, batch_size=16)
        assert len(caught) == 1
        assert worths[0].sizes == [4, 4, 4] + [16] * 4

    def test_foreign_files_are_refused_and_left_alone(self, worths, path, suffix, zarr):
        path.parent.mkdir()
        if suffix == "zarr":
            zarr.create_array(path, shape=(3, 64), dtype="float32")
            self.refused(worths, path)
            group = zarr.open_group(path.with_name("b.zarr"), mode="w")
            group.create_array("values", shape=(3, 64), dtype="float32")
            self.refused(worths, path.with_name("b.zarr"))
        else:
            np.save(path.with_suffix(".npy"), np.ones(3))
            for content in (b"", b"text", path.with_suffix(".npy").read_bytes()):
                path.write_bytes(content)
                self.refused(worths, path)
            np.savez(path, values=np.ones((3, 64)))
            self.refused(worths, path)
            np.savez(path, values=np.ones((3, 64)), keys=np.array(["a", "b"]))
            self.refused(worths, path)
            self.run(worths, path.with_name("b.npz"))
            path.write_bytes(path.with_name("b.npz").read_bytes()[:-100])
            self.refused(worths, path)

    def refused(self, worths, path):
        files = self.contents(path)
        with pytest.raises(ValueError, match="must be a file that evaluate_samples wrote, or a"):
            self.run(worths, path)
        assert self.contents(path) == files
        assert not path.with_name(f"{path.name}.parts").exists()

    def test_odd_keys(self, path):
        keys = ["a/b", "..", "ä" * 32, "a b"]
        fns = [ji.ValueFunction(perceptron(k), N, key=key) for k, key in enumerate(keys)]
        tables = ji.evaluate_samples(fns, resume=path)
        np.testing.assert_array_equal(ji.evaluate_samples(fns[::-1], resume=path), tables[::-1])
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        with pytest.raises(ValueError, match="keys must be of at most 64 bytes; got 'ääää"):
            ji.evaluate_samples([ji.ValueFunction(players_present, 3, key="ä" * 33)])

    def test_tables_that_do_not_fit(self, worths, path, monkeypatch):
        monkeypatch.setattr(_checks, "free_memory", lambda: 1000)
        with pytest.raises(ValueError, match=r"6 players need 1,024 bytes; .* Give fewer samples"):
            self.run(worths, path)


def test_a_zarr_group_that_a_kill_left_half_made(tmp_path):
    """An array is missing, or it holds a table more than keys, or a key that is empty."""
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "tables.zarr"
    fns = [ji.ValueFunction(perceptron(k), N, key=str(k)) for k in range(3)]
    zarr.open_group(path).create_array("keys", shape=(0, 64), chunks=(1, 64), dtype="uint8")
    expected = ji.evaluate_samples(fns[:2], resume=path)
    group = zarr.open_group(path)
    group["keys"].resize((1, 64))
    ji.evaluate_samples(fns[:1], resume=path)
    assert zarr.open_group(path)["values"].shape == (1, 64)
    group["keys"].resize((2, 64))  # of the second, as if the kill came before its bytes
    again = ji.evaluate_samples(fns, resume=path)
    np.testing.assert_array_equal(again[:2], expected)
    np.testing.assert_array_equal(zarr.open_group(path)["values"][:], again)


def test_zarr_missing(tmp_path, monkeypatch):
    def no_zarr(name, *args, real=builtins.__import__, **kwargs):
        if name == "zarr":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_zarr)
    v = ji.ValueFunction(players_present, 3)
    with pytest.raises(ImportError, match=r'pip install "jaxinter\[zarr\]", or give .npz'):
        ji.evaluate_samples([v], resume=tmp_path / "tables.zarr")
    assert not any(tmp_path.iterdir())


def test_bad_samples(tmp_path):
    v = ji.ValueFunction(players_present, 3)
    with pytest.raises(ValueError, match="value_fns must hold at least one; got none"):
        ji.evaluate_samples([])
    with pytest.raises(TypeError, match=r"must be ValueFunctions .*; got function at 1"):
        ji.evaluate_samples([v, players_present])
    with pytest.raises(ValueError, match=r'resume must end in ".npz" or ".zarr"; got .*tables.npy'):
        ji.evaluate_samples([v], resume=tmp_path / "tables.npy")
    assert not any(tmp_path.iterdir())
