"""A few seconds of the checks that run for longer by hand (tests/checks)."""

from __future__ import annotations

import contextlib
import sys

import every_operation
import jaspar_releases
import keras_layers
import null_shapes
import random_attributions

# One of each kind that was wrong once, or that is easily got wrong: in place, with a mask, of two numbers, with zeros.
OPERATIONS = (
    "addcdiv_", "copysign", "fmod_", "hypot_", "index_fill_", "lerp_", "logaddexp", "logical_not_", "masked_fill_",
    "mul_", "relu_", "sigmoid_", "sqrt_", "where", "xlogy_",
)  # fmt: skip


def test_random_models_are_attributed_right_or_named():
    assert [found for seed in (1, 2, 3, 9) if (found := random_attributions.check(seed, length=26))] == []


def test_operations_are_exact_named_or_refused():
    seen: dict[str, list] = {name: [] for name in OPERATIONS}
    for name, overload, schema in every_operation.operations():
        if name in seen:
            domain = "real" if name == "addcdiv_" else "with zeros"  # 0 / 0 is not a number
            seen[name] += every_operation.check(name, overload, schema, domains=(domain,))
    assert all(seen.values())
    assert [(name, how, o) for name, found in seen.items() for how, o in found if o.kind.isupper()] == []
    kinds = {name: {outcome.kind for _, outcome in found} for name, found in seen.items()}
    assert kinds["relu_"] == kinds["sqrt_"] == {"exact"} and kinds["logical_not_"] == {"named"}


def test_layers_of_keras_are_read_as_keras_predicts_or_refused():
    """One of each kind of rule: with padding, with weights, of two inputs, of another axis, one that is refused."""
    kinds = ("AveragePooling1D", "BatchNormalization", "Concatenate", "Conv1D", "DepthwiseConv1D", "GRU", "LSTM",
             "PReLU", "Softmax", "activation gelu", "activation squareplus")  # fmt: skip
    found, not_made = keras_layers.run("keras", sys.executable, 3, kinds)
    assert {made.kind for made in found} == set(kinds) and not not_made
    assert [made for made in found if keras_layers.is_wrong("keras", made)] == []
    read = {made.kind for made in found if made.said == "equal"}
    assert read == set(kinds) - {"activation squareplus"} <= keras_layers.known("keras")


def test_nulls_of_drawn_shapes_keep_what_p_says():
    """A heavy tail and a skewed one, zeros among the least (94 drew few enough), noise, sites; 40 to 300 controls."""
    assert [said for seed in (1, 9, 11, 14, 16, 94) if (said := null_shapes.check(seed))] == []


def test_a_release_of_jaspar_is_read_as_it_stands_in_its_tables():
    collections, connection = jaspar_releases.tables("JASPAR2014")
    with contextlib.closing(connection):
        assert len(collections) == 9
        assert [fault for name in collections for fault in jaspar_releases.faults("JASPAR2014", name, connection)] == []
