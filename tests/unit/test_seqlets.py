"""Seqlets against tangermeme 1.6.0 (positive ones), modisco-lite, and the definition by brute force."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tangermeme.seqlet as peer
import torch
from scipy.signal import convolve

from marginome import MarginomeError, recursive_seqlets, tfmodisco_seqlets

SPAN = ["example_idx", "start", "end"]


def attributions(n: int, length: int, seed: int = 0, dtype=np.float64, planted: int = 3) -> np.ndarray:
    """Laplace noise with planted spans of both signs."""
    random = np.random.RandomState(seed)
    X = random.laplace(scale=0.01, size=(n, length))
    for _ in range(n * planted):
        i, at = random.randint(n), random.randint(0, length - 20)
        X[i, at : at + random.randint(4, 18)] += random.normal(scale=0.3)
    return X.astype(dtype)


def by_span(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(SPAN, ignore_index=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 2000), (20, 2114), (150, 400)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"additional_flanks": 5},
        {"threshold": 0.1, "min_seqlet_len": 2, "max_seqlet_len": 40},
        {"threshold": 1e-4, "n_bins": 50},
        {"min_seqlet_len": 7, "max_seqlet_len": 7},
    ],
    ids=str,
)
def test_positive_seqlets_are_the_peers(shape, dtype, options):
    X = attributions(*shape, dtype=dtype)
    ours = by_span(recursive_seqlets(torch.from_numpy(X), signs="positive", **options))
    theirs = by_span(peer.recursive_seqlets(torch.from_numpy(X), **options))
    assert len(ours) > 0 and list(ours.columns) == list(theirs.columns)
    pd.testing.assert_frame_equal(ours[SPAN], theirs[SPAN])
    np.testing.assert_allclose(ours["p-value"], theirs["p-value"], rtol=1e-10)
    np.testing.assert_allclose(ours["attribution"], theirs["attribution"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_negative_seqlets_are_the_peers_of_the_negated_input(dtype):
    X = attributions(20, 1000, dtype=dtype)
    ours = by_span(recursive_seqlets(X, signs="negative"))
    theirs = by_span(peer.recursive_seqlets(-X))
    assert len(ours) > 0 and (ours["attribution"] < 0).all()
    pd.testing.assert_frame_equal(ours[SPAN], theirs[SPAN])
    np.testing.assert_allclose(ours["p-value"], theirs["p-value"], rtol=1e-10)
    np.testing.assert_allclose(ours["attribution"], -theirs["attribution"], rtol=1e-6, atol=1e-9)


def test_both_signs_are_called_independently_and_symmetrically():
    X = attributions(10, 800)
    both = recursive_seqlets(X)
    parts = pd.concat([recursive_seqlets(X, signs=s) for s in ("positive", "negative")])
    pd.testing.assert_frame_equal(by_span(both), by_span(parts.reset_index(drop=True)))
    assert both["p-value"].is_monotonic_increasing
    mirrored = recursive_seqlets(-X)
    pd.testing.assert_frame_equal(by_span(mirrored)[SPAN], by_span(both)[SPAN])


def brute_force(X: np.ndarray, threshold: float, shortest: int, longest: int, n_bins: int) -> set[tuple]:
    """Positive seqlets straight from the definition, with every span of every length written out."""
    width = (X.max() - X.min()) / (n_bins - 1)
    bins = np.floor((X - X.min()) / width).astype(int)
    frequencies = np.bincount(bins.ravel(), minlength=n_bins) / bins.size
    tails, sums = {}, np.ones(1)
    for length in range(1, longest + 1):
        sums = convolve(sums, frequencies, method="direct")
        tails[length] = np.cumsum(sums[::-1])[::-1]
    found = set()
    for i, row in enumerate(bins):
        p = {
            (k, length): tails[length][row[k : k + length].sum()]
            for length in range(shortest, longest + 1)
            for k in range(len(row) - length + 1)
        }
        inside = {
            span: [q for q in p if span[0] <= q[0] and q[0] + q[1] <= span[0] + span[1]]
            for span in p
            if p[span] < threshold
        }
        good = [span for span, parts in inside.items() if all(p[q] < threshold for q in parts)]
        prefixes = {s: max(p[s[0], n] for n in range(shortest, s[1] + 1)) for s in good}
        free = np.ones(len(row), dtype=bool)
        for k, length in sorted(good, key=lambda s: (-s[1], prefixes[s], s[0])):
            if free[k : k + length].all():
                free[k : k + length] = False
                found.add((i, k, k + length, round(p[k, length], 12)))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_definition_by_brute_force(seed):
    X = attributions(2, 60, seed=seed, planted=2)
    options = {"threshold": 0.05, "min_seqlet_len": 3, "max_seqlet_len": 12, "n_bins": 40}
    called = recursive_seqlets(X, signs="positive", **options)
    ours = {(r.example_idx, r.start, r.end, round(r[4], 12)) for r in called.itertuples(index=False)}
    assert ours == brute_force(X, 0.05, 3, 12, 40) and len(ours) > 0


def test_small_p_values_keep_their_precision():
    """Against the same convolution in exact integers."""
    X = np.zeros((1, 2000))
    X[0, :1000] = np.tile([0.0, 1.0, 2.0, 3.0], 250)
    X[0, 1500:1512] = 9.0
    called = recursive_seqlets(X, n_bins=10, max_seqlet_len=12, signs="positive")
    counts = [int((X == b).sum()) for b in range(10)]
    sums = [1]
    for _ in range(12):
        out = [0] * (len(sums) + 9)
        for s, many in enumerate(sums):
            for b, count in enumerate(counts):
                out[s + b] += many * count
        sums = out
    row = called[(called["start"] == 1500) & (called["end"] == 1512)].iloc[0]
    assert row["p-value"] == pytest.approx(sum(sums[108:]) / 2000**12, rel=1e-12) and row["p-value"] < 1e-26
    assert row["attribution"] == 108


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("seed", "target"), [(0, 0.1), (1, 0.05), (2, 0.5)])
def test_a_threshold_from_controls_is_the_peers(seed, target, dtype):
    X, control = attributions(12, 400, seed, dtype), 1.3 * attributions(30, 250, seed + 10, dtype, planted=0)
    given = {"X_control": control, "target_fdr": target, "return_fdr": True, "additional_flanks": 2}
    seqlets, fdr = recursive_seqlets(X, signs="positive", **given)
    theirs = peer.recursive_seqlets(torch.from_numpy(X), **(given | {"X_control": torch.from_numpy(control)}))
    pd.testing.assert_frame_equal(fdr, theirs.fdr, check_dtype=False)
    assert 0 < len(seqlets) == len(theirs.seqlets)
    assert by_span(seqlets)[SPAN].to_numpy().tolist() == by_span(theirs.seqlets)[SPAN].to_numpy().tolist()
    both, rates = recursive_seqlets(X, **given)
    negative = recursive_seqlets(-X, signs="positive", **(given | {"X_control": -control})).fdr
    for column in ("n_seqlets", "n_control_seqlets"):
        assert (rates[column] == fdr[column] + negative[column]).all()
    assert (both["attribution"] < 0).any()


def test_no_threshold_reaches_the_rate_that_was_asked_for():
    X = attributions(5, 300)
    with pytest.warns(UserWarning, match="no threshold reaches a false discovery rate of 0.001"):
        called = recursive_seqlets(X, X_control=X, target_fdr=0.001)
    assert len(called) == 0 and list(called) == [*SPAN, "attribution", "p-value"]


def test_edges_flanks_and_short_sequences():
    X = attributions(4, 300)
    X[0, :8] += 2
    X[1, -8:] += 2
    called = recursive_seqlets(X, additional_flanks=10)
    assert called["start"].min() == 0 and called["end"].max() == 300
    for r in called.itertuples(index=False):
        assert r.attribution == pytest.approx(X[r.example_idx, r.start : r.end].sum())
    short = recursive_seqlets(attributions(300, 24)[:, :6])  # shorter than the longest seqlet
    assert (short["end"] <= 6).all() and len(short) > 0
    for empty in (recursive_seqlets(np.ones((3, 50))), recursive_seqlets(X[:, :3]), recursive_seqlets(X, 1e-300)):
        assert len(empty) == 0
        assert [str(t) for t in empty.dtypes] == ["int64"] * 3 + ["float64"] * 2


def test_kinds_of_input_agree():
    X = torch.from_numpy(attributions(5, 400, dtype=np.float32))
    expected = recursive_seqlets(X)
    pd.testing.assert_frame_equal(recursive_seqlets(X.numpy()), expected)
    pd.testing.assert_frame_equal(recursive_seqlets(X.clone().requires_grad_()), expected)
    pd.testing.assert_frame_equal(recursive_seqlets(X.T.contiguous().T), expected)
    kept = X.clone()
    tfmodisco_seqlets(X)
    assert torch.equal(X, kept)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seed", [0, 1])
def test_tfmodisco_seqlets_are_the_peers(seed):
    # Where the least fraction of windows passes. Elsewhere the peer, which does not sort window sums before it
    # looks for the threshold, differs from modisco-lite (seed 2, or more planted spans). It takes float32 only.
    X = torch.from_numpy(attributions(60, 500, seed, dtype=np.float32, planted=1))
    ours = by_span(tfmodisco_seqlets(X))
    theirs = by_span(peer.tfmodisco_seqlets(X.clone()))
    pd.testing.assert_frame_equal(ours[SPAN], theirs[SPAN])
    np.testing.assert_allclose(ours["attribution"], theirs["attribution"], rtol=1e-6)


def test_tfmodisco_seqlets_of_both_signs():
    X = np.random.RandomState(0).laplace(scale=0.01, size=(40, 500))
    at = np.random.default_rng(1).permuted(np.tile([60, 200, 340], (40, 1)), axis=1)
    for i in range(40):
        X[i, at[i, 0] : at[i, 0] + 11] += 0.3
        X[i, at[i, 1] : at[i, 1] + 11] -= 0.2
    called = tfmodisco_seqlets(X)
    assert ((called["end"] - called["start"]) == 41).all()
    for i, column in ((0, called[called["attribution"] > 1]), (1, called[called["attribution"] < -1])):
        starts = column.set_index("example_idx")["start"].to_numpy()
        assert len(column) == 40 and (np.abs(starts + 15 - at[:, i]) <= 5).all()  # the window covers what was planted
    for r in called.itertuples():
        assert r.attribution == pytest.approx(X[r.example_idx, r.start + 10 : r.end - 10].sum())
    for _, group in called.groupby("example_idx"):
        assert (np.diff(np.sort(group["start"])) > 20).all()
    narrow = tfmodisco_seqlets(X, window_size=11, flank=3)
    assert ((narrow["end"] - narrow["start"]) == 17).all() and len(narrow) >= 80


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: recursive_seqlets(X[0]), "2 axes"),
        (lambda X: recursive_seqlets(X[:, None].repeat(4, axis=1)), r"X.sum\(dim=1\)"),
        (lambda X: recursive_seqlets(X.tolist()), "found list"),
        (lambda X: recursive_seqlets(X[:0]), "nothing in it"),
        (lambda X: recursive_seqlets(np.where(np.arange(5)[:, None] == 3, np.nan, X)), "sequence 3 has NaN"),
        (lambda X: recursive_seqlets(X, threshold=0), "threshold"),
        (lambda X: recursive_seqlets(X, threshold=float("nan")), "threshold"),
        (lambda X: recursive_seqlets(X, min_seqlet_len=0), "1 <= min_seqlet_len"),
        (lambda X: recursive_seqlets(X, min_seqlet_len=9, max_seqlet_len=8), "found 9 and 8"),
        (lambda X: recursive_seqlets(X, n_bins=1), "n_bins"),
        (lambda X: recursive_seqlets(X, additional_flanks=-1), "additional_flanks"),
        (lambda X: recursive_seqlets(X, return_fdr=True), "X_control"),
        (lambda X: recursive_seqlets(X, X_control=X, target_fdr=float("nan")), "target_fdr"),
        (lambda X: recursive_seqlets(X, X_control=X * np.inf), "X_control"),
        (lambda X: recursive_seqlets(X, signs="pos"), "both, positive, negative"),
        (lambda X: tfmodisco_seqlets(X[:, :40]), "shorter than a seqlet of 41"),
        (lambda X: tfmodisco_seqlets(X, flank=0), "at least 1"),
        (lambda X: tfmodisco_seqlets(X, target_fdr=1.1), "from 0 to 1"),
        (lambda X: tfmodisco_seqlets(X, min_passing_frac=-0.1), "from 0 to 1"),
        (lambda X: tfmodisco_seqlets(np.abs(X)), "modisco-lite cannot tell"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(MarginomeError, match=message):
        call(attributions(5, 200))
