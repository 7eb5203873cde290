# SPDX-License-Identifier: Apache-2.0
"""Tables on disk in, results on disk out; stopped anywhere, the same in the end."""

import builtins
import warnings

import jax
import numpy as np
import pytest

import jaxinter as ji
from jaxinter.sparse import ConvergenceError, stream
from jaxinter.sparse.stream import extract_tables, open_tables

OPTIONS = {"noise_ratio": 0.02, "tol": 1e-3}


@pytest.fixture
def tables(rng):
    return rng.normal(size=(11, 16))


@pytest.fixture
def whole(tables):
    return ji.extract(tables, **OPTIONS)


@pytest.fixture
def calls(monkeypatch):
    """The batches that reach `extract`; `calls.before(k, error)` raises at the k-th from now."""

    class Calls(list):
        planned: tuple = (None, None)

        def before(self, k, error):
            self.clear()
            self.planned = (k, error)

    made = Calls()
    extract = stream.extract

    def recorded(values, **options):
        if len(made) + 1 == made.planned[0]:
            raise made.planned[1]
        made.append(values.copy())
        return extract(values, **options)

    monkeypatch.setattr(stream, "extract", recorded)
    return made


def assert_same(got, expected, **tolerance):
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, **tolerance)


def assert_explains(stored, whole, tables):
    """What one `extract` says: the same table, as sparse, proven as well."""
    got = stored[:]
    np.testing.assert_allclose(got.reconstruct() + got.residual, tables, atol=1e-12)
    np.testing.assert_allclose(got.primal, whole.primal, rtol=2e-3)
    assert (got.gap <= 1e-3).all() and (got.dual <= whole.primal * (1 + 1e-12)).all()
    np.testing.assert_allclose(got.and_effects, whole.and_effects, atol=0.05)


class TestSources:
    def test_all_kinds_of_source_give_what_one_call_gives(self, tables, whole, tmp_path):
        np.save(tmp_path / "tables.npy", tables)
        memmap = np.load(tmp_path / "tables.npy", mmap_mode="r")
        files = tmp_path / "files"
        files.mkdir()
        np.save(files / "a.npy", tables[:5])
        np.savez(files / "b.npz", values=tables[5], other=np.ones(3))  # one table
        np.savez(files / "c.npz", tables[6:].reshape(1, 5, 16))
        np.save(files / ".hidden.npy", tables)
        (files / "README").write_text("not a table")
        sources = {"array": tables, "memmap": memmap, "path": tmp_path / "tables.npy"}
        sources |= {"directory": files, "list": tables.tolist(), "jax": jax.numpy.asarray(tables)}
        expected = extract_tables(tables, tmp_path / "expected", batch_size=4, **OPTIONS)
        assert_explains(expected, whole, tables)
        for name, source in sources.items():
            stored = extract_tables(source, tmp_path / name, batch_size=4, **OPTIONS)
            if name == "jax":  # float32: JAX holds no more here
                assert stored[:].bias.dtype == np.float32
            else:
                assert_same(stored[:], expected[:], rtol=0)

    def test_zarr(self, tables, tmp_path):
        zarr = pytest.importorskip("zarr")
        expected = extract_tables(tables, tmp_path / "expected", batch_size=4, **OPTIONS)
        path = tmp_path / "group.zarr" / "tables"
        group = zarr.open_group(path.parent, mode="w")
        array = group.create_array("tables", shape=(11, 16), chunks=(3, 16), dtype="float64")
        array[:] = tables
        by_path = extract_tables(path, tmp_path / "out", batch_size=4, **OPTIONS)
        assert_same(by_path[:], expected[:], rtol=0)
        parts = [file.stat().st_mtime_ns for file in by_path.files()]
        by_object = extract_tables(array, tmp_path / "out", batch_size=4, **OPTIONS)
        assert [file.stat().st_mtime_ns for file in by_object.files()] == parts  # the same source
        with pytest.raises(ValueError, match=r"path of a Zarr array; got .*group\.zarr"):
            extract_tables(path.parent, tmp_path / "other")

    def test_zarr_missing(self, tmp_path, monkeypatch):
        def no_zarr(name, *args, real=builtins.__import__, **kwargs):
            if name == "zarr":
                raise ImportError(name)
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", no_zarr)
        with pytest.raises(ImportError, match=r'pip install "jaxinter\[zarr\]"'):
            extract_tables(tmp_path / "tables.zarr", tmp_path / "out")

    def test_sliced_lazily(self, tables, tmp_path):
        class Lazy:
            shape, dtype, most = tables.shape, tables.dtype, 0

            def __getitem__(self, rows):
                self.most = max(self.most, rows.stop - rows.start)
                return tables[rows]

        source = Lazy()
        extract_tables(source, tmp_path, batch_size=3, **OPTIONS)
        assert source.most == 3

    def test_inner_axes_and_small_dtypes(self, rng, tmp_path):
        tables = rng.normal(size=(3, 2, 8)).astype(np.float16)
        stored = extract_tables(tables, tmp_path, batch_size=2)
        one = stored[2]
        assert one.and_effects.shape == (2, 8) and one.and_effects.dtype == np.float32
        np.testing.assert_allclose(one.reconstruct(), tables[2], atol=1e-5)

    @pytest.mark.parametrize("n", [0, 1])
    def test_few_players(self, n, tmp_path):
        stored = extract_tables(np.arange(3.0)[:, None] * np.ones(1 << n), tmp_path)
        assert stored.n_players == n and len(stored) == 3
        np.testing.assert_array_equal(stored[:].bias, [0, 1, 2])

    def test_batches_default_to_64_mib(self, tmp_path):
        assert extract_tables(np.zeros((2, 16)), tmp_path).batch_size == (64 << 20) // (16 * 8)


class TestResuming:
    def test_an_interrupt_loses_one_batch(self, tables, tmp_path, calls):
        expected = extract_tables(tables, tmp_path / "expected", batch_size=4, **OPTIONS)
        calls.before(3, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            extract_tables(tables, tmp_path / "out", batch_size=4, **OPTIONS)
        assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
            "part-00000000-00000003.npz",
            "part-00000004-00000007.npz",
            "source.json",
        ]
        with pytest.raises(ValueError, match=r"open_tables: 1 of 3 parts of .* are missing"):
            open_tables(tmp_path / "out")
        calls.before(None, None)
        stored = extract_tables(tables, tmp_path / "out", batch_size=4, **OPTIONS)
        assert len(calls) == 1  # the batch that was lost
        np.testing.assert_array_equal(calls[0], tables[8:])
        assert_same(stored[:], expected[:], rtol=0)
        assert open_tables(tmp_path / "out") == stored

    def test_a_kill_while_writing_leaves_nothing_in_the_way(self, tables, tmp_path):
        stored = extract_tables(tables, tmp_path, batch_size=4, **OPTIONS)
        lost = stored.files()[1]
        lost.rename(f"{lost}.123.part")
        extract_tables(tables, tmp_path, batch_size=4, **OPTIONS)
        assert {*stored.files(), tmp_path / "source.json"} == set(tmp_path.iterdir())

    # numpy forgets to close a .npz file that is cut short.
    @pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
    @pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "of other tables", "short"])
    def test_a_damaged_part_is_extracted_again(self, damage, tables, tmp_path, calls):
        stored = extract_tables(tables, tmp_path, batch_size=4, **OPTIONS)
        file, expected = stored.files()[1], stored[:]
        whole = file.read_bytes()
        if damage == "cut":
            file.write_bytes(whole[: len(whole) // 2])
        elif damage == "flipped":
            middle = len(whole) // 2
            file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        elif damage == "empty":
            file.write_bytes(b"")
        else:
            ji.load(stored.files()[2 * (damage == "short")])[:4].save(file)
        calls.clear()
        with pytest.warns(RuntimeWarning, match=r"part-00000004-00000007.npz is damaged"):
            again = extract_tables(tables, tmp_path, batch_size=4, **OPTIONS)
        assert len(calls) == 1
        assert_same(again[:], expected, rtol=0)

    def test_a_table_changed_where_the_fingerprint_does_not_look(self, rng, tmp_path, calls):
        tables = rng.normal(size=(100, 8))
        extract_tables(tables, tmp_path, batch_size=10)
        calls.clear()
        tables[37, 3] += 1e-6
        with pytest.warns(RuntimeWarning, match="does not add up to its tables"):
            extract_tables(tables, tmp_path, batch_size=10)
        assert len(calls) == 1

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_rounding_is_no_damage(self, dtype, table, tmp_path, calls):
        values = (table[:2] * 1e3 + 1e4).astype(dtype)
        for _ in range(2):
            extract_tables(values, tmp_path, tol=1e-2, noise_ratio=0.02)
        assert len(calls) == 1

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"tol": 1e-2}, "tol was 0.001, is 0.01"),
            ({"noise_ratio": 0.0}, "noise_ratio was 0.02, is 0.0"),
            ({"noise_ratio": 0.0, "noise_bound": 0.1}, "noise_bound was None, is 0.1"),
            ({"batch_size": 5}, "batch_size was 4, is 5"),
            ({"player_names": "abcd"}, r"player_names was None, is \['a', 'b', 'c', 'd'\]"),
            ({"source": "float32"}, "dtype was 'float64', is 'float32'"),
            ({"source": "longer"}, r"shape was \[11, 16\], is \[12, 16\]"),
            ({"source": "changed"}, r"source was 'sha256 \w+', is 'sha256 \w+'"),
        ],
    )
    def test_other_arguments_are_refused(self, change, message, tables, tmp_path):
        arguments = {"batch_size": 4, **OPTIONS}
        stored = extract_tables(tables, tmp_path, **arguments)
        before = [file.read_bytes() for file in stored.files()]
        sources = {
            "float32": tables.astype(np.float32),
            "longer": np.concatenate([tables, tables[:1]]),
            "changed": tables + 1e-9,
        }
        source = sources.get(change.pop("source", None), tables)
        with pytest.raises(ValueError, match=f"holds parts of another call: .*{message}.*another"):
            extract_tables(source, tmp_path, **(arguments | change))
        assert [file.read_bytes() for file in stored.files()] == before

    def test_the_same_arguments_said_otherwise(self, tables, tmp_path, calls):
        extract_tables(tables, tmp_path / "out", batch_size=4, tol=1e-4)
        calls.clear()
        same = {"tol": np.float64(1e-4), "noise_ratio": 0, "start": None}
        extract_tables(tables.copy(order="F"), str(tmp_path / "out"), batch_size=4, **same)
        assert not calls

    def test_a_wrong_call_binds_nothing(self, tables, tmp_path):
        with pytest.raises(ValueError, match="extract: tol must be a number > 0"):
            extract_tables(tables, tmp_path, tol=0)
        assert len(extract_tables(tables, tmp_path, tol=1e-2)) == 11


class TestFailures:
    def test_nan_is_named_by_sample_and_file(self, tables, tmp_path):
        tables[6, 5] = np.nan
        place = r"must be finite; got nan at coalition 5 \(players \[0, 2\] present\)"
        with pytest.raises(ValueError, match=f"extract_tables: sample 6 of source {place}"):
            extract_tables(tables, tmp_path / "out", batch_size=4, **OPTIONS)
        assert [f.name for f in (tmp_path / "out").glob("part*")] == ["part-00000000-00000003.npz"]
        np.save(tmp_path / "a.npy", tables[:4])
        np.save(tmp_path / "b.npy", tables[4:])
        with pytest.raises(ValueError, match=rf"sample 6 of source \(table 2 of b.npy\) {place}"):
            extract_tables(tmp_path, tmp_path / "other", batch_size=4, **OPTIONS)

    def test_a_batch_that_does_not_converge(self, tables, tmp_path, calls):
        """The batches before it are kept; throw=False goes on from there."""
        calls.before(2, ConvergenceError("extract: planned", None))
        with pytest.raises(ConvergenceError, match="planned") as caught:
            extract_tables(tables, tmp_path, batch_size=4, **OPTIONS)
        (note,) = caught.value.__notes__
        assert "sample 4 of source to sample 7 of source" in note
        assert len(list(tmp_path.glob("part-*"))) == 1
        calls.before(None, None)
        extract_tables(tables, tmp_path, batch_size=4, throw=False, **OPTIONS)
        assert len(calls) == 2

    def test_throw_is_not_satisfied_with_parts_that_did_not_converge(self, tables, tmp_path):
        settings = {"tol": 1e-9, "max_iterations": 25, "batch_size": 6}
        with pytest.warns(RuntimeWarning, match="did not reach tol"):
            stored = extract_tables(tables, tmp_path, throw=False, **settings)
        assert not stored[:].converged.all()
        with warnings.catch_warnings(action="error"):  # finished: nothing is extracted
            extract_tables(tables, tmp_path, throw=False, **settings)
        with pytest.raises(ConvergenceError, match="did not reach tol"):
            extract_tables(tables, tmp_path, throw=True, **settings)

    def test_files_of_different_n(self, tables, tmp_path):
        np.save(tmp_path / "a.npy", tables)
        np.save(tmp_path / "b.npy", tables[:, :8])
        with pytest.raises(ValueError, match=r"one n; got 2\*\*n = 16 in a.npy and 8 in b.npy"):
            extract_tables(tmp_path, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_bad_sources(self, tables, tmp_path):
        def refused(source, message, **options):
            with pytest.raises((ValueError, TypeError), match=message):
                extract_tables(source, tmp_path / "out", **options)
            assert not (tmp_path / "out").exists()

        empty = tmp_path / "empty"
        empty.mkdir()
        refused(empty, r"extract_tables: source must be .*; got .*empty, which holds none")
        refused(tmp_path / "nowhere", r"got .*nowhere, which holds none")
        refused(tables[0], r"source must be \[samples, ..., 2\*\*n\] .*; got shape \(16,\)")
        refused(tables[:0], r"at least one sample; got shape \(0, 16\)")
        refused(tables[:, :6], r"source must have a last axis of length 2\*\*n; got .*6\)")
        refused(tables + 1j, r"source must hold real numbers .* complex128")
        refused(tables, r"extract_tables: options must be those of extract; .*'tool'", tool=1)
        refused(tables, r"noise_bound must be one number, .*; got ndarray", noise_bound=np.ones(11))
        refused(tables, r"batch_size must be a whole number >= 1; got 0", batch_size=0)
        (empty / "a.npy").write_text("text")
        refused(empty, r"a.npy must hold one array \[..., 2\*\*n\], or one named values")
        (empty / "a.npy").unlink()
        np.savez(empty / "b.npz", first=tables, second=tables)
        refused(empty, r"b.npz must hold one array .*, or one named values \(.*values")
        np.savez(empty / "b.npz", values=tables)
        with pytest.raises(ValueError, match="out must be another directory than source"):
            extract_tables(empty, empty)
        with pytest.raises(ValueError, match=r"open_tables: out must be written by extract_tables"):
            open_tables(empty)


class TestStored:
    def test_reads_as_the_batch_would(self, tables, tmp_path):
        stored = extract_tables(tables, tmp_path, batch_size=4, player_names="abcd", **OPTIONS)
        together = stored[:]
        assert len(stored) == len(together) == 11 and stored.n_players == 4
        assert together.player_names == ("a", "b", "c", "d")
        for index in (0, 4, 10, -1, np.int64(7)):
            assert_same(stored[index], together[index], rtol=0)
        for chosen in (slice(3, 9), slice(None, None, -3), slice(4, 4), slice(8, None), slice(1)):
            assert_same(stored[chosen], together[chosen], rtol=0)
        with pytest.raises(IndexError, match="11"):
            stored[11]
        with pytest.raises(TypeError):
            stored[1.5]
        batches = list(stored.batches())
        assert [len(batch) for batch in batches] == [4, 4, 3]
        for batch, file in zip(batches, stored.files(), strict=True):
            assert_same(batch, ji.load(file), rtol=0)
        for one, other in zip(stored, together, strict=True):
            assert_same(one, other, rtol=0)

    def test_progress_changes_nothing(self, tables, tmp_path, capfd):
        plain = extract_tables(tables, tmp_path / "a", batch_size=4, **OPTIONS)
        shown = extract_tables(tables, tmp_path / "b", batch_size=4, progress="tables", **OPTIONS)
        assert_same(plain[:], shown[:], rtol=0)
        assert capfd.readouterr().out == ""


@pytest.mark.parametrize("options", [{"noise_per": "dataset"}, {"noise_preset": "paper001"}])
def test_a_bound_by_the_mean_of_a_batch_is_refused(options, tmp_path, rng):
    with pytest.raises(ValueError, match="give it as noise_bound"):
        extract_tables(rng.normal(size=(4, 8)), tmp_path, noise_ratio=0.0, **options)
