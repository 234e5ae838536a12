"""Files between jobs: whole or absent, and damage is noticed."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest

from marginome.arrays import dataset, hdf5_metadata, read_hdf5, write_hdf5
from marginome.background_set import BackgroundSet, write_background
from marginome.columns import conform
from marginome.errors import MarginomeError
from marginome.fasta import read_background, read_some
from marginome.storage import (
    atomic,
    filled_columns,
    read_json,
    read_table,
    table_metadata,
    to_json,
    write_json,
    write_table,
)
from marginome.tables import EFFECTS
from workspace import cannot_run


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


HALF = """
import sys, time
import numpy as np
from marginome.arrays import dataset, write_hdf5
with write_hdf5(sys.argv[1]) as handle:
    dataset(handle, "x", data=np.arange(1000))
    handle.flush()
    print("half", flush=True)
    time.sleep(60)
"""


def test_a_writer_killed_half_way_leaves_the_old_file_and_the_next_one_tidies_up(tmp_path):
    target, other = tmp_path / "a.h5", tmp_path / ".tmp-1-x-a.h5"  # the second: of another file, x-a.h5
    with write_hdf5(target, {"version": "old"}):
        pass
    other.touch()
    process = subprocess.Popen([sys.executable, "-c", HALF, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "half\n"
    process.kill()  # SIGKILL: no clean-up can run
    process.communicate()
    assert hdf5_metadata(target) == {"version": "old"}
    left = tmp_path / f".tmp-{process.pid}-a.h5"
    assert left.exists()
    with write_hdf5(target, {"version": "new"}):
        pass
    assert hdf5_metadata(target) == {"version": "new"}
    assert other.exists() and not left.exists()


def test_a_full_disk_is_told(tmp_path):
    with pytest.raises(MarginomeError, match="disk is full"), atomic(tmp_path / "x") as temporary:
        temporary.write_text("a")
        raise OSError(errno.ENOSPC, "No space left on device")


def test_no_permission_is_told(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    code = (
        "import os, sys\n"
        "from marginome.storage import atomic\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"  # root may write everywhere: go on as nobody
        "try:\n"
        "    with atomic(sys.argv[1]) as temporary: temporary.write_text('a')\n"
        "except ValueError as error: print(error)\n"
    )
    target = str(tmp_path / "closed" / "x")
    run = subprocess.run([sys.executable, "-c", code, target], capture_output=True, text=True, check=True)
    assert "no permission" in run.stdout and target in run.stdout


def _flip(path, position):
    raw = bytearray(path.read_bytes())
    raw[position] ^= 0xFF
    path.write_bytes(raw)


def test_a_damaged_table_is_named_and_removed(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, pd.DataFrame({"x": np.random.default_rng(0).random(5000)}), {"seed": 1})
    assert table_metadata(path) == {"seed": 1}
    assert len(read_table(path)) == 5000
    _flip(path, path.stat().st_size // 2)
    with pytest.raises(MarginomeError, match=r"t.parquet.*damaged"):
        read_table(path)
    assert not path.exists()


def test_columns_in_which_any_row_has_a_value(tmp_path):
    none = pd.array([None] * 3, dtype="Float64")
    some = pd.array([None, 0.0, None], dtype="Float64")
    write_table(tmp_path / "t.parquet", pd.DataFrame({"all": [1.0, 2.0, 3.0], "some": some, "none": none}))
    assert filled_columns(tmp_path / "t.parquet") == {"all", "some"}
    write_table(tmp_path / "t.parquet", pd.DataFrame({"x": pd.array([], dtype="Float64")}))
    assert filled_columns(tmp_path / "t.parquet") == set()


def test_a_truncated_table_is_named_and_removed(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, pd.DataFrame({"x": range(1000)}))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(MarginomeError, match="damaged"):
        read_table(path)
    assert not path.exists()


@pytest.mark.parametrize("how", ["truncate", "flip"])
def test_a_damaged_array_file_is_named_and_removed(tmp_path, how):
    path = tmp_path / "a.h5"
    with write_hdf5(path, {"model": "m"}) as handle:
        dataset(handle, "x", data=np.random.default_rng(0).random((100, 100)), unit="log counts")
    assert hdf5_metadata(path) == {"model": "m"}
    if how == "truncate":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        _flip(path, path.stat().st_size // 2)
    with pytest.raises(MarginomeError, match="damaged"), read_hdf5(path) as handle:
        handle["x"][...]
    assert not path.exists()


def test_a_write_error_of_the_caller_does_not_remove_what_it_read(tmp_path):
    path = tmp_path / "a.h5"
    with write_hdf5(path) as handle:
        dataset(handle, "x", data=np.arange(4))
    with pytest.raises(OSError), read_hdf5(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.exists()


def test_json_round_trip_and_damage(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": [1, 2]})
    assert read_json(path) == {"a": [1, 2]}
    path.write_text("{")
    with pytest.raises(MarginomeError, match="damaged"):
        read_json(path)
    assert not path.exists()


def _figure(path):
    from matplotlib.figure import Figure

    from marginome.plots import save_figure

    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([1, 2])
    save_figure(figure, path)


def _sequences(path):
    made = BackgroundSet("b", ["s1", "é"], ["ACGT" * 500, "GATTA" * 400], None, pd.DataFrame())
    write_background(made, fasta=path)


def _arrays(path):
    with write_hdf5(path, {"model": "m"}) as handle:
        dataset(handle, "x", data=np.random.default_rng(0).random((40, 10)), unit="log counts")
        handle.create_dataset("ids", data=np.array(["a", "b"], dtype=object), dtype=h5py.string_dtype())


def _read_arrays(path):
    with read_hdf5(path) as handle:
        values = [{k: np.asarray(v).tolist() for k, v in o.attrs.items()} for o in (handle, handle["x"], handle["ids"])]
        return values, handle["x"][...].tolist(), handle["ids"][...].tolist()


def _read_figure(path):
    from marginome.report.parts import figure_html as shown

    return shown(path, "caption")


FILES = {
    "a.h5": (_arrays, _read_arrays),
    "a.parquet": (lambda path: write_table(path, pd.DataFrame({"x": range(50), "y": "z"}), {"seed": 1}),
                  lambda path: (read_table(path).to_dict("list"), table_metadata(path))),
    "a.json": (lambda path: write_json(path, {"block": 64, "name": "x"}), lambda path: dict(read_json(path))),
    "a.svg": (_figure, _read_figure),
    "a.fa.gz": (_sequences, lambda path: (read_background(path), list(read_some(path, 0, 1)))),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_is_noticed(tmp_path, name):
    write, read = FILES[name]
    path = tmp_path / name
    write(path)
    want, raw = read(path), path.read_bytes()
    for place in np.linspace(0, 8 * len(raw) - 1, 120, dtype=int):
        flipped = bytearray(raw)
        flipped[place // 8] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            assert read(path) == want  # e.g. the time in a header of gzip
            assert name.endswith(".gz")
        except MarginomeError as error:
            assert name in str(error) and "damaged" in str(error) and "\n" not in str(error)
            assert not path.exists()


@pytest.mark.parametrize("left", [0, 20, 97, None])
@pytest.mark.parametrize("name", FILES)
def test_a_file_whose_seal_is_cut_off_is_none_of_an_earlier_version(tmp_path, name, left):
    write, read = FILES[name]
    write(path := tmp_path / name)
    seal = 110 if name != "a.fa.gz" else 28
    path.write_bytes(path.read_bytes()[: -seal if left is None else left])
    with pytest.raises(MarginomeError, match="damaged"):
        read(path)
    assert not path.exists()


def test_what_was_never_written_is_not_a_number(tmp_path):
    with write_hdf5(tmp_path / "a.h5") as handle:
        for kind in ("f8", "f4", "f2"):
            dataset(handle, kind, shape=(3, 2), dtype=kind)
        dataset(handle, "data", data=np.zeros((0, 2), np.float32))
    with read_hdf5(tmp_path / "a.h5") as handle:
        assert all(np.isnan(handle[kind][...]).all() for kind in ("f8", "f4", "f2"))
        assert np.isnan(handle["data"].fillvalue)


def test_an_old_record_that_lacks_a_key_is_one_line(tmp_path):
    path = tmp_path / "check.json"
    path.write_text('{"outputs": []}')
    with pytest.raises(MarginomeError, match=r"check.json: an earlier version .* without 'block'"):
        read_json(path)["block"]
    assert not path.exists()


HOSTILE = [
    "K562/rep1",
    "K562%2Frep1",
    "..",
    ".",
    "%",
    "",
    "a\0b",
    "\ud800",
    "é",
    "x\n",
    "'\"<b>",
    "x" * 300,
    "rows",
    " ",
]


def test_any_name_is_one_step_of_a_path(tmp_path):
    from marginome.arrays import hdf5_name, plain_name

    steps = [hdf5_name(name, taken=("rows",)) for name in HOSTILE]
    assert [plain_name(step) for step in steps] == HOSTILE
    with write_hdf5(tmp_path / "a.h5") as handle:
        dataset(handle, "rows", data=np.arange(3))
        for i, step in enumerate(steps):
            dataset(handle.require_group(step), "x", data=np.full(2, float(i)))
    with read_hdf5(tmp_path / "a.h5") as handle:
        assert set(handle) == {"rows", *steps} and len(set(steps)) == len(HOSTILE)
        assert [handle[step]["x"][0] for step in steps] == list(range(len(HOSTILE)))


FULL = """
import sys
import numpy as np, pandas as pd
from matplotlib.figure import Figure
from pathlib import Path
from marginome.background_set import BackgroundSet, write_background
from marginome.plots import save_figure
from marginome.report.page import save
from marginome.arrays import dataset, write_hdf5
from marginome.storage import write_json, write_table
from marginome.columns import write_tsv

folder = Path(sys.argv[1])
big = np.random.default_rng(0).random(100_000)
table = pd.DataFrame({"x": big})

def at_once(path):
    with write_hdf5(path) as handle:
        dataset(handle, "x", data=big)

def in_parts(path):  # what HDF5 holds back is written when the file is closed
    with write_hdf5(path) as handle:
        kept = dataset(handle, "x", shape=big.shape, dtype="f8", chunks=(1000,))
        for i in range(0, len(big), 1000):
            kept[i : i + 1000] = big[i : i + 1000]

def figure(path):
    made = Figure()
    made.subplots().plot(big[:30_000], "o")
    save_figure(made, path)

def fasta(path):
    sequences = ["".join("ACGT"[int(4 * b)] for b in big)] * 8
    write_background(BackgroundSet("b", list("abcdefgh"), sequences, None, table), fasta=path)

for name, write in {
    "a.h5": at_once, "b.h5": in_parts, "a.svg": figure, "a.fa.gz": fasta,
    "a.parquet": lambda p: write_table(p, table), "a.tsv": lambda p: write_tsv(p, table),
    "a.tsv.gz": lambda p: write_tsv(p, table), "a.json": lambda p: write_json(p, {"x": big.tolist()}),
    "a.html": lambda p: save(p, "x" * 1_000_000),
}.items():
    try:
        write(folder / name)
        print(name, "was written")
    except Exception as error:
        print(f"{type(error).__name__}: {error}", *folder.iterdir())
"""


def test_a_disk_that_is_full_is_one_message_for_every_kind_of_file(tmp_path):
    mount = (
        'mount -t tmpfs -o size=100k tmpfs "$1" || exit 77; exec "$2" -c "$3" "$1"'  # a real disk, for the child alone
    )
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, FULL]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        cannot_run("there is no unshare here")
    if "unshare" in run.stderr or run.returncode == 77:
        cannot_run(f"no file system can be mounted here: {run.stderr.strip()}")
    lines = run.stdout.splitlines()
    assert len(lines) == 9 and all(re.match(r"MarginomeError: .*disk is full.*is kept\. ?$", line) for line in lines), (
        run.stdout
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_an_effect_table_must_have_its_columns():
    with pytest.raises(MarginomeError, match="effect_sd"):
        conform(pd.DataFrame({c.name: [None] for c in EFFECTS if c.name != "effect_sd"}), EFFECTS)
    with pytest.raises(MarginomeError, match="surprise"):
        conform(pd.DataFrame({**{c.name: [] for c in EFFECTS}, "surprise": []}), EFFECTS)
    assert conform(pd.DataFrame({c.name: [] for c in EFFECTS}), EFFECTS).num_columns == len(EFFECTS)


def test_json_has_no_nan(tmp_path):
    value = {
        "a": float("nan"),
        "b": [np.float32("inf"), np.int64(3), True, None],
        4: np.array([1.5, np.nan]),
        "p": tmp_path,
    }
    write_json(tmp_path / "x.json", value)
    found = json.loads((tmp_path / "x.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert {k: found[k] for k in ("a", "b", "4", "p")} == {
        "a": None, "b": [None, 3, True, None], "4": [1.5, None], "p": str(tmp_path),
    }  # fmt: skip
    write_hdf5_metadata = to_json({"largest_delta": float("nan")})
    assert write_hdf5_metadata == '{"largest_delta": null}'
