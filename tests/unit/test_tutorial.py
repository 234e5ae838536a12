"""The field's marginalization tutorial, cell by cell, on the shipped models, with what it concludes.

Numbers in comments are the tutorial's cells. Where it has Beluga (DNase and factors, one tensor of tasks) there is
MPRA-DragoNN here, whose tasks answer to the same AP-1 motif; where it has a BPNet of GATA2 there is one of CTCF.
"""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from marginome import (
    Readout,
    deep_lift_shap,
    dinucleotide_shuffle,
    load_model,
    marginalize,
    marginalize_annotations,
    multisubstitute,
    plot_logo,
    random_one_hot,
    recursive_seqlets,
    reverse_complement,
    saturation_mutagenesis,
)

AP1 = "GTGACTCATC"
CTCF = "CCACCAGGGGGCGCT"  # consensus of MA0139.2
TASKS = [
    f"{cell}_{promoter}_{rep}" for cell in ("K562", "HepG2") for promoter in ("minP", "sv40p") for rep in (1, 2, "all")
]
SCRAMBLED = "GCGCTAGCACGCGGC"  # the same bases in another order


@pytest.fixture(scope="module")
def mpra(resources):
    files = resources / "models"
    settings = {
        "weights": str(files / "mpra_dragonn_conv.hdf5"),
        "architecture": str(files / "mpra_dragonn_conv.model.json"),
        "outputs": {"activity": {"names": TASKS}},
    }
    return load_model("mpra", settings).module


@pytest.fixture(scope="module")
def bpnet(resources):
    weights = str(resources / "models/bpnet_ctcf_k562_2114.state_dict.pt")
    return load_model("bpnet", {"loader": "bpnet_lite", "weights": weights, "input_length": 2114}).module


@pytest.fixture(scope="module")
def inserted(bpnet):
    """Cells 8 and 9: backgrounds, and predictions without and with the motif in their middle."""
    X = random_one_hot((12, 4, 2114), random_state=0).type(torch.float32)
    return X, marginalize(bpnet, X, CTCF, device="cpu")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_a_motif_raises_its_tasks_in_nearly_all_backgrounds(mpra):
    X = random_one_hot((100, 4, 145), random_state=0).type(torch.float32)  # 3
    y_before, y_after = marginalize(mpra, X, AP1, device="cpu")  # 4
    assert y_before.shape == y_after.shape == (100, 12)

    y_delta = y_after - y_before  # 5
    idxs = torch.flip(torch.argsort(y_delta.mean(axis=0)), dims=(0,))
    ymax = max(abs(y_delta.min()), abs(y_delta.max()))
    plt.imshow(y_delta[:, idxs].T, aspect="auto", cmap="RdBu_r", vmin=-ymax, vmax=ymax, interpolation="nearest")
    plt.scatter(y_before.mean(axis=0), y_after.mean(axis=0), s=10)  # 7
    # Every task reads expression next to an enhancer, and AP-1 drives expression in both cell lines (5 and 6).
    assert ((y_delta > 0).float().mean(axis=0) > 0.9).all()
    assert TASKS[idxs[0]].startswith("K562_minP")
    control = marginalize(mpra, X, "CTGCATCAGT", device="cpu")
    assert (control.y_after - control.y_before).mean(axis=0).max() < 0.3 * y_delta.mean(axis=0).max()


def test_counts_rise_with_the_motif_the_model_knows(bpnet, inserted):
    X, (y_before, y_after) = inserted  # 8
    assert [tuple(y.shape) for y in y_after] == [(12, 2, 1000), (12, 1)]
    assert (y_after[1] > y_before[1]).float().mean() > 0.9
    known = (y_after[1] - y_before[1]).mean()
    assert known > 1
    for other, factor in ((SCRAMBLED, 0.2), ("CTTATCT", 0.05)):  # GATA is none of its business
        before, after = marginalize(bpnet, X, other, device="cpu")
        assert torch.equal(before[1], y_before[1])
        assert (after[1] - before[1]).mean().abs() < factor * known
    before, after = marginalize(bpnet, X, reverse_complement(CTCF), device="cpu")
    assert (after[1] - before[1]).mean() > 0.7 * known


def test_the_profile_peaks_at_the_motif_and_moves_with_it(bpnet, inserted):
    X, (y_before, y_after) = inserted
    yb = torch.nn.functional.softmax(y_before[0].mean(axis=0), dim=-1)  # 9
    ya = torch.nn.functional.softmax(y_after[0].mean(axis=0), dim=-1)
    plt.plot(yb[0], color="0.7", linewidth=1)
    plt.plot(ya[0], color="r", linewidth=1)
    assert yb.max() < 0.5 * ya.max()  # flat before

    start = 750  # 10: the middle of the motif goes from 1057 to 757
    _, moved = marginalize(bpnet, X, CTCF, start=start, device="cpu")
    ym = torch.nn.functional.softmax(moved[0].mean(axis=0), dim=-1)
    # The two summits lie on either side of the motif, and move by as much as it does.
    summit, summit_moved = ya.argmax(dim=-1), ym.argmax(dim=-1)
    centre = 1057 - 557
    assert summit[0] < centre < summit[1]
    assert torch.allclose((summit - summit_moved).float(), torch.tensor(300.0), atol=30)


def test_additional_arguments():
    torch.manual_seed(0)

    class FlattenDense(torch.nn.Module):  # 11
        def __init__(self, length=10):
            super().__init__()
            self.dense = torch.nn.Linear(length * 4, 3)

        def forward(self, X, alpha=0, beta=1):
            X = X.reshape(X.shape[0], -1)
            return self.dense(X) * beta + alpha

    model = FlattenDense()
    X = random_one_hot((20, 4, 10)).float()
    alpha, beta = torch.randn(20, 1), torch.randn(20, 1)
    y_before, y_after = marginalize(model, X, "ACGTACGT", args=(alpha, beta), device="cpu")
    assert y_before.shape == y_after.shape == (20, 3)
    expected = model(X, alpha, beta)
    assert torch.allclose(y_before, expected, atol=1e-6)
    assert torch.allclose((y_after - y_before) / beta, marginalize_plain(model, X), atol=1e-4)


def marginalize_plain(model, X):
    y_before, y_after = marginalize(model, X, "ACGTACGT", device="cpu")
    return y_after - y_before


def test_attributions_light_up_the_motif(mpra, bpnet):
    X = random_one_hot((5, 4, 145), random_state=0).type(torch.float32)
    for kwargs in (  # 12, 14, 15, 16
        {"target": 2},
        {"additional_func_kwargs": {"target": 2}},
        {"target": 2, "n_shuffles": 1},
    ):
        attr_before, attr_after = marginalize(
            mpra, X, AP1, func=deep_lift_shap, device="cpu", random_state=0, batch_size=64, **kwargs
        )
        assert attr_after.shape == (5, 4, 145)
        plot_logo(attr_after.mean(dim=0), ax=plt.figure().gca(), start=50, end=100)  # 13
        middle = slice(72 - 5, 72 + 5)
        before, after = (a.mean(dim=0)[:, middle].sum() for a in (attr_before, attr_after))
        share = attr_after.mean(dim=0).clamp(min=0)[:, middle].sum() / attr_after.mean(dim=0).clamp(min=0).sum()
        assert after > 0.3 and after > 3 * before.abs() and share > 0.3

    # On BPNet's counts and on its profile, without a class of one's own.
    X = random_one_hot((2, 4, 2114), random_state=0).type(torch.float32)
    at = slice(1050, 1065)
    for readout in (Readout(bpnet, 1), Readout(bpnet, 0, reduce="profile")):
        before, after = marginalize(readout, X, CTCF, func=deep_lift_shap, n_shuffles=4, random_state=0, device="cpu")
        assert (after[:, :, at].sum(dim=(1, 2)) > 0.6 * after.clamp(min=0).sum(dim=(1, 2)).clamp(max=1.5)).all()
        top = after.sum(dim=1).mean(dim=0).argsort()[-10:]
        assert ((top >= 1050) & (top < 1065)).all()
        assert before[:, :, at].sum(dim=(1, 2)).abs().max() < 0.2


def test_saturation_mutagenesis_lights_up_the_motif(mpra):
    X = random_one_hot((1, 4, 145), random_state=0).type(torch.float32)
    attr_before, attr_after = marginalize(mpra, X, AP1, func=saturation_mutagenesis, target=2, device="cpu")  # 17
    assert attr_after.shape == (1, 4, 145)
    plot_logo(attr_after[0], ax=plt.figure().gca(), start=50, end=100)
    middle = slice(67, 77)
    assert attr_after[0].abs().sum(dim=0)[middle].mean() > 3 * attr_after[0].abs().sum(dim=0)[:50].mean()
    assert attr_after[0, :, middle].sum() > 2 * attr_before[0, :, middle].sum().abs()
    part_before, part_after = marginalize(  # 18
        mpra,
        X,
        AP1,
        func=saturation_mutagenesis,
        device="cpu",
        additional_func_kwargs={"target": 2, "start": 50, "end": 100},
    )
    assert part_after.shape == (1, 4, 50)
    assert torch.allclose(part_after, attr_after[:, :, 50:100], atol=1e-5)
    assert torch.allclose(part_before, attr_before[:, :, 50:100], atol=1e-5)


def test_marginalizing_annotations_tells_seqlets_from_noise(bpnet):
    X = random_one_hot((1, 4, 2114), random_state=0).type(torch.float32)  # 19
    X = multisubstitute(X, [CTCF, reverse_complement(CTCF)], [60])
    model = Readout(bpnet, 1)
    X_attr = deep_lift_shap(model, X, device="cpu", n_shuffles=20, random_state=0)
    seqlets = recursive_seqlets(X_attr.sum(dim=1), additional_flanks=5)
    assert list(seqlets.columns) == ["example_idx", "start", "end", "attribution", "p-value"]
    ax = plt.subplot(111)
    plot_logo(X_attr[0], ax=ax, start=980, end=1130, annotations=seqlets, score_key="attribution")
    plt.ylim(-0.025, 0.25)
    assert len(ax.texts) > 0

    annotations = seqlets[["example_idx", "start", "end"]].values  # 20
    X0 = dinucleotide_shuffle(X, n=8, random_state=0)[0]
    y_before, y_after = marginalize_annotations(bpnet, X, X0, annotations, device="cpu")
    assert y_before[1].shape == y_after[1].shape == (len(seqlets), 8, 1)
    effects = (y_after[1] - y_before[1]).mean(axis=1)[:, 0].numpy()  # 22

    # The motifs went in at 1012 and at 1087; everything else that was called is noise.
    real = np.array([any(s <= at and at + 15 <= e for at in (1012, 1087)) for s, e in annotations[:, 1:]])
    assert real.sum() == 2 and len(real) > 2
    assert effects[real].min() > 1 and np.abs(effects[~real]).max() < 0.1
    assert seqlets["attribution"][real].min() > 0.5

    attr_before, attr_after = marginalize_annotations(  # 23
        model,
        X,
        X0[:2],
        annotations[real],
        func=deep_lift_shap,
        warning_threshold=5e-3,
        n_shuffles=2,
        random_state=0,
        device="cpu",
    )
    assert attr_before.shape == attr_after.shape == (2, 2, 4, 2114)
    for attr in attr_after:  # 24
        plot_logo(attr.mean(axis=0)[:, 1035:1080], ax=plt.figure().gca())
        assert attr.mean(axis=0)[:, 1042:1072].sum() > 0.5
