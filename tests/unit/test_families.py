"""Families on the JASPAR collection that is shipped, and on motifs whose families are known by construction."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import marginome.families as families_module
from marginome.errors import MarginomeError
from marginome.families import motif_families

JASPAR = Path(__file__).resolve().parents[2] / "resources/motifs/JASPAR2026_CORE_vertebrates.meme"


def read_meme(path):
    """Read the matrices of a MEME file, without the library's reader."""
    found, name, rows, width = [], "", [], 0
    for line in path.read_text().splitlines():
        if line.startswith("MOTIF"):
            name = line.split()[1:3]
        elif line.startswith("letter-probability"):
            width, rows = int(re.search(r"w=\s*(\d+)", line).group(1)), []
        elif len(rows) < width and re.match(r"\s*[\d.]", line):
            rows.append([float(x) for x in line.split()])
            if len(rows) == width:
                found.append((name[0], name[1], np.array(rows).T))
    return found


@pytest.fixture(scope="module")
def jaspar():
    motifs = read_meme(JASPAR)
    assert len(motifs) == 1019
    return motifs, motif_families([m[2] for m in motifs], [m[0] for m in motifs])


def names_with(jaspar, name, consensus):
    """Names in the family of the motif of a name whose consensus, or its reverse complement, has a core."""
    motifs, families = jaspar
    swap = str.maketrans("ACGT", "TGCA")
    for i, (_, motif_name, pwm) in enumerate(motifs):
        text = "".join("ACGT"[j] for j in pwm.argmax(axis=0))
        if motif_name == name and (consensus in text or consensus in text.translate(swap)[::-1]):
            members = np.flatnonzero(families.family == families.family[i])
            return [motifs[j][1] for j in members], families.representative[i], [motifs[j][0] for j in members]
    raise AssertionError(f"no {name} with {consensus}")


def test_ap1_matrices_are_one_family(jaspar):
    names, representative, ids = names_with(jaspar, "FOS::JUN", "TGACTCA")
    expected = {"FOS", "FOSL1", "FOSL2", "JUNB", "JUND", "FOSL1::JUN", "FOSL2::JUNB", "FOS::JUNB", "JUN::JUNB", "BATF"}
    assert expected <= set(names)
    assert len(names) >= 20
    assert representative in ids
    # The cyclic-AMP element TGACGTCA is another motif although the same proteins bind it.
    assert "CREB1" not in names and "ATF1" not in names
    assert not {"CTCF", "GATA1", "ETS1", "TP53", "NRF1"} & set(names)


def test_other_known_families(jaspar):
    assert {"TP53", "TP63", "TP73"} <= set(names_with(jaspar, "TP53", "CATG")[0])
    assert names_with(jaspar, "CTCF", "AGGGGGC")[0].count("CTCF") == 3
    assert {"ETS1", "FLI1", "ELK1", "ELK4"} <= set(names_with(jaspar, "ETS1", "GGAA")[0])


def test_shape_of_the_result(jaspar):
    motifs, families = jaspar
    assert families.family.shape == (1019,)
    numbers, first = np.unique(families.family, return_index=True)
    assert list(numbers) == list(range(len(numbers)))
    assert list(first) == sorted(first)  # numbered by their first members
    assert 200 < len(numbers) < 700 and np.bincount(families.family).max() < 80
    np.testing.assert_array_equal(families.p, families.p.T)
    of = dict(zip((m[0] for m in motifs), families.family))
    assert all(of[r] == f for r, f in zip(families.representative, families.family))


def test_small_collection_strands_and_flat_motifs():
    rng = np.random.default_rng(0)

    def matrix(text, noise):
        pwm = (
            np.eye(4)[["ACGT".index(c) for c in text]].T * (1 - noise) + noise * rng.dirichlet(np.ones(4), len(text)).T
        )
        return pwm / pwm.sum(axis=0)

    ap1 = [matrix("ATGACTCATC", 0.1) for _ in range(5)]
    reverse = [m[::-1, ::-1] for m in ap1[:2]]
    ctcf = [matrix("CCACCAGGGGGCGC", 0.1) for _ in range(3)]
    flat = [np.full((4, 8), 0.25), np.full((4, 8), 0.25)]
    found = motif_families([*ap1, *ctcf, *reverse, *flat], [f"m{i}" for i in range(12)])
    assert list(found.family) == [0] * 5 + [1] * 3 + [0] * 2 + [2, 3]
    assert set(found.representative[:5]) == set(found.representative[8:10])
    assert found.representative[10:] == ["m10", "m11"]


def test_threads_do_not_matter(jaspar):
    motifs, _ = jaspar
    some = motifs[::10]
    one = motif_families([m[2] for m in some], [m[0] for m in some], threads=1)
    two = motif_families([m[2] for m in some], [m[0] for m in some], threads=2)
    np.testing.assert_array_equal(one.p, two.p)
    assert one.representative == two.representative


def test_blocks_and_components_give_what_one_clustering_of_all_gives(jaspar, monkeypatch):
    """Against Tomtom asked once for all, and average linkage of all pairs."""
    import memelite
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    motifs = jaspar[0][::5]
    pwms, ids = [np.ascontiguousarray(m[2]) for m in motifs], [m[0] for m in motifs]
    p = np.asarray(memelite.tomtom(pwms, pwms, n_jobs=1)[0])
    p = np.clip(np.minimum(p, p.T), 1e-30, 1)
    distance = np.log10(p) + 30
    np.fill_diagonal(distance, 0)
    groups = fcluster(linkage(squareform(distance, checks=False), "average"), 26, "distance")

    asked, real = [], memelite.tomtom
    monkeypatch.setattr(memelite, "tomtom", lambda Q, T, **k: asked.append(len(Q)) or real(Q, T, **k))
    monkeypatch.setattr(families_module, "_BLOCK", 50)
    found = motif_families(pwms, ids)
    assert asked == [50, 50, 50, 50, 4]
    np.testing.assert_array_equal(found.p, p)
    assert len(set(groups)) > 100
    pairs = set(zip(groups.tolist(), found.family.tolist()))  # one to one
    assert len(pairs) == len(set(groups)) == len(set(found.family))


def test_edges():
    assert len(motif_families([], []).family) == 0
    one = motif_families([np.full((4, 6), 0.25)], ["only"])
    assert list(one.family) == [0] and one.representative == ["only"]
    with pytest.raises(MarginomeError, match="1 ids for 2 motifs"):
        motif_families([np.eye(4), np.eye(4)], ["a"])
    with pytest.raises(MarginomeError, match=r"motif .a.: .*wanted finite \(4, width\)"):
        motif_families([np.ones((3, 5))], ["a"])
