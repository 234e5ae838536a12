"""Effect measures against scipy, closed forms and float64 by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.spatial.distance as distance
import torch
from scipy import special

from marginome import MarginomeError, difference, euclidean, jensen_shannon_distance, log2_fold_change
from marginome.effects import FUNCTIONS, measure_of, probabilities, saturated

GENERATOR = torch.Generator().manual_seed(0)


def profiles(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    before = torch.randn(shape, generator=GENERATOR)
    return before, before + 0.3 * torch.randn(shape, generator=GENERATOR)


def test_difference_keeps_targets():
    before, after = profiles(5, 3)
    assert torch.equal(difference(before, after), after - before)


def test_fold_change_is_in_doublings():
    before, after = torch.tensor([[1.0, 0.0]]), torch.tensor([[7.0, 0.0]])
    assert log2_fold_change(before, after).tolist() == [[2.0, 0.0]]
    assert log2_fold_change(before[:, :1], after[:, :1], pseudocount=0).item() == pytest.approx(np.log2(7))


@pytest.mark.parametrize(("value", "pseudocount"), [(-0.5, 1.0), (-3.0, 1.0), (0.0, 0.0), (1.0, -1.0), (1.0, -0.5)])
def test_fold_change_refuses_log_scale(value, pseudocount):
    with pytest.raises(MarginomeError, match="Use difference"):
        log2_fold_change(torch.ones(2, 1), torch.tensor([[1.0], [value]]), pseudocount)


@pytest.mark.parametrize("shape", [(6, 4), (6, 2, 50), (6,)])
def test_euclidean_is_scipys(shape):
    before, after = profiles(*shape)
    expected = [distance.euclidean(np.ravel(a), np.ravel(b)) for a, b in zip(before.numpy(), after.numpy())]
    np.testing.assert_allclose(euclidean(before, after), expected, rtol=1e-5)


def scipy_distance(p: np.ndarray, q: np.ndarray) -> float:
    p, q = np.exp(p - p.max()), np.exp(q - q.max())
    return distance.jensenshannon(p, q, base=2)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e-3])
def test_jensen_shannon_is_scipys(scale):
    before, after = (scale * x.double() for x in profiles(4, 2, 80))
    both = [scipy_distance(a.ravel(), b.ravel()) for a, b in zip(before.numpy(), after.numpy())]
    strand = [[scipy_distance(a[s], b[s]) for s in (0, 1)] for a, b in zip(before.numpy(), after.numpy())]
    np.testing.assert_allclose(jensen_shannon_distance(before, after), both, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(jensen_shannon_distance(before, after, softmax="strand"), strand, rtol=1e-6, atol=1e-8)


def test_jensen_shannon_of_probabilities_and_its_bounds():
    p, q = torch.eye(4)[:2], torch.eye(4)[2:]
    assert jensen_shannon_distance(p, q, logits=False).tolist() == [1.0, 1.0]
    assert jensen_shannon_distance(p, 5 * p, logits=False).tolist() == [0.0, 0.0]
    before, after = (x.softmax(-1) for x in profiles(3, 90))
    assert torch.allclose(
        jensen_shannon_distance(before, after, logits=False), jensen_shannon_distance(before.log(), after.log())
    )
    counted = [distance.jensenshannon(7 * b, 0.01 * a, base=2) for b, a in zip(before.double(), after.double())]
    found = jensen_shannon_distance(7 * before, 0.01 * after, logits=False)
    np.testing.assert_allclose(found, counted, rtol=1e-6)  # any sum above 0
    same = torch.randn(3, 2, 1000, generator=GENERATOR).double() * 5  # in float32 the shift itself would round
    assert jensen_shannon_distance(same, same + 100).max() < 1e-6  # a softmax does not see a shift
    with pytest.raises(MarginomeError, match="after"):
        jensen_shannon_distance(before, -after, logits=False)
    with pytest.raises(MarginomeError, match="both, strand"):
        jensen_shannon_distance(before, after, softmax="strands")


@pytest.mark.parametrize("name", ["euclidean", "jensen_shannon_distance"])
def test_one_before_serves_many_motifs(name):
    before, _ = profiles(4, 2, 30)
    after = torch.randn(3, 4, 2, 30, generator=GENERATOR)
    together = FUNCTIONS[name](before, after, batch_dims=2)
    assert together.shape == (3, 4)
    for i in range(3):
        assert torch.allclose(together[i], FUNCTIONS[name](before, after[i]))


def test_one_before_against_more_than_are_compared_at_a_time():
    """As inserts in one background are, two at a time here."""
    before, after = profiles(1, 2, 32_000)[0], torch.randn(5, 2, 32_000, generator=GENERATOR)
    expected = [scipy_distance(before.double().numpy().ravel(), one.double().numpy().ravel()) for one in after]
    np.testing.assert_allclose(jensen_shannon_distance(before, after), expected, rtol=1e-6)
    np.testing.assert_allclose(jensen_shannon_distance(after, before), expected, rtol=1e-6)


def test_bad_input():
    with pytest.raises(MarginomeError, match=r"before is \(3, 2\), after is \(4, 2\)"):
        difference(torch.zeros(3, 2), torch.zeros(4, 2))
    with pytest.raises(MarginomeError, match="several"):
        difference([torch.zeros(3, 2)], torch.zeros(3, 2))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("before", "after"), [(NAN, 1.0), (1.0, NAN), (NAN, NAN), (INF, INF)])
def test_no_measure_swallows_nan(name, before, after):
    a, b = torch.ones(3, 2, 5), torch.ones(3, 2, 5)
    a[1, 0, 3], b[1, 0, 3] = before, after
    message = "fold change wants" if name == "log2_fold_change" and before != INF else "1 of 3 backgrounds: number 1"
    with pytest.raises(MarginomeError, match=message):
        FUNCTIONS[name](a, b)


def test_infinite_logits_that_are_a_distribution():
    """-infinity is a probability of 0; all of them, or +infinity, is no distribution."""
    p = torch.tensor([[[0.0, -INF, 0.0, -INF]], [[0.0, 0.0, 0.0, 0.0]]])
    q = torch.tensor([[[-INF, 0.0, -INF, 0.0]], [[0.0, 0.0, -INF, -INF]]])
    expected = [1.0, distance.jensenshannon([0.25] * 4, [0.5, 0.5, 0, 0], base=2)]
    np.testing.assert_allclose(jensen_shannon_distance(p, q), expected, rtol=1e-6)
    for bad in (torch.full((1, 1, 4), -INF), torch.tensor([[[0.0, INF, 0.0, 0.0]]])):
        with pytest.raises(MarginomeError, match="there is no effect"):
            jensen_shannon_distance(p[:1], bad)
    for bad in (NAN, INF):
        with pytest.raises(MarginomeError, match="probabilities"):
            jensen_shannon_distance(torch.ones(1, 1, 4), torch.tensor([[[1.0, bad, 0.0, 0.0]]]), logits=False)


def test_an_infinite_difference_is_one():
    assert difference(torch.tensor([[-INF]]), torch.tensor([[2.0]])).item() == INF


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int64])
def test_whole_numbers_do_not_wrap_around(dtype):
    before, after = torch.tensor([[1, 1]]).to(dtype), torch.tensor([[0, 1]]).to(dtype)
    assert difference(before, after).tolist() == [[-1.0, 0.0]]
    assert euclidean(before, after).tolist() == [1.0]
    assert log2_fold_change(before, after).tolist() == [[-1.0, 0.0]]


def test_complex_and_empty_outputs_are_one_line():
    with pytest.raises(MarginomeError, match="complex"):
        difference(torch.ones(2, 1), torch.ones(2, 1) * 1j)
    for measure in FUNCTIONS.values():
        with pytest.raises(MarginomeError, match="there is nothing in it"):
            measure(torch.ones(2, 0), torch.ones(2, 0))
    for shapes in (((2, 0), (2, 1)), ((2, 1), (2, 0))):  # which broadcast
        with pytest.raises(MarginomeError, match="there is nothing in it"):
            difference(*map(torch.ones, shapes))


def test_of_a_single_effect_the_number_is_told_too():
    with pytest.raises(MarginomeError, match="1 of 1 backgrounds: number 0"):
        FUNCTIONS["difference"](torch.tensor(NAN), torch.tensor(1.0))


def test_saturated_outputs_are_counted():
    exact = np.array([[0.5, 1 - 1e-9], [1 - 1e-3, 1e-30], [0.2, 1 - 4e-6]])
    assert "2 of 6 values" in saturated(exact) and "1e-09" in saturated(exact) and "float64" in saturated(exact)
    assert saturated(exact, "float64") == ""
    assert "3 of 6 values" in saturated(exact, "bfloat16")
    assert "2 of 6 values" in saturated(2 * exact - 1)  # tanh
    assert "1 of 2 values" in saturated(np.array([0.0, 0.3]))  # exactly 0 of a sigmoid
    for fine in (exact * 2, np.array([0.0, 1.0, 1.0]), np.zeros(3), np.array([0.1, 0.9])):
        assert saturated(fine) == ""
    with_nan = np.array([NAN, 1.0])
    assert saturated(with_nan) == ""  # NaN is stopped elsewhere


@pytest.mark.parametrize("softmax", ["both", "strand"])
@pytest.mark.parametrize("measure", ["difference", "log2_fold_change", "euclidean", "jensen_shannon_distance"])
def test_backgrounds_taken_once_give_the_bits_of_pairs(measure, softmax):
    torch.manual_seed(0)
    before, after = torch.rand(5, 2, 30), torch.rand(4, 5, 2, 30)
    output = SimpleNamespace(measure=measure, softmax=softmax, name="y", pseudocount=1.0)
    pairs = measure_of(output)(before.expand(after.shape).flatten(0, 1), after.flatten(0, 1))
    assert torch.equal(measure_of(output, 2)(before[None], after), pairs.unflatten(0, (4, 5)))


@pytest.mark.parametrize("pseudocount", [INF, NAN, "1", None])
def test_a_pseudocount_is_a_finite_number(pseudocount):
    with pytest.raises(MarginomeError, match="pseudocount: expected a finite number"):
        log2_fold_change(torch.ones(2, 1), torch.ones(2, 1), pseudocount)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", np.float32), ("float64", np.float64)])
def test_saturated_is_where_the_distance_of_two_numbers_is_a_hundredth_of_that_to_the_bound(precision, dtype):
    gap = 1 - float(np.nextafter(dtype(1), dtype(0)))  # of the number before 1
    for distance_, word in ((0.99, "1 of 2 values"), (1.01, "")):
        for side in (1, -1):
            told = saturated(side * (1 - np.array([0.5, 100 * gap * distance_])), precision)
            assert told.startswith(word) and bool(told) == bool(word)
    tiny = float(np.finfo(dtype).tiny)  # below it numbers lose digits
    for factor, word in ((0.9, "1 of 2 values"), (1.1, "")):
        assert saturated(np.array([0.5, factor * tiny]), precision).startswith(word or "")
        assert bool(saturated(np.array([0.5, factor * tiny]), precision)) == bool(word)
    assert saturated(np.array([0.5, 0.0, -0.5]), precision) == ""  # 0 is in the middle there
    told = saturated(np.ones(3), precision)
    assert told.endswith(" or precision: float64") == (precision != "float64")
    assert told.startswith("3 of 3 values")  # of one value alone: no labels
    assert saturated(np.array([-1.0, 1.0]), precision) == saturated(np.array([-1.0, 0.0]), precision) == ""


@pytest.mark.parametrize("shape", [(3, 2, 7), (2, 3, 2, 7)])
def test_probabilities_are_scipys(shape):
    logits = torch.randn(shape, generator=GENERATOR)
    strand = special.softmax(logits.double().numpy(), axis=-1)
    both = special.softmax(logits.double().numpy(), axis=(-2, -1))
    np.testing.assert_allclose(probabilities(logits, "strand"), strand, rtol=1e-12)
    for softmax in ("both", None):
        np.testing.assert_allclose(probabilities(logits, softmax), both, rtol=1e-12)


def test_profiles_of_nothing_are_refused():
    for zeros in (torch.zeros(2, 1, 4), torch.eye(2)[:, None]):  # all of them, or on one strand
        with pytest.raises(MarginomeError, match="a finite sum above 0"):
            jensen_shannon_distance(torch.ones(2, 1, zeros.shape[-1]), zeros * (zeros > 1), logits=False)


def test_a_distance_per_strand_is_averaged_over_strands():
    before, after = profiles(4, 2, 30)
    output = SimpleNamespace(measure="jensen_shannon_distance", softmax="strand", name="y")
    found = measure_of(output)(before, after)
    wanted = [np.mean([scipy_distance(a[s], b[s]) for s in (0, 1)]) for a, b in zip(before.numpy(), after.numpy())]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_a_measure_that_is_unknown_is_named(tmp_path):
    with pytest.raises(MarginomeError, match=r"'jensen_shanon'.*Did you mean"):
        measure_of(SimpleNamespace(measure="jensen_shanon", name="y"))
    (tmp_path / "mine.py").write_text("def twice(before, after):\n    return 2 * (after - before)\n")
    for name in (f"{tmp_path}/mine.py:twice", f"{tmp_path}/mine.py"):
        if name.endswith("twice"):
            assert measure_of(SimpleNamespace(measure=name, name="y"))(torch.ones(1), torch.ones(1) * 3).item() == 4
        else:
            with pytest.raises(MarginomeError, match=r"mine\.py"):
                measure_of(SimpleNamespace(measure=name, name="y"))


def test_rounding_makes_no_distance_below_0():
    """Of equal profiles the divergence is 0 to the last digits, on either side; its root is a number."""
    for length in (2, 7, 30):
        same = torch.randn(200, 1, length, generator=GENERATOR).double()  # the shift itself would round
        found = jensen_shannon_distance(same, same + 3)
        assert ((found >= 0) & (found < 1e-7)).all()


def test_a_distance_of_two_single_profiles():
    before, after = (torch.randn(2, 1000, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    assert jensen_shannon_distance(before, after, batch_dims=0) == jensen_shannon_distance(before[None], after[None])[0]
    assert jensen_shannon_distance(before[:1], after[:1], batch_dims=0).shape == ()
    many = torch.randn(5, 2, 70_000, generator=torch.Generator().manual_seed(2))  # a part of its own each
    assert torch.equal(
        jensen_shannon_distance(many, many.flip(0)),
        torch.stack([jensen_shannon_distance(a[None], b[None])[0] for a, b in zip(many, many.flip(0))]),
    )
