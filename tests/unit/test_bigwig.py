"""bigWig files: the sums of the library that reads them, and what it does not survive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import marginome
from marginome.bigwig import BigWig
from marginome.errors import MarginomeError
from marginome.models import Argument


@pytest.fixture
def track(tmp_path):
    import pyBigWig

    path = tmp_path / "x.bw"
    values = np.random.default_rng(0).random(200).tolist()
    with pyBigWig.open(str(path), "w") as handle:
        handle.addHeader([("chr1", 5000), ("chr2", 300)])
        handle.addEntries(["chr1"] * 200, list(range(0, 4000, 20)), list(range(10, 4010, 20)), values)
    return path


def test_totals_are_those_of_pybigwig(track):
    import pyBigWig

    ours, theirs = BigWig(track), pyBigWig.open(str(track))
    assert ours.contigs == {"chr1": 5000, "chr2": 300}
    for start in range(0, 5000, 333):
        expected = theirs.stats("chr1", start, min(start + 500, 5000), type="sum", exact=True)[0] or 0.0
        assert ours.total("chr1", start, start + 500) == expected
    assert ours.total("chr2", 0, 300) == ours.total("chr3", 0, 9) == ours.total("chr1", 6000, 6009) == 0


def test_values_are_those_of_pybigwig(track):
    import pyBigWig

    ours, theirs = BigWig(track), pyBigWig.open(str(track))
    found = np.array(ours.values("chr1", 5, 4500), dtype=float)  # None, no data, as NaN
    np.testing.assert_array_equal(found, theirs.values("chr1", 5, 4500))
    assert np.isnan(found).any() and np.isfinite(found).any()


def test_a_file_that_kills_its_reader_is_one_message(tmp_path, track):
    # a header that promises 344 zoom levels and ends: libBigWig follows a pointer to nowhere
    killer = tmp_path / "damaged.bw"
    killer.write_bytes(b"&\xfc\x8f\x88\x04\x00\x58\x01" + bytes(56))
    directly = subprocess.run([sys.executable, "-c", f"import pyBigWig; pyBigWig.open({str(killer)!r})"])
    assert directly.returncode < 0  # else the process of its own is no longer needed
    for path, content in ((killer, None), (tmp_path / "text.bw", b"chr1\t1\t2\n"), (tmp_path / "none.bw", None)):
        if content:
            path.write_bytes(content)
        with pytest.raises(MarginomeError, match=rf"{path.name}: the bigWig file cannot be read"):
            BigWig(path)
    control = Argument("controls", (1, 20), source="bigwig", files=(str(killer),))
    with pytest.raises(MarginomeError, match=r"m: arguments\.controls: .*damaged\.bw: the bigWig file cannot be read"):
        control.values(["chr1:100-164"], where="m")


def test_damage_within_is_no_signal_of_nan(track):
    content = bytearray(track.read_bytes())
    content[600:2400] = bytes(1800)
    track.write_bytes(bytes(content))
    with pytest.raises(MarginomeError, match=r"x\.bw"):
        BigWig(track).total("chr1", 0, 4000)


def test_what_reads_it_is_of_this_copy_of_the_library(track, monkeypatch):
    """Another may be installed."""
    found, start = [], subprocess.Popen
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(subprocess, "Popen", lambda *a, env, **k: (found.append(env), start(*a, env=env, **k))[1])
    BigWig(track)
    assert found[0]["PYTHONPATH"] == str(Path(marginome.__file__).parent.parent)
