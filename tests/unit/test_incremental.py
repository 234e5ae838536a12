"""The engine's parts and promises: edits, blocks, memory, precision, falling back."""

from __future__ import annotations

import copy
import logging
import re
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils import _pytree as pytree

from marginome.errors import MarginomeError
from marginome.incremental import Edits, Engine
from marginome.incremental import paths as paths_module
from marginome.incremental.kernels import Geometry, by_batched_taps, by_columns, by_diagonals, by_taps, taps
from marginome.incremental.layout import channels_last
from marginome.incremental.needs import needed_spans
from marginome.incremental.worthwhile import engine_pays
from marginome.sequences import random_one_hot
from zoo import Attention, Controlled, Dilated, Pooled, controls

LENGTH = 160


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def some_edits(m, length=LENGTH, seed=0, widths=(1, 14)):
    generator = torch.Generator().manual_seed(seed)
    inserts, starts = [], []
    for i in range(m):
        width = int(torch.randint(*widths, (1,), generator=generator))
        inserts.append(random_one_hot((1, 4, width), random_state=seed + i)[0])
        starts.append(int(torch.randint(0, length - width + 1, (1,), generator=generator)))
    return Edits.stack(inserts, starts)


def collect(engine, edits, **settings):
    """Put the parts of a run together."""
    m, n = len(edits.starts), len(engine.X)
    found = None
    for some, which, y in engine.run(edits, **settings):
        leaves = pytree.tree_leaves(y)
        found = found or [torch.full((m, n, *t.shape[2:]), torch.nan, dtype=t.dtype) for t in leaves]
        for f, t in zip(found, leaves):
            assert f[some, which].isnan().all()  # every pair once
            f[some, which] = t
    return found


# ---- edits -----------------------------------------------------------------------------------------------------------


def test_edits_are_applied_position_by_position():
    X = random_one_hot((3, 4, 20), random_state=0)
    edits = Edits(torch.zeros(3, 4, 6, dtype=torch.int8), torch.tensor([0, 17, 5]))
    edits.one_hot[0, 2, 1] = 1
    edits.one_hot[1, 0, 0:3] = 1  # its all-zero columns stick out of the sequence
    edits.one_hot[2, 3, [0, 5]] = 1
    want = X.clone()
    want[0, :, 1] = torch.tensor([0, 0, 1, 0])
    want[1, :, 17:20] = torch.tensor([1, 0, 0, 0])[:, None]
    want[2, :, 5] = want[2, :, 10] = torch.tensor([0, 0, 0, 1])
    assert torch.equal(edits.apply(X), want)
    assert edits.spans().tolist() == [[1, 2], [17, 20], [5, 11]]


def test_the_widest_hole_of_an_edit():
    """Against the longest run of blanks between letters."""
    texts = ["A   CC G", " A A   G", "ACGT    ", "        ", "    T   ", "A  C  G "]
    one_hot = torch.tensor([[[letter == base for letter in text] for base in "ACGT"] for text in texts]).to(torch.int8)
    starts = torch.tensor([3, 0, 10, 2, 1, 7])
    widths = [max(map(len, re.findall(r"(?<=\w) +(?=\w)", text)), default=0) for text in texts]
    holes = Edits(one_hot, starts).holes()
    assert (holes[:, 1] - holes[:, 0]).tolist() == widths == [3, 3, 0, 0, 0, 2]
    for text, start, (lo, hi) in zip(texts, starts.tolist(), holes.tolist()):
        assert text[lo - start : hi - start].strip() == ""
    assert holes[:2].tolist() == [[4, 7], [4, 7]]


@pytest.mark.parametrize(
    ("one_hot", "starts", "message"),
    [
        (torch.ones(1, 4, 3), torch.tensor([18]), "outside a background of 20 bp"),
        (torch.ones(1, 4, 3), torch.tensor([-1]), "outside a background of 20 bp"),
        (torch.ones(2, 4, 3), torch.tensor([1]), "expected 2 starts"),
        (torch.ones(2, 3, 3), torch.tensor([1, 1]), r"expected \(m, 4, w\)"),
        (torch.ones(0, 4, 3), torch.tensor([]), r"expected \(m, 4, w\)"),
    ],
)
def test_bad_edits(one_hot, starts, message):
    with pytest.raises(MarginomeError, match=message):
        Edits(one_hot, starts).check(20)


# ---- kernels ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.integers(1, 6),
    dilation=st.integers(1, 4),
    padding=st.integers(0, 8),
    lo=st.integers(0, 29),
    width=st.integers(1, 12),
    channels=st.integers(1, 5),
    outputs=st.integers(1, 5),
)
def test_convolutions_of_a_change(kernel, dilation, padding, lo, width, channels, outputs):
    """All ways to convolve a change give the change of the convolution, on exactly the outputs that it reaches."""
    length = 30
    hi = min(lo + width, length)
    geometry = Geometry(kernel, 1, padding, dilation)
    total = length + 2 * padding - geometry.extent + 1
    if total <= 0:
        return
    torch.manual_seed(0)
    weight = torch.randn(outputs, channels, kernel, dtype=torch.float64)
    change = torch.zeros(2, channels, length, dtype=torch.float64)
    change[:, :, lo:hi] = torch.randn(2, channels, hi - lo, dtype=torch.float64)
    whole = torch.nn.functional.conv1d(change, weight, padding=padding, dilation=dilation)
    first, last = geometry.reaches(lo, hi, total)
    assert not whole[:, :, :first].any() and not whole[:, :, last:].any()
    if first == last:
        assert not whole.any()
        return
    want = whole[:, :, first:last]
    x = channels_last(change[:, :, lo:hi])
    plan = taps(geometry, lo, hi - lo, first, last)
    out = torch.zeros(2, last - first, outputs, dtype=torch.float64).transpose(1, 2)
    by_taps(x, out, weight.permute(1, 2, 0).reshape(channels, -1), plan)
    torch.testing.assert_close(out, want)
    out.zero_()
    by_batched_taps(x, out, weight.permute(2, 1, 0).contiguous(), plan)
    torch.testing.assert_close(out, want)
    a, b = geometry.reads(first, last)
    covered = torch.nn.functional.pad(change, (padding, padding))[:, :, a + padding : b + padding]
    y = by_columns(covered, weight.permute(2, 1, 0).reshape(-1, outputs), dilation, kernel)
    torch.testing.assert_close(y, want)
    y = by_diagonals(covered, weight.permute(0, 2, 1).reshape(-1, channels), dilation, kernel)
    torch.testing.assert_close(y, want)


# ---- random architectures --------------------------------------------------------------------------------------------


class Random(nn.Module):
    """Layers drawn one after the other, then a head."""

    def __init__(self, layers, head, length):
        super().__init__()
        self.layers = nn.ModuleList()
        channels = 4
        for kind, *settings_ in layers:
            if kind == "conv":
                out, kernel, stride, dilation, padding = settings_
                self.layers.append(nn.Conv1d(channels, out, kernel, stride, padding, dilation))
                channels = out
            elif kind == "depthwise":
                self.layers.append(nn.Conv1d(channels, channels, settings_[0], padding="same", groups=channels))
            elif kind == "max":
                kernel, stride = settings_
                self.layers.append(nn.MaxPool1d(kernel, stride, padding=kernel // 2))
            elif kind == "mean":
                self.layers.append(nn.AvgPool1d(*settings_))
            elif kind == "norm":
                norm = nn.BatchNorm1d(channels)
                nn.init.uniform_(norm.running_mean, -1, 1)
                nn.init.uniform_(norm.running_var, 0.5, 2)
                nn.init.normal_(norm.weight)
                self.layers.append(norm)
            elif kind == "residual":
                self.layers.append(
                    Around(nn.Conv1d(channels, channels, 3, padding=settings_[0], dilation=settings_[0]))
                )
            elif kind == "act":
                self.layers.append(settings_[0]())
        self.eval()  # batch norms refuse a single position otherwise
        with torch.no_grad():
            shape = self.trunk(torch.zeros(1, 4, length)).shape
        self.head = head
        self.dense = nn.Linear(shape[1] if head != "flat" else shape[1] * shape[2], 3)

    def trunk(self, X):
        for layer in self.layers:
            X = layer(X)
        return X

    def forward(self, X):
        x = self.trunk(X)
        if self.head == "flat":
            return self.dense(x.flatten(1))
        if self.head == "mean":
            return self.dense(x.mean(2))
        if self.head == "max":
            return self.dense(x.amax(2)), x
        return self.dense(x.transpose(1, 2)), x.flip(2)[:, :1]


class Around(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return x + torch.relu(self.layer(x))


LAYER = st.one_of(
    st.tuples(
        st.just("conv"), st.integers(1, 9), st.integers(1, 8), st.integers(1, 3), st.integers(1, 3), st.integers(0, 5)
    ),
    st.tuples(st.just("depthwise"), st.integers(1, 6)),
    st.tuples(st.just("max"), st.integers(2, 4), st.integers(1, 4)),
    st.tuples(st.just("mean"), st.integers(2, 4), st.integers(1, 3)),
    st.tuples(st.just("norm")),
    st.tuples(st.just("residual"), st.integers(1, 9)),
    st.tuples(st.just("act"), st.sampled_from([nn.ReLU, nn.GELU, nn.Tanh, nn.Identity])),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    layers=st.lists(LAYER, min_size=1, max_size=5),
    head=st.sampled_from(["flat", "mean", "max", "tracks"]),
    seed=st.integers(0, 99),
)
def test_random_architectures(layers, head, seed):
    torch.manual_seed(seed)
    length = 60
    try:
        model = Random([("conv", 5, 5, 1, 1, 2), *layers], head, length).double().eval()
    except RuntimeError:  # a kernel longer than what is left of the sequence
        return
    X = random_one_hot((2, 4, length), random_state=seed)
    edits = some_edits(5, length, seed)
    engine = Engine(model, X, engine="incremental", self_check=False)
    full = Engine(model, X, engine="full")
    for found, truth in zip(collect(engine, edits), collect(full, edits)):
        assert (found - truth).abs().max() <= 1e-10 * truth.abs().max()
    # Two motifs with background between them, each end by itself for as long as they do not meet.
    rng = torch.Generator().manual_seed(seed)
    made = random_one_hot((5, 4, 50), random_state=seed)
    for insert in made:
        first, last = sorted(torch.randperm(50, generator=rng)[:2].tolist())
        insert[:, first:last] = 0
    edits = Edits(made, torch.randint(0, 11, (5,), generator=rng))
    engine._path.always_apart = True
    for found, truth in zip(collect(engine, edits), collect(full, edits)):
        assert (found - truth).abs().max() <= 1e-10 * truth.abs().max()


def two_motifs(gaps, length, width=6, seed=0):
    """Two motifs in the middle of a sequence, an edit a gap."""
    made = []
    for i, gap in enumerate(gaps):
        first, second = random_one_hot((2, 4, width), random_state=seed + i)
        made.append(torch.cat([first, first.new_zeros(4, gap), second], dim=1))
    return Edits.stack(made, [(length - insert.shape[-1]) // 2 for insert in made])


def test_what_two_motifs_far_apart_change_is_computed_apart():
    """Of BPNet's arrangement, until layers are reached in which they meet; beside it, brute force."""
    torch.manual_seed(0)
    length = 400
    model = Dilated(layers=5, length=length, out=300, head=5).double().eval()
    X = random_one_hot((2, 4, length), random_state=0)
    engine = Engine(model, X, engine="incremental", block=4)
    path = engine._path
    lo, hi = 94, 306
    whole, apart = path.plan(lo, hi), path.plan(lo, hi, (100, 300))
    assert apart.flops < 0.7 * whole.flops and apart.bytes < 0.8 * whole.bytes
    assert apart.whole == whole.whole == [] and sorted(apart.confined) == sorted(whole.confined)
    for output, other in zip(apart.outputs, whole.outputs):
        assert (output[1].lo, output[1].hi) == (other[1].lo, other[1].hi)
    full = Engine(model, X, engine="full")
    for always in (False, True):
        path.always_apart = always
        for gaps in ([200] * 6, [0, 17, 40, 150, 171, 200]):
            edits = two_motifs(gaps, length)
            for found, truth in zip(collect(engine, edits), collect(full, edits)):
                assert (found - truth).abs().max() <= 1e-12 * truth.abs().max()
    groups = path._groups(two_motifs([190, 200], length), 2)
    assert [(group.lo, group.hi, group.hole) for group in groups] == [(94, 306, (105, 295))]


@pytest.mark.parametrize("gap", [2, 30, 200])
def test_wrong_ends_are_not_used(gap, monkeypatch, caplog):
    """The first plan whose ends are computed apart is checked, as every first plan of a width is."""
    from marginome.incremental.apart import Ends

    forgotten = Ends._together

    def forgets(self, node):
        one = self._views[0]
        self._views[1] = one
        return forgotten(self, node)

    monkeypatch.setattr(Ends, "_together", forgets)
    torch.manual_seed(0)
    X = random_one_hot((2, 4, 400), random_state=0)
    model = Dilated(layers=5, length=400, out=300, kernel=3, head=5).eval()
    engine, full = Engine(model, X), Engine(model, X, engine="full")
    engine._path.always_apart = True
    with caplog.at_level(logging.WARNING):
        edits = two_motifs([gap] * 3, 400)
        for found, truth in zip(collect(engine, edits), collect(full, edits)):
            assert (found - truth).abs().max() <= 1e-5 * truth.abs().max()
    assert "not computed apart: it differs from the full pass" in caplog.text
    assert engine.info.path == "incremental" and engine.info.full_units == 0
    assert all(hole is None for _, _, hole in engine._path._plans)


class OnePosition(nn.Module):
    """A model that looks at one position of a layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 3, 5, padding=2)

    def forward(self, X):
        return torch.relu(self.conv(X))[:, :, 30]


def test_one_position_is_changed_by_edits_up_to_either_side_of_it():
    torch.manual_seed(0)
    X, model = random_one_hot((2, 4, 60), random_state=0), OnePosition().double().eval()
    edits = Edits.stack(list(random_one_hot((16, 4, 3), random_state=1)), range(22, 38))  # of width 7 behind the layer
    # a block each: a plan of its own, whose first or last changed position is the one
    engine = Engine(model, X, engine="incremental", self_check=False, block=1)
    found, truth = collect(engine, edits)[0], collect(Engine(model, X, engine="full"), edits)[0]
    assert (found - truth).abs().max() <= 1e-12 * truth.abs().max()
    assert engine.info.full_units == 0 and engine.info.full_operations == ()


@pytest.mark.parametrize("widths", [(3, 5), (-4, 2), (0, 0, 1, 0)])
def test_padding_with_a_constant_is_confined_to_what_changes(widths):
    torch.manual_seed(0)
    channels = 3 + sum(widths[2:])
    model = nn.Sequential(nn.Conv1d(4, 3, 5), nn.ConstantPad1d(widths[:2], 0.5), nn.ReLU(), nn.Conv1d(3, 2, 3))
    if len(widths) > 2:
        model[1], model[3] = nn.ZeroPad2d((0, 0, *widths[2:])), nn.Conv1d(channels, 2, 3)
    X, edits = random_one_hot((2, 4, 60), random_state=0), some_edits(12, 60)
    engine = Engine(model.double().eval(), X, engine="incremental", self_check=False, block=4)
    found, truth = collect(engine, edits)[0], collect(Engine(model, X, engine="full"), edits)[0]
    assert (found - truth).abs().max() <= 1e-12 * truth.abs().max()
    assert engine.info.full_operations == () and engine.info.full_units == 0


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d])
def test_pools_of_so_many_parts(pool, parts):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(4, 3, 5, padding=2), pool(parts), nn.Flatten(), nn.Linear(3 * parts, 2)).double()
    X, edits = random_one_hot((2, 4, 60), random_state=0), some_edits(12, 60)
    engine = Engine(model, X, engine="incremental", self_check=False, block=4)
    found, truth = collect(engine, edits)[0], collect(Engine(model, X, engine="full"), edits)[0]
    assert (found - truth).abs().max() <= 1e-12 * truth.abs().max()
    assert engine.info.full_units == 0


class Then(nn.Module):
    """A convolution, a function of that, a dense layer."""

    def __init__(self, function, kernel=(5,)):
        super().__init__()
        self.conv = (nn.Conv1d if len(kernel) == 1 else nn.Conv2d)(4, 3, kernel, padding=tuple(k // 2 for k in kernel))
        self.function, self.dense = function, nn.LazyLinear(2)

    def forward(self, X):
        X = X if self.conv.weight.ndim == 3 else X[..., None]
        return self.dense(self.function(self.conv(X)).flatten(1))


def both_ways(model) -> set[str]:
    """Compare edits at each end and in the middle with the full pass; return what is computed of whole sequences."""
    X = random_one_hot((2, 4, 60), random_state=0)
    model(X.double())
    incremental, full = (Engine(model, X, engine=engine, self_check=False) for engine in ("incremental", "full"))
    for start in (0, 20, 55):
        edits = Edits.stack(list(random_one_hot((2, 4, 5), random_state=1)), [start] * 2)
        torch.testing.assert_close(collect(incremental, edits)[0], collect(full, edits)[0], rtol=1e-10, atol=1e-12)
    assert incremental.info.full_units == 0
    return set(incremental.info.full_operations)


@pytest.mark.parametrize(
    "function",
    [
        lambda h: h[:, 30:150], lambda h: h.flip(1), lambda h: h.mean(1, keepdim=True), lambda h: torch.cat([h, h], 1),
        lambda h: nn.functional.pad(h, (2, 3)), lambda h: h.softmax(1), lambda h: h.cumsum(1),
    ],
)  # fmt: skip
def test_along_a_flattened_layer_there_is_no_span(function):
    torch.manual_seed(0)
    assert both_ways(Then(lambda h: function(h.flatten(1))).double().eval())


def test_windows_at_the_ends_have_divisors_of_their_own():
    """Of padding by one and by two, which may count or not."""
    for kernel, padding in ((3, 1), (5, 2)):
        for counted in (True, False):
            torch.manual_seed(0)
            pool = nn.AvgPool1d(kernel, 1, padding, count_include_pad=counted)
            assert both_ways(Then(pool).double().eval()) == set()  # in the middle


@pytest.mark.parametrize(
    "function",
    [
        lambda h: torch.cat(h.chunk(3, 1)[::-1], 1), lambda h: torch.maximum(*h.split(30, 2)),
        lambda h: torch.where((h > 0).clone(), h.clone(), 0.1 * h),
    ],
)  # fmt: skip
def test_parts_and_copies_of_a_layer_are_confined(function):
    torch.manual_seed(0)
    assert both_ways(Then(function).double().eval()) == set()


def test_an_axis_of_one_behind_the_positions():
    torch.manual_seed(0)
    second = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, (3, 1), padding=(1, 0)))
    assert both_ways(Then(second, kernel=(5, 1)).double().eval()) == set()


def test_a_graph_that_is_not_the_model_is_not_used(monkeypatch):
    """What is captured agrees with itself in every way to run it: only the model says that it is another."""
    from marginome.incremental import engine as engine_module

    torch.manual_seed(0)
    X = random_one_hot((2, 4, LENGTH), random_state=0)
    model = Dilated().eval()
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(other.parameters())[0] *= 1.1
    captured = engine_module.captured
    monkeypatch.setattr(engine_module, "captured", lambda _, *given: captured(other, *given))
    engine, full = Engine(model, X), Engine(model, X, engine="full")
    assert engine.info.path == "full" and "model" in engine.info.reason
    edits = some_edits(3)
    for found, truth in zip(collect(engine, edits), collect(full, edits)):
        torch.testing.assert_close(found, truth, rtol=0, atol=0)


# ---- what outputs depend on ------------------------------------------------------------------------------------------


def test_what_no_output_reads_is_not_computed():
    """BPNet's heads see the middle: of an edit near an end, most of what its layers change is cropped away."""
    torch.manual_seed(0)
    model = Dilated(layers=4, length=LENGTH, out=60, head=5).double().eval()
    X = random_one_hot((2, 4, LENGTH), random_state=0)
    engine = Engine(model, X, engine="incremental", self_check=False)
    path = engine._path
    (last,) = (n for n in path.graph.nodes if n.name == "conv1d_4")
    assert needed_spans(path.graph)[last] == (48, 112)  # 50 to 110, and the 2 that the profile's head reads beside it
    change = path.plan(20, 21).changes[last]
    assert (change.lo, change.hi) == (48, 21 + 10 + 30)  # first layer 21 wide, dilations 2 + 4 + 8 + 16
    assert path.plan(0, 1).changes[last] is None  # out of sight
    assert path.plan(0, 1).flops < path.plan(80, 81).flops / 4
    edits = Edits.stack([insert for insert in random_one_hot((LENGTH - 4, 4, 5), random_state=1)], range(LENGTH - 4))
    full = Engine(model, X, engine="full")
    for found, truth in zip(collect(engine, edits), collect(full, edits)):
        assert (found - truth).abs().max() <= 1e-12 * truth.abs().max()


# ---- from when on ----------------------------------------------------------------------------------------------------


def test_a_model_of_many_operations_is_planned():
    """Outputs ask for what they need backwards, through more operations than Python lets functions call each other."""

    class Deep(nn.Module):
        def forward(self, X):
            for i in range(400):
                X = torch.tanh(X * (1 + i / 1000))
            return X.sum((1, 2))

    limit = sys.getrecursionlimit()
    X, edits = random_one_hot((2, 4, LENGTH), random_state=0), some_edits(3)
    (found,), (wanted,) = (collect(Engine(Deep(), X, engine=how), edits) for how in ("incremental", "full"))
    torch.testing.assert_close(found, wanted)
    assert sys.getrecursionlimit() == limit


def test_the_engine_is_used_when_its_set_up_pays():
    """By the model's arithmetic: a few hundred pairs of a large model, thousands of a small one."""
    X = random_one_hot((2, 4, 2114), random_state=0)
    bpnet = Dilated(filters=64, layers=8, length=2114, out=1000, kernel=21, head=75)
    small, cpu = Dilated(filters=4, layers=2, length=2114, out=1000).half(), torch.device("cpu")
    assert bpnet.training
    found = [engine_pays(bpnet, X, (), pairs, cpu) for pairs in (100, 150, 200, 1000)]
    assert found == [False, False, True, True] and bpnet.training
    assert [engine_pays(small, X, (), pairs, cpu) for pairs in (1000, 20_000)] == [False, True]
    assert not engine_pays(nn.Linear(5, 5), X, (), 10**6, cpu)  # it cannot run: said by who runs it


# ---- promises --------------------------------------------------------------------------------------------------------


def test_on_a_gpu_motifs_of_many_widths_are_computed_on_one_span(monkeypatch):
    torch.manual_seed(0)
    X = random_one_hot((4, 4, LENGTH), random_state=1)
    widths = range(6, 32)
    edits = Edits.stack([random_one_hot((1, 4, w), random_state=w)[0] for w in widths], [80 - w // 2 for w in widths])
    model = Dilated(filters=64).eval()
    on_cpu = Engine(model, X, engine="incremental")
    assert len(on_cpu._path._groups(edits, 100)) > 1  # on a core a wider span costs more than another group
    monkeypatch.setitem(paths_module.MACHINES, "cpu", paths_module.MACHINES["cuda"])
    like_gpu = Engine(model, X, engine="incremental")
    assert len(like_gpu._path._groups(edits, 100)) == 1
    for found, truth in zip(collect(like_gpu, edits), collect(on_cpu, edits)):
        torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-5)


def test_numbers_depend_on_their_own_block_only():
    torch.manual_seed(0)
    X = random_one_hot((4, 4, LENGTH), random_state=1)
    edits = some_edits(24)
    engine = Engine(Dilated().eval(), X, block=8)
    together = collect(engine, edits)
    for start in (0, 8, 16):
        alone = collect(Engine(engine.model, X, block=8), edits.take(slice(start, start + 8)))
        for a, b in zip(alone, together):
            assert torch.equal(a, b[start : start + 8])
    part = collect(engine, edits, backgrounds=slice(0, 4))
    assert all(torch.equal(a, b) for a, b in zip(part, together))


def test_numbers_do_not_depend_on_threads():
    torch.manual_seed(0)
    X = random_one_hot((6, 4, LENGTH), random_state=1)
    edits, index = some_edits(40), torch.arange(40) % 6
    engine = Engine(Dilated(filters=16).eval(), X)
    one, one_pairs = collect(engine, edits), pytree.tree_leaves(engine.pairs(edits, index))
    torch.set_num_threads(3)
    three, three_pairs = collect(engine, edits), pytree.tree_leaves(engine.pairs(edits, index))
    assert torch.get_num_threads() == 3
    assert all(torch.equal(a, b) for a, b in zip(one + one_pairs, three + three_pairs))


def test_little_memory_gives_the_same_numbers_in_more_parts():
    torch.manual_seed(0)
    X = random_one_hot((7, 4, LENGTH), random_state=1)
    args = tuple(a for a in controls(7))
    edits = some_edits(20)
    model = Controlled().eval()
    plenty = Engine(model, X, args, block=8)
    little = Engine(model, X, args, block=8, memory_bytes=200_000)
    assert little._path.backgrounds_cached < 7
    parts = list(little.run(edits))
    assert len(parts) > len(list(plenty.run(edits)))
    for a, b in zip(collect(little, edits), collect(plenty, edits)):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    index, confirmed = torch.arange(20) % 7, plenty.info.confirmed_pairs
    for a, b in zip(*(pytree.tree_leaves(e.pairs(edits, index)) for e in (little, plenty))):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert plenty.info.confirmed_pairs > confirmed and plenty.info.full_units == little.info.full_units == 0


def test_spans_are_kept_of_backgrounds_that_are_too_long():
    """Where half of the memory has no room for whole backgrounds; edits in other places have other spans."""

    class Long(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv1d(4, 8, 7, padding=3), nn.Conv1d(8, 8, 5, dilation=3)
            self.last = nn.Linear(8, 3)

        def forward(self, X):
            X = torch.relu(self.second(torch.tanh(nn.functional.max_pool1d(self.first(X), 4))))
            return self.last(X.mean(-1)), X[..., ::100]

    torch.manual_seed(0)
    X, model = random_one_hot((3, 4, 6000), random_state=1), Long().eval()
    inserts = [random_one_hot((1, 4, w), random_state=w)[0] for w in (5, 12, 30, 12)]
    edits = Edits.stack(inserts, [2990, 0, 3010, 5988])
    plenty = Engine(model, X, block=2, engine="incremental")
    little = Engine(model, X, block=2, engine="incremental", memory_bytes=300_000)
    assert little._path._spans and not plenty._path._spans
    assert little._path.bytes_per_background < plenty._path.bytes_per_background / 20
    for a, b in zip(collect(little, edits), collect(plenty, edits)):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert not little.info.full_units
    assert sum(t.nbytes for t in little._path._cached.values()) <= 150_000
    index = torch.tensor([2, 0, 1, 1])
    for a, b in zip(*(pytree.tree_leaves(e.pairs(edits, index)) for e in (little, plenty))):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    with pytest.raises(MarginomeError, match=r"kept of one background takes .* more than half of the memory"):
        Engine(model, X, engine="incremental", memory_bytes=1000)


@pytest.mark.parametrize("engine", ["incremental", "full"])
def test_running_out_of_memory_halves_what_is_done_at_a_time(engine, monkeypatch, caplog):
    torch.manual_seed(0)
    X = random_one_hot((3, 4, LENGTH), random_state=1)
    model = Dilated().eval()
    edits = some_edits(12)
    runner = Engine(model, X, engine=engine)
    want = collect(runner, edits)
    failures = iter([True, True])

    def failing(original):
        def run(*args, **kwargs):
            if next(failures, False):
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return original(*args, **kwargs)

        return run

    if engine == "full":
        monkeypatch.setattr(runner._path, "model", failing(model))
    else:
        monkeypatch.setattr(paths_module.Plan, "run", failing(paths_module.Plan.run))
    with caplog.at_level(logging.WARNING):
        found = collect(runner, edits)
    assert "memory ran out" in caplog.text
    assert len(runner.info.notes) == 2
    for a, b in zip(found, want):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_only_what_is_asked_for_is_computed():
    torch.manual_seed(0)
    model = Dilated().eval()

    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, X):
            return self.model(X).counts

    X = random_one_hot((2, 4, LENGTH), random_state=1)
    both, counts = Engine(model, X), Engine(Counts(), X)
    assert counts._path.plan(70, 80).flops < 0.8 * both._path.plan(70, 80).flops
    edits = some_edits(4)
    torch.testing.assert_close(collect(counts, edits)[0], collect(both, edits)[1], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-5), ("tf32", 1e-5), ("bfloat16", 5e-2)])
@pytest.mark.parametrize("build", [Dilated, Pooled, Attention])
def test_precision_is_measured(precision, error, build):
    """The error that the engine reports is of the size of the error that it has; tf32 is float32 on a CPU."""
    torch.manual_seed(0)
    model = build().eval()
    X = random_one_hot((3, 4, LENGTH), random_state=1)
    edits = some_edits(6)
    engine = Engine(model, X, precision=precision)
    assert engine.info.path == "incremental", engine.info.reason
    assert engine.info.check_error < 1e-8
    assert engine.info.precision_error < error
    truth = collect(Engine(_double(model), X, engine="full"), edits)
    worst = max(float((a.double() - t).abs().max() / t.abs().max()) for a, t in zip(collect(engine, edits), truth))
    assert worst < error
    if precision == "bfloat16":
        assert worst > 1e-7  # it did run in bfloat16
        assert worst < 30 * engine.info.precision_error


def _double(model):
    return copy.deepcopy(model).double()


def test_a_wrong_graph_is_not_used(caplog):
    """A model that is not, when it runs, what was captured: the check finds it out."""

    class Moody(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(4, 3, 5)

        def forward(self, X):
            x = self.conv(X)
            return x.mean(2) if torch.compiler.is_exporting() else x.amax(2)

    X = random_one_hot((2, 4, 40), random_state=1)
    with caplog.at_level(logging.WARNING):
        engine = Engine(Moody().eval(), X)
    assert engine.info.path == "full"
    assert "differs from the model" in engine.info.reason
    assert "whole model" in caplog.text
    with pytest.raises(MarginomeError, match="cannot be run incrementally"):
        Engine(Moody().eval(), X, engine="incremental")


def test_a_wrong_rule_is_not_used(monkeypatch):
    from marginome.incremental.changes import Change
    from marginome.incremental.registry import RULES, Rule

    def forgets(plan, node):
        c = plan.window(node.args[0])
        return Change(c.axis, c.lo, c.hi, c.inner, {"delta": lambda: plan.delta(node.args[0])})

    monkeypatch.setitem(RULES, "relu", Rule(forgets, moves=False, any_dtype=False))
    X = random_one_hot((2, 4, LENGTH), random_state=1)
    engine = Engine(Dilated().eval(), X)
    assert engine.info.path == "full"
    assert "float64" in engine.info.reason


def test_the_model_is_left_as_it_is():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(4, 6, 5), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.ReLU(), nn.Conv1d(6, 2, 3))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert model.training
    X = random_one_hot((2, 4, 40), random_state=1)
    engine = Engine(model, X)
    assert engine.info.path == "incremental"
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    a, b = collect(engine, some_edits(3, 40)), collect(engine, some_edits(3, 40))
    assert torch.equal(a[0], b[0])  # no dropout


def test_flags_of_torch_are_restored():
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    X = random_one_hot((2, 4, LENGTH), random_state=1)
    list(Engine(Dilated().eval(), X, precision="tf32").run(some_edits(2)))
    assert (matmul, cudnn) == (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "fast"}, "there is no engine 'fast'"),
        ({"precision": "float16"}, "there is no precision 'float16'"),
        ({"device": "tpu"}, "'tpu' is not a device"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(MarginomeError, match=message):
        Engine(Dilated().eval(), random_one_hot((1, 4, LENGTH)), **arguments)


def test_bad_input():
    X = random_one_hot((2, 4, LENGTH), random_state=0)
    with pytest.raises(MarginomeError, match=r"expected 3 axes"):
        Engine(Dilated().eval(), X[0])
    with pytest.raises(MarginomeError, match=r"args\[0\].*expected 2 entries"):
        Engine(Controlled().eval(), X, controls(3))
    engine = Engine(Dilated().eval(), X, engine="full")
    with pytest.raises(MarginomeError, match="outside a background"):
        list(engine.run(Edits.stack([torch.eye(4, dtype=torch.int8)], [LENGTH - 3])))
    with pytest.raises(MarginomeError, match="one background per edit"):
        engine.pairs(some_edits(3), torch.tensor([0]))
    with pytest.raises(MarginomeError, match="there are 2 backgrounds"):
        engine.pairs(some_edits(1), torch.tensor([2]))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("build", [Dilated, Pooled, Attention])
def test_cuda_agrees_with_the_cpu(build, precision):
    torch.manual_seed(0)
    model = build().eval()
    X = random_one_hot((5, 4, LENGTH), random_state=1)
    edits = some_edits(12)
    engine = Engine(model, X, device="cuda", precision=precision)
    assert engine.info.path == "incremental", engine.info.reason
    tolerance = {"float32": 1e-5, "tf32": 1e-2, "bfloat16": 5e-2}[precision]
    index = torch.arange(12) % 5
    exact = Engine(_double(model), X, engine="full")
    for some, which, y in engine.run(edits):
        for _, _, truth in exact.run(edits.take(some), backgrounds=which):
            for a, t in zip(pytree.tree_leaves(y), pytree.tree_leaves(truth)):
                assert a.device.type == "cuda"
                assert (a.cpu().double() - t).abs().max() <= tolerance * t.abs().max()
    for a, t in zip(pytree.tree_leaves(engine.pairs(edits, index)), pytree.tree_leaves(exact.pairs(edits, index))):
        assert (a.cpu().double() - t).abs().max() <= tolerance * t.abs().max()
    assert engine.info.peak_bytes > 0


def test_the_shipped_bpnet(resources):
    """The real CTCF model with its readouts: the same effects as the full pass, and pruned to what is read."""
    from marginome.models import load_model

    weights = resources / "models" / "bpnet_ctcf_k562_2114.state_dict.pt"
    loaded = load_model("ctcf", {"loader": "bpnet_lite", "weights": str(weights), "input_length": 2114})
    X = random_one_hot((2, 4, 2114), random_state=0)
    args = loaded.arguments(["a", "b"], X)
    ctcf = torch.nn.functional.one_hot(torch.tensor([1, 1, 0, 1, 3, 1, 1, 0, 1, 1, 2, 0, 1, 0, 2, 0]), 4).T.to(
        torch.int8
    )
    edits = Edits.stack([ctcf, ctcf.flip(0, 1), random_one_hot((1, 4, 9), random_state=1)[0]], [1050, 3, 2100])
    engine = Engine(loaded.readouts(), X, args)
    assert engine.info.path == "incremental", engine.info.reason
    assert engine.info.full_operations == ()
    assert engine.info.check_error < 1e-8
    exact = Engine(_double(loaded.readouts()), X, tuple(a.double() for a in args), engine="full")
    for (_, _, found), (_, _, truth) in zip(engine.run(edits), exact.run(edits)):
        assert set(found) == set(truth) == set(exact.before)
        for name in truth:
            assert found[name].shape == truth[name].shape
            effect = truth[name] - exact.before[name]
            error = (found[name] - engine.before[name]).double() - effect
            assert error.abs().max() <= 1e-4 * effect.abs().max()
            assert (found[name].double() - truth[name]).abs().max() <= 1e-5 * truth[name].abs().max()
