"""Files between jobs: whole or absent, and damage is noticed."""

from __future__ import annotations

import errno
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from marginome.errors import MarginomeError
from marginome.storage import (
    atomic,
    dataset,
    hdf5_metadata,
    read_hdf5,
    read_json,
    read_table,
    table_metadata,
    to_json,
    write_hdf5,
    write_json,
    write_table,
)
from marginome.tables import EFFECTS, conform


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
from marginome.storage import dataset, write_hdf5
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


def test_an_effect_table_must_have_its_columns():
    with pytest.raises(MarginomeError, match="effect_sd"):
        conform(pd.DataFrame({c.name: [] for c in EFFECTS if c.name != "effect_sd"}), EFFECTS)
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
