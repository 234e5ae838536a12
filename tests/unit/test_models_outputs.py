"""Named outputs, extra inputs, alphabets, strand averages, and Beluga on its rebuilt architecture."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
import pyBigWig
import pytest
import torch
import torch.nn.functional as F

from marginome import MarginomeError, marginalize_many, one_hot_encode, random_one_hot, reverse_complement
from marginome.model_check import check_model
from marginome.models import load_model
from marginome.models.headers import read_header
from marginome.models.reading import parse_index

LENGTH = 64
CODE = """
import torch


class Nested(torch.nn.Module):
    '''A profile of two strands, counts, and bins by tracks, as a dict with a tuple in it.'''

    def __init__(self, seed=0, tracks=6):
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.w = torch.nn.Parameter(torch.randn(2, 4, 9, generator=g))
        self.v = torch.nn.Parameter(torch.randn(tracks, 4, 8, generator=g))

    def forward(self, X, *extra):
        profile = torch.nn.functional.conv1d(X, self.w)
        bins = torch.nn.functional.conv1d(X, self.v, stride=8).transpose(1, 2)
        for value in extra:
            profile = profile + value.flatten(1).sum(1)[:, None, None]
        return {"heads": (profile, profile.exp().sum((1, 2))), "bins": bins}


class Flat(torch.nn.Module):
    '''One profile of one strand without an axis for it.'''

    def forward(self, X):
        return torch.nn.functional.conv1d(X, torch.arange(20.0).reshape(1, 4, 5))[:, 0]


class Counting(torch.nn.Module):
    '''The middle bins of eight bases: how many of each base are in them, (bins, tracks) and (tracks, bins).'''

    def forward(self, X):
        bins = torch.nn.functional.avg_pool1d(X * torch.tensor([1.0, 2, 4, 8])[:, None], 8)[..., 1:-1]
        return bins.transpose(1, 2), bins


class Scaled(torch.nn.Module):
    '''y = alpha * X + beta, as in the tutorial: two scalars per sequence.'''

    def forward(self, X, alpha, beta):
        return (X * alpha[:, :, None]).sum((1, 2))[:, None] + beta


def per_million(value):
    return value / 1e6


def not_a_tensor(value):
    return value.sum()
"""


@pytest.fixture
def code(tmp_path) -> str:
    (tmp_path / "own.py").write_text(CODE)
    return str(tmp_path / "own.py")


@pytest.fixture
def X() -> torch.Tensor:
    return random_one_hot((4, 4, LENGTH), random_state=0).float()


def load(code: str, outputs: dict, name: str = "Nested", **more):
    return load_model("m", {"loader": f"{code}:{name}", "input_length": LENGTH, "outputs": outputs} | more)


def names(tmp_path, text: str, file: str = "names.txt") -> str:
    (tmp_path / file).write_text(text)
    return str(tmp_path / file)


# --------------------------------------------------------------------------------------------- outputs
def test_heads_slices_reductions_and_transforms(code, X):
    loaded = load(code, {
        "profile": {"kind": "profile", "head": ["heads", 0]},
        "plus": {"kind": "profile", "head": ["heads", 0], "index": 0},
        "counts": {"head": ["heads", 1], "transform": "log", "unit": "log counts"},
        "one": {"head": "bins", "index": "2:4, 5", "reduce": "mean"},
        "some": {"head": "bins", "index": "2:4, [1, 3]", "reduce": {"how": "mean", "axes": [1]}, "names": ["a", "b"]},
        "own": {"head": ["heads", 1], "transform": f"{code}:per_million", "measure": "log2_fold_change"},
        "total": {"head": "bins", "reduce": "logsumexp"},
    })  # fmt: skip
    y, found = loaded.module(X), loaded.readouts()(X)
    profile, counts = y["heads"]
    bins = y["bins"]
    assert torch.equal(found["profile"], profile)
    assert torch.equal(found["plus"], profile[:, :1])
    assert torch.equal(found["counts"], counts.log()[:, None])
    torch.testing.assert_close(found["one"], bins[:, 2:4, 5].mean(1, keepdim=True))
    torch.testing.assert_close(found["some"], bins[:, 2:4][:, :, [1, 3]].mean(1))
    torch.testing.assert_close(found["own"], counts[:, None] / 1e6)
    torch.testing.assert_close(found["total"], bins.flatten(1).logsumexp(1, keepdim=True))
    shapes = {o.name: o.shape for o in loaded.outputs}
    assert shapes == {name: tuple(value.shape[1:]) for name, value in found.items()}
    by_name = {o.name: o for o in loaded.outputs}
    assert by_name["profile"].measure == "jensen_shannon_distance" and by_name["profile"].softmax == "both"
    assert by_name["some"].names == ("a", "b") and by_name["one"].names == ("one",)


def test_a_profile_without_a_strand_axis(code, X):
    loaded = load(code, {"track": {"kind": "profile", "softmax": "strand"}}, name="Flat")
    assert loaded.outputs[0].shape == (1, 60) and loaded.outputs[0].head is None
    assert torch.equal(loaded.readouts()(X)["track"], loaded.module(X)[:, None])


@pytest.mark.parametrize("flanks", [{}, {"left": "ACGTACGT", "right": "ACGTACGTACGTACGT"}])
@pytest.mark.parametrize(
    ("head", "index"),
    [(0, ":, 1"), (1, "1"), (1, None), (1, "0:2"), (0, "2:4, 1"), (1, "1, 1:"), (0, "[3, 4, 5], 1")],
)
def test_a_profile_in_bins_lies_where_a_base_changes_it(code, X, flanks, head, index):
    """Base by base: what changes when it does is the value whose bases have it, or is beside the profile."""
    output = {"kind": "profile", "head": head, "bin": 8} | ({"index": index} if index else {})
    loaded = load(code, {"p": output}, name="Counting", flanks=flanks)
    (told,), read = loaded.outputs, loaded.readouts()
    assert told.bin == 8
    seen = 0
    for x in range(LENGTH):
        edited = X[:1].clone()
        edited[..., x] = X[:1, :, x].roll(1, dims=1)
        changed = (read(edited)["p"] != read(X[:1])["p"]).any(dim=1)[0].nonzero().flatten().tolist()
        assert len(changed) <= 1
        for value in changed:
            assert told.first + 8 * value <= x < told.first + 8 * (value + 1)
            seen += 1
    assert seen >= 8


def test_where_a_profile_lies_is_not_guessed(code):
    def placed(head, name="Nested", **output):
        (told,) = load(code, {"p": {"kind": "profile", "head": head} | output}, name=name).outputs
        return told.first, told.bin

    profile = ["heads", 0]
    assert placed(profile) == (None, None)  # 56 values of 64 bp: cropped, or in bins
    assert placed(profile, bin=1) == (4, 1)
    assert placed(profile, bin=1, index=":, 10:20") == (14, 1)
    assert placed(1, "Counting", index="[0, 1], [0, 1, 4]", bin=8) == (None, None)  # no run of neighbours
    over_tracks = {"how": "logsumexp", "axes": [2]}
    assert placed(0, "Counting", index="1:4", reduce=over_tracks, transform="exp", bin=8) == (16, 8)
    assert placed(1, "Counting", index="1, [4, 3]", bin=8) == (None, None)
    assert placed(1, "Counting", index="1, [1, 3, 5]", bin=8) == (None, None)
    with pytest.raises(
        MarginomeError, match=r"outputs\.p\.bin: 56 values of 2 bp are 112 bp, and the model reads 64 bp"
    ):
        placed(profile, bin=2)
    for key, value in (("bin", 8), ("softmax", "both")):
        with pytest.raises(MarginomeError, match=rf"outputs\.c\.{key}: a scalar output has none"):
            load(code, {"c": {"head": ["heads", 1], key: value}})
    noted = check_model(load(code, {"p": {"kind": "profile", "head": profile}}), attribution=False)["warnings"]
    assert [note for note in noted if "'p' has 56 values, and it is not known how many bases" in note]


def test_names_from_files(code, tmp_path):
    def of(source):
        output = {"head": "bins", "reduce": {"how": "mean", "axes": [1]}, "names": source}
        return load(code, {"y": output}).outputs[0].names

    assert of(names(tmp_path, "a\nb\nc d\ne\nf\ng\n")) == ("a", "b", "c d", "e", "f", "g")
    assert of(names(tmp_path, "a\nb\na\na\nc\nd")) == ("a", "b", "a (2)", "a (3)", "c", "d")
    table = names(tmp_path, "cell\tassay\n" + "".join(f"K562\tmark{i}\n" for i in range(6)), "names.tsv")
    assert of({"file": table, "columns": ["cell", "assay"]})[1] == "K562|mark1"
    with pytest.raises(MarginomeError, match="5 names for 6 targets"):
        of(names(tmp_path, "a\nb\nc\nd\ne\n"))
    with pytest.raises(MarginomeError, match="line 2 is empty"):
        of(names(tmp_path, "a\n\nc\nd\ne\nf\n"))
    with pytest.raises(MarginomeError, match="Did you mean 'assay'"):
        of({"file": table, "columns": ["asay"]})
    with pytest.raises(MarginomeError, match=r"outputs\.y: .*none\.txt: there is no such file"):
        of(str(tmp_path / "none.txt"))
    packed = tmp_path / "names.gz"
    with gzip.open(packed, "wb", compresslevel=1) as handle:
        for _ in range(33):
            handle.write(bytes(8 << 20))
    with pytest.raises(MarginomeError, match=r"outputs\.y: .*names\.gz: it holds more than 256 MB"):
        of(str(packed))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (None, "the outputs have no names: the model returns 3 heads"),
        ({"y": {}}, "which head"),
        ({"y": {"head": "bin"}}, "there is no head 'bin'"),
        ({"y": {"head": "heads"}}, r"which head\? The model returns 2 tensors there"),
        ({"y": {"head": ["heads", 2]}}, "there is no head"),
        ({"y": {"head": "bins"}}, "one number per target; this readout is \\(8, 6\\)"),
        ({"y": {"head": "bins", "index": ":, 6"}}, r": :, 6 is out of range for an output \(n, 8, 6\)"),
        ({"y": {"head": "bins", "index": "0"}}, "0 names for 6 targets"),
        ({"y": {"head": "bins", "index": "0", "names": list("abc")}}, "3 names for 6 targets"),
        ({"y": {"head": "bins", "index": "a:3"}}, "cannot be read at 'a:3'"),
        ({"y": {"head": ["heads", 1], "kind": "profile"}}, "a profile has the shape"),
        ({"y": {"head": ["heads", 1], "transform": "lgo"}}, "Did you mean 'log'"),
        ({"y": {"head": ["heads", 1], "measure": "diference"}}, "Did you mean 'difference'"),
        ({"y": {"head": ["heads", 1], "transform": "OWN:not_a_tensor"}}, "must keep the batch"),
        ({"y": {"head": ["heads", 1], "transform": "OWN:nothing"}}, "no name in .*own.py 'nothing'"),
    ],
)
def test_outputs_that_do_not_fit(code, outputs, message):
    for entry in (outputs or {}).values():
        if "transform" in entry:
            entry["transform"] = entry["transform"].replace("OWN", code)
    with pytest.raises(MarginomeError, match=message):
        load(code, outputs)


@pytest.mark.parametrize("text", ["__import__('os')", "1:2:3", "", "[]", "[1, x]", "...", "1.5"])
def test_an_index_is_parsed_not_evaluated(text):
    with pytest.raises(MarginomeError):
        parse_index(text)


def test_an_index_is_numpys():
    value = np.arange(2 * 9 * 7).reshape(2, 9, 7)
    for text in ("0", "-1", "2:4", ":, 5", "1:, [0, 3]", ":3, -2", ":"):
        index = parse_index(text)
        np.testing.assert_array_equal(value[(slice(None), *index)], eval(f"value[:, {text}]"))


# ---------------------------------------------------------------------------------------- extra inputs
SCALED = {"y": {"unit": "a"}}
IDS = ["chr1:100-164", "chr1:40-104", "shuffled_3"]


def arguments(code, *entries, ids=IDS):
    return load(code, SCALED, name="Scaled", arguments=list(entries)).arguments(ids)


def test_scalars_constant_and_from_a_table(code, tmp_path, X):
    table = names(tmp_path, "background_id\talpha\tbeta\n" + "".join(
        f"{name}\t{i}.5\t{-i}\n" for i, name in enumerate(reversed(IDS))), "scalars.tsv")  # fmt: skip
    alpha, beta = arguments(code, {"name": "alpha", "table": table}, {"name": "beta", "value": 2, "shape": [1]})
    assert alpha.tolist() == [[2.5], [1.5], [0.5]] and beta.tolist() == [[2.0]] * 3
    loaded = load(code, SCALED, name="Scaled", arguments=[
        {"name": "alpha", "table": table}, {"name": "b", "table": table, "columns": ["beta"]}])  # fmt: skip
    alpha, beta = loaded.arguments(IDS, X[:3])
    assert torch.equal(loaded.readouts()(X[:3], alpha, beta)["y"], alpha * LENGTH + beta)
    with pytest.raises(MarginomeError, match="1 of 2 backgrounds are missing, the first: 'other'"):
        loaded.arguments([IDS[0], "other"])
    with pytest.raises(MarginomeError, match="3 background ids for 4 sequences"):
        loaded.arguments(IDS, X)


def test_tracks_from_hdf5(code, tmp_path):
    file = tmp_path / "tracks.h5"
    values = np.random.default_rng(0).normal(size=(3, 2, 5)).astype(np.float32)
    with h5py.File(file, "w") as handle:
        handle["signal"] = values
        handle["background_id"] = [IDS[2], IDS[0], IDS[1]]
    entry = {"name": "signal", "hdf5": str(file), "shape": [2, 5]}
    loaded = load(code, {"y": {"head": ["heads", 1]}}, arguments=[entry])
    (found,) = loaded.arguments([*IDS, IDS[0]])
    np.testing.assert_array_equal(found, values[[1, 2, 0, 1]])
    with pytest.raises(MarginomeError, match="Did you mean 'signal'"):
        load(code, {"y": {"head": ["heads", 1]}}, arguments=[entry | {"dataset": "signl"}]).arguments(IDS)
    with pytest.raises(MarginomeError, match=r"shape \(2, 5\) for each background; the model wants \(2, 6\)"):
        load(code, {"y": {"head": ["heads", 1]}}, arguments=[entry | {"shape": [2, 6]}]).arguments(IDS)


@pytest.fixture
def bigwigs(tmp_path) -> list[str]:
    files = []
    for track in range(2):
        files.append(str(tmp_path / f"track{track}.bw"))
        with pyBigWig.open(files[-1], "w") as handle:
            handle.addHeader([("chr1", 200)])
            handle.addEntries("chr1", 50, values=[float(i + 1000 * track) for i in range(50, 190)], span=1, step=1)
    return files


def test_control_tracks_from_bigwig(code, bigwigs):
    loaded = load(code, {"y": {"head": ["heads", 1]}},
                  arguments=[{"name": "controls", "bigwig": bigwigs, "shape": [2, 20]}])  # fmt: skip
    (found,) = loaded.arguments(["chr1:100-164", "chr1:0-64_shuffle2", "chr1:150-214"])
    assert found.shape == (3, 2, 20)
    np.testing.assert_array_equal(found[0, 0], np.arange(122, 142))  # 20 bp around the centre, 132
    np.testing.assert_array_equal(found[0, 1], np.arange(1122, 1142))
    np.testing.assert_array_equal(found[1, 0], [0] * 20)  # no data there: 22 to 42
    np.testing.assert_array_equal(found[2, 0], [*range(172, 190), 0, 0])  # data end at 190
    with pytest.raises(MarginomeError, match="'random_1' has no genome coordinates"):
        loaded.arguments(["random_1"])
    with pytest.raises(MarginomeError, match="no chromosome '1'"):
        loaded.arguments(["1:100-164"])


def test_log_of_summed_tracks_for_basepairmodels(bigwigs):
    from pathlib import Path

    file = str(Path(__file__).parents[1] / "data/keras2/bpnet.h5")
    loaded = load_model("bpnet", {"weights": file, "arguments": [
        {"name": "profile_bias_input_0", "bigwig": bigwigs},
        {"name": "counts_bias_input_0", "bigwig": bigwigs, "track_length": 60}]})  # fmt: skip
    profile, counts = loaded.arguments(["chr1:100-164"])
    assert profile.shape == (1, 2, 60)
    torch.testing.assert_close(counts, torch.log1p(profile.sum(-1)))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"name": "a", "value": 1, "table": "x"}], "value and table are given; one is wanted"),
        ([{"name": "a", "value": 1}], "the shape is not known"),
        (
            [{"name": "a", "value": 1, "shape": [1]}, {"name": "a", "value": 2, "shape": [1]}],
            "two arguments have one name",
        ),
        ([{"name": "a", "bigwig": ["x.bw"], "shape": [2, 10]}], "1 bigWig files for 2 tracks"),
        ([{"name": "a", "bigwig": ["x.bw"], "shape": [1]}], "track_length is missing"),
        ([{"name": "a", "value": 1, "shape": [1], "flip": [1]}], "flip .* for a shape of 1 axes"),
        (
            [{"name": "a", "value": 1, "shape": [3]}, {"name": "b", "value": 1, "shape": [1]}],
            "the model fails on a sequence",
        ),
    ],
)
def test_arguments_that_do_not_fit(code, entries, message):
    with pytest.raises(MarginomeError, match=message):
        load(code, SCALED, name="Scaled", arguments=entries)


def test_known_inputs_are_checked_by_name(resources):
    from pathlib import Path

    file = str(Path(__file__).parents[1] / "data/keras2/bpnet.h5")
    with pytest.raises(MarginomeError, match="Did you mean 'profile_bias_input_0'"):
        load_model("b", {"weights": file, "arguments": [{"name": "profile_bias", "value": 1}]})
    ones = load_model("b", {"weights": file, "arguments": [{"name": "profile_bias_input_0", "value": 1}]})
    profile, counts = ones.arguments(["a"])
    assert (profile == 1).all() and (counts == 0).all()


# ------------------------------------------------------------------------- alphabets, strands, ensembles
def test_alphabet_order_is_exact(code, X):
    one = load(code, {"p": {"kind": "profile", "head": ["heads", 0]}})
    other = load(code, {"p": {"kind": "profile", "head": ["heads", 0]}}, alphabet="GTAC")
    order = ["ACGT".index(letter) for letter in "GTAC"]
    assert torch.equal(other.readouts()(X)["p"], one.readouts()(X[:, order])["p"])


def test_strand_average(code, X):
    outputs = {"p": {"kind": "profile", "head": ["heads", 0]}, "c": {"head": ["heads", 1]}}
    text = CODE.replace(', "bins": bins', "")
    with open(code, "w") as handle:
        handle.write(text)
    one, both = load(code, outputs), load(code, outputs, average_strands=True)
    a, b = one.readouts()(X), one.readouts()(reverse_complement(X).float())
    found = both.readouts()(X)
    torch.testing.assert_close(found["p"], (a["p"] + b["p"].flip((1, 2))) / 2)
    torch.testing.assert_close(found["c"], (a["c"] + b["c"]) / 2)
    turned = both.readouts()(reverse_complement(X).float())  # the average knows no strand
    torch.testing.assert_close(turned["p"].flip((1, 2)), found["p"])
    torch.testing.assert_close(turned["c"], found["c"])


def test_strand_average_of_one_strand_and_of_controls(code, X):
    flat = {"p": {"kind": "profile"}}
    one, both = load(code, flat, name="Flat"), load(code, flat, name="Flat", average_strands=True)
    expected = (one.module(X) + one.module(reverse_complement(X).float()).flip(1)) / 2
    torch.testing.assert_close(both.module(X), expected)


def test_strand_average_turns_control_tracks(tmp_path):
    """bpnet-lite's controls: strands and positions; a model that is its own mirror image shows it."""
    torch.manual_seed(0)
    shapes = {"iconv": (3, 4, 21), "rconvs.0": (3, 3, 3), "fconv": (2, 5, 75), "linear": (1, 4)}
    state = {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}
    state |= {f"{name}.bias": torch.randn(shape[0]) for name, shape in shapes.items()}
    torch.save(state, tmp_path / "w.pt")
    settings = {"weights": str(tmp_path / "w.pt"), "input_length": 200}
    one, both = load_model("one", settings), load_model("both", settings | {"average_strands": True})
    X, controls = random_one_hot((2, 4, 200), random_state=0).float(), torch.rand(2, 2, 200)
    p, c = one.module(X, controls)
    q, d = one.module(X.flip((1, 2)), controls.flip((1, 2)))
    found = both.module(X, controls)
    torch.testing.assert_close(found[0], (p + q.flip((1, 2))) / 2)
    torch.testing.assert_close(found[1], (c + d) / 2)


STRANDED = """
import torch


class Stranded(torch.nn.Module):
    '''Bins by tracks, numbers by track, a profile of two strands.'''

    def __init__(self, positions_first=True):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.w = torch.nn.Parameter(torch.randn(2, 4, 9, generator=g))
        self.v = torch.nn.Parameter(torch.randn(7, 4, 8, generator=g))
        self.positions_first = positions_first

    def forward(self, X):
        bins = torch.nn.functional.conv1d(X, self.v, stride=8).tanh()
        profile = torch.nn.functional.conv1d(X, self.w)
        counts = bins[:, :4].mean(2)
        return {"bins": bins.transpose(1, 2) if self.positions_first else bins, "heads": (profile, counts)}
"""


@pytest.mark.parametrize(("positions", "table"), [(1, False), (2, True)])
def test_strand_average_of_stranded_tracks_that_the_config_names(tmp_path, X, positions, table):
    """Two passes by hand, of tracks by bins and of numbers by track; the profile as it is declared."""
    (tmp_path / "own.py").write_text(STRANDED)
    order, counts = [1, 0, 2, 3, 6, 5, 4], [0, 1, 3, 2]
    pairs: object = [[0, 1], [6, 4]]
    if table:
        rows = "".join(f"{i}\t{other}\n" for i, other in enumerate(order))
        (tmp_path / "targets.txt").write_text("index\tstrand_pair\n" + rows)
        pairs = {"file": str(tmp_path / "targets.txt"), "column": "strand_pair"}
    settings = {
        "loader": f"{tmp_path}/own.py:Stranded", "input_length": LENGTH,
        "parameters": {"positions_first": positions == 1},
        "outputs": {
            "b": {"head": "bins", "reduce": {"how": "mean", "axes": [positions]}, "names": list("abcdefg")},
            "c": {"head": ["heads", 1], "names": list("abcd")}, "p": {"kind": "profile", "head": ["heads", 0]},
        },
    }  # fmt: skip
    strands = [{"head": "bins", "positions": positions, "tracks": 3 - positions, "pairs": pairs},
               {"head": ["heads", 1], "tracks": 1, "pairs": [[2, 3]]}]  # fmt: skip
    one, both = load_model("m", settings), load_model("m", settings | {"average_strands": strands})
    a, b, found = one.module(X), one.module(reverse_complement(X).float()), both.module(X)
    back = b["bins"].flip(positions)
    back = back[:, :, order] if positions == 1 else back[:, order]
    torch.testing.assert_close(found["bins"], (a["bins"] + back) / 2)
    torch.testing.assert_close(found["heads"][1], (a["heads"][1] + b["heads"][1][:, counts]) / 2)
    torch.testing.assert_close(found["heads"][0], (a["heads"][0] + b["heads"][0].flip((1, 2))) / 2)
    again = both.readouts()(reverse_complement(X).float())  # the average knows no strand
    torch.testing.assert_close(again["c"][:, counts], both.readouts()(X)["c"])
    torch.testing.assert_close(again["b"][:, order], both.readouts()(X)["b"])
    assert check_model(both)["problems"] == []
    effects = [marginalize_many(both.readouts(), X, ["ACGTGA", "TTGACA"], device="cpu", engine=engine)[1]
               for engine in ("auto", "full")]  # fmt: skip
    for name in effects[0]:
        torch.testing.assert_close(effects[0][name], effects[1][name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("strands", "message"),
    [
        ([{"head": "bin", "positions": 1}], "there is no .*'bin'"),
        ([{"head": "bins", "positions": 3}], r"positions is axis 3; this head has the axes 1 to 2"),
        ([{"head": "bins", "positions": 0}], "The batch is axis 0"),
        ([{"head": "bins", "positions": 1, "tracks": 1}], "positions and tracks are both axis 1"),
        ([{"head": "bins", "pairs": [[0, 1]]}], "pairs are given without the axis of tracks"),
        ([{"head": "bins", "tracks": 1, "pairs": [[0, 99]]}], r"\[0, 99\] is no pair of tracks"),
        ([{"head": "bins", "tracks": 1, "pairs": [[0, 1], [1, 2]]}], r"a track of \[1, 2\] is in another pair too"),
        ([{"head": "bins", "axis": 1}], "no key 'axis'"),
        ([None], "average_strands cannot be used"),
    ],
)
def test_strands_that_do_not_fit(code, strands, message):
    with pytest.raises(MarginomeError, match=message):
        load(code, {"p": {"kind": "profile", "head": ["heads", 0]}}, average_strands=strands)


def test_strand_average_refuses_what_it_does_not_know(code):
    with pytest.raises(MarginomeError, match=r"the head \['bins'\] .* not declared as a profile"):
        load(code, {"p": {"kind": "profile", "head": ["heads", 0]}}, average_strands=True)
    with pytest.raises(MarginomeError, match="a profile of 8 tracks"):
        load(code, {"p": {"kind": "profile", "head": "bins"}, "q": {"kind": "profile", "head": ["heads", 0]}},
             average_strands=True)  # fmt: skip


# --------------------------------------------------------------------------------------------- Beluga
def test_beluga_on_its_rebuilt_architecture(tmp_path):
    """Random weights in the published layout, 2-D convolutions computed as published; the real weights are not shipped.

    The large matrix is a strided view of a small storage, so that the file is small.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5

    sizes = {
        "0.0": (320, 4),
        "0.2": (320, 320),
        "0.6": (480, 320),
        "0.8": (480, 480),
        "0.12": (640, 480),
        "0.14": (640, 640),
    }
    state = {}
    for name, (outputs, channels) in sizes.items():
        state[f"model.{name}.weight"] = draw(outputs, channels, 1, 8)
        state[f"model.{name}.bias"] = 0.1 * torch.randn(outputs, generator=generator)
    base = torch.randn(67840 + 2003, generator=generator) / 300
    state["model.1.2.1.weight"] = base.as_strided((2003, 67840), (1, 1))
    state["model.1.2.1.bias"] = 0.1 * torch.randn(2003, generator=generator)
    state["model.1.4.1.weight"] = draw(2002, 2003)
    state["model.1.4.1.bias"] = 0.1 * torch.randn(2002, generator=generator)
    torch.save(state, tmp_path / "beluga.pth")
    assert (tmp_path / "beluga.pth").stat().st_size < 60e6
    targets = names(tmp_path, "".join(f"target {i}\n" for i in range(2002)))
    settings = {"weights": str(tmp_path / "beluga.pth"), "outputs": {"logits": {"names": targets}}}
    loaded = load_model("beluga", settings)
    assert (loaded.loader, loaded.input_length, loaded.outputs[0].unit) == ("beluga", 2000, "log odds")
    assert loaded.outputs[0].names[2001] == "target 2001"
    X = random_one_hot((2, 4, 2000), random_state=0).float()
    with torch.no_grad():
        found = loaded.module(X)
        y = X[:, [0, 2, 1, 3]].unsqueeze(2)  # published order: A, G, C, T
        for i, name in enumerate(sizes):
            y = F.relu(F.conv2d(y, state[f"model.{name}.weight"], state[f"model.{name}.bias"]))
            y = F.max_pool2d(y, (1, 4), (1, 4)) if i in (1, 3) else y
        y = F.relu(F.linear(y.flatten(1), state["model.1.2.1.weight"], state["model.1.2.1.bias"]))
        y = F.linear(y, state["model.1.4.1.weight"], state["model.1.4.1.bias"])
    assert y.std() > 0.1
    torch.testing.assert_close(found["logits"], y, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["probabilities"], y.sigmoid(), rtol=1e-4, atol=1e-4)


# -------------------------------------------------------------------------- flanks and two-hot sequences
WINDOW = """
import torch


class Window(torch.nn.Module):
    '''A reporter model: reads 40 bp, no more and no less.'''

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.w = torch.nn.Parameter(torch.randn(3, 4, 7, generator=g))
        self.v = torch.nn.Parameter(torch.randn(2, 3 * 34, generator=g))

    def forward(self, X):
        assert X.shape[2] == 40
        return torch.nn.functional.conv1d(X, self.w).relu().flatten(1) @ self.v.T
"""
LEFT, RIGHT = "ACTGGCC", "ttN"


@pytest.mark.parametrize("more", [{}, {"input_scale": 2}, {"alphabet": "GTAC"}, {"average_strands": True}])
def test_a_construct_stands_between_the_flanks_of_its_assay(tmp_path, more):
    """By hand: left + construct + right, N as zeros; its reverse complement stands in the same reporter."""
    (tmp_path / "own.py").write_text(WINDOW)
    settings = {"loader": f"{tmp_path}/own.py:Window", "outputs": {"y": {"names": ["a", "b"]}}}
    plain = load_model("m", settings | {"input_length": 40}).module
    flanked = load_model("m", settings | {"input_length": 30, "flanks": {"left": LEFT, "right": RIGHT}} | more)
    assert flanked.input_length == 30
    X = random_one_hot((4, 4, 30), random_state=0).float()

    def by_hand(inner: torch.Tensor) -> torch.Tensor:
        whole = torch.zeros(4, 4, 40)
        for at, letter in [*enumerate(LEFT), *enumerate(RIGHT.upper(), 37)]:
            whole[:, :, at] = torch.tensor([float(letter == base) for base in "ACGT"])
        whole[:, :, 7:37] = inner
        if "alphabet" in more:
            whole = whole[:, ["ACGT".index(letter) for letter in more["alphabet"]]]
        return plain(whole * more.get("input_scale", 1))

    wanted = by_hand(X)
    if "average_strands" in more:
        wanted = (wanted + by_hand(reverse_complement(X).float())) / 2
    torch.testing.assert_close(flanked.module(X), wanted)
    effects = [marginalize_many(flanked.readouts(), X, ["ACGTGA", "TT"], device="cpu", engine=engine)[1]["y"]
               for engine in ("incremental", "full")]  # fmt: skip
    torch.testing.assert_close(*effects, rtol=1e-5, atol=1e-5)
    check = check_model(flanked)
    assert check["problems"] == [] and check["attribution"]["unsupported_operations"] == []


def test_flanks_of_a_file_that_tells_its_length(resources):
    """MPRA-DragoNN reads 145 bp: the constructs are what the flanks leave of them, when a run is planned too."""
    settings = {
        "weights": str(resources / "models/mpra_dragonn_conv.hdf5"),
        "architecture": str(resources / "models/mpra_dragonn_conv.model.json"),
        "outputs": {"activity": {"names": [f"task_{i}" for i in range(12)]}},
    }
    flanked = settings | {"flanks": {"left": "ACGTT" * 3, "right": "GGCAT" * 2}}
    loaded = load_model("m", flanked)
    assert loaded.input_length == read_header(flanked).input_length == 120
    X = random_one_hot((2, 4, 120), random_state=0).float()
    whole = [one_hot_encode(s).float().expand(2, -1, -1) for s in ("ACGTT" * 3, "GGCAT" * 2)]
    wanted = load_model("m", settings).module(torch.cat([whole[0], X, whole[1]], dim=2))
    torch.testing.assert_close(loaded.module(X), wanted)
    with pytest.raises(MarginomeError, match="input_length is 145, but the model reads 120 bp between its flanks"):
        load_model("m", flanked | {"input_length": 145})
    with pytest.raises(MarginomeError, match="the flanks have 150 bp, and the model reads 145 bp"):
        load_model("m", settings | {"flanks": {"left": "A" * 150}})
    keras3 = Path(__file__).parents[1] / "data/keras3/open_length.h5"  # its length is the construct's and the flanks'
    opened = {"weights": str(keras3), "outputs": {"p": {"index": "5, 0"}}}
    short = load_model("m", opened | {"input_length": 50, "flanks": {"left": "ACGTA", "right": "CCCCC"}}).module(
        X[..., :50]
    )
    parts = [one_hot_encode(s).float().expand(2, -1, -1) for s in ("ACGTA", "CCCCC")]
    torch.testing.assert_close(
        short,
        load_model("m", opened | {"input_length": 60}).module(torch.cat([parts[0], X[..., :50], parts[1]], dim=2)),
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"flanks": {"left": "ACU"}}, "wanted a sequence of A, C, G, T and N"),
        ({"flanks": {"lefft": "AC"}}, "Did you mean 'left'"),
        ({"flanks": "AC"}, "wanted a mapping"),
        ({"flanks": {"left": "AC"}}, "the model fails on a sequence of 40 bp"),
        ({"input_scale": "2"}, "wanted a number"),
        ({"input_scale": 0}, "found 0, wanted a number above 0"),
        ({"input_scale": float("nan")}, "found nan, wanted a number above 0"),
    ],
)
def test_flanks_that_do_not_fit(tmp_path, more, message):
    (tmp_path / "own.py").write_text(WINDOW)
    settings = {"loader": f"{tmp_path}/own.py:Window", "outputs": {"y": {"names": ["a", "b"]}}, "input_length": 40}
    with pytest.raises(MarginomeError, match=message):
        load_model("m", settings | more)
