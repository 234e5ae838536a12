"""What is known of effect measures: one place, checked against what the functions do, and before anything runs."""

from __future__ import annotations

import pytest
import torch

from marginome import effects
from marginome.errors import MarginomeError
from marginome.measures import MEASURES, Measure, measure_named, misfit
from marginome.models import Output
from marginome.models.effect_columns import by_target, effect_columns

CODE = """
def plain(before, after):
    return after - before

def distance(before, after):
    return (after - before).abs().sum(1)

distance.signed = False
distance.per_target = False
distance.unit = "counts"

def odd(before, after):
    return after - before

odd.signed = "no"
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(CODE)
    return lambda name: f"{tmp_path / 'own.py'}:{name}"


def _output(kind, measure, **more):
    names = ("y",) if kind == "profile" else ("a", "b", "c")
    return Output("y", kind, names=names, unit="model units", measure=measure, softmax="both", **more)


@pytest.mark.parametrize(("name", "kind"), [(m.name, kind) for m in MEASURES.values() for kind in m.fits])
def test_every_measure_does_what_is_said_of_it(name, kind):
    """The table against the functions: shape and sign of what they return on outputs of each kind that they fit."""
    measure, shape = MEASURES[name], (5, 3) if kind == "scalar" else (5, 2, 7)
    assert {*effects.FUNCTIONS} == {*MEASURES}
    generator = torch.Generator().manual_seed(1)
    before, after = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    output = _output(kind, name)
    found = effects.measure_of(output)(before, after)
    assert found.shape == ((5, 3) if by_target(output) else (5,))
    # what is compared the other way round has the other sign, if it has a sign
    back = effects.measure_of(output)(after, before)
    assert (found.min() < 0) == measure.signed
    assert torch.allclose(back, -found if measure.signed else found)
    if measure.nonnegative:
        with pytest.raises(MarginomeError, match="lowest value"):
            effects.measure_of(output)(before - 5, after)


def test_columns_are_of_targets_or_of_the_whole(own):
    columns = effect_columns(
        [
            _output("scalar", "difference"),
            _output("scalar", "euclidean"),
            _output("profile", "jensen_shannon_distance"),
            _output("scalar", own("plain")),
            _output("scalar", own("distance")),
        ]
    )
    assert columns.output == ("a", "b", "c", "y", "y", "a", "b", "c", "y")
    assert columns.scalar == (True,) * 3 + (False,) * 2 + (True,) * 3 + (False,)
    assert columns.signed == (True,) * 3 + (False,) * 2 + (True,) * 3 + (False,)
    assert columns.unit == ("model units",) * 4 + ("Jensen-Shannon distance (0 to 1)",) + ("model units",) * 3 + (
        "counts",
    )


def test_the_users_own_says_what_it_is(own):
    assert measure_named(own("plain"), where="output 'y'") == Measure(own("plain"))
    known = measure_named(own("distance"), where="output 'y'")
    assert (known.per_target, known.signed, known.unit) == (False, False, "counts")
    with pytest.raises(MarginomeError, match="signed is 'no', wanted True or False"):
        measure_named(own("odd"), where="output 'y'")
    with pytest.raises(MarginomeError, match="Did you mean 'difference'"):
        measure_named("diference", where="output 'y'")


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("jensen_shannon_distance", "scalar", "compares profile outputs; this one is a scalar"),
        ("difference", "profile", "compares scalar outputs; this one is a profile"),
        ("log2_fold_change", "profile", "Use euclidean or jensen_shannon_distance, or kind: scalar"),
    ],
)
def test_a_measure_that_does_not_fit_is_one_line(name, kind, told):
    error = misfit(name, kind, where="outputs.y.measure")
    assert told in str(error) and "outputs.y.measure" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "kind"), [("euclidean", "scalar"), ("euclidean", "profile"), ("own.py:f", "profile"), (None, "scalar")]
)
def test_a_measure_that_fits_is_none(name, kind):
    assert misfit(name, kind, where="y") is None


def test_what_made_no_effect_of_a_scalar_is_refused_now():
    """A Jensen-Shannon distance of one number is 0 whatever an insert does."""
    value = torch.rand(4, 1)
    assert not effects.jensen_shannon_distance(value, value + 1).any()
    assert misfit("jensen_shannon_distance", "scalar", where="y") is not None
