"""check_model: what it says of good models, of models that are wrong in one way each, and its page."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import yaml

from batch import write_checks
from marginome import MarginomeError, predict, random_one_hot, substitute
from marginome.config import resolve_config
from marginome.incremental import fused
from marginome.jobs.report_model import report_model
from marginome.model_check import budget, check_model, running, stop_on_problems
from marginome.model_check import engine as engine_check
from marginome.models import load_model
from marginome.storage import read_json, to_json, write_json

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "config/examples"
LENGTH = 50
CODE = """
import types

import torch
import torch.nn.functional as F


class Model(torch.nn.Module):
    def __init__(self, how="good", seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.dense, self.norm = torch.nn.Conv1d(4, 8, 5), torch.nn.Linear(8, 2), torch.nn.BatchNorm1d(8)
        self.how = how

    def forward(self, X):
        y = torch.relu(self.conv(X))
        if self.how == "random":
            y = F.dropout(y, 0.3, training=True)
        if self.how == "mixes":
            y = F.batch_norm(y, None, None, training=True)
        if self.how == "sorts":
            y = torch.sort(y, dim=2).values.cumsum(2)
        y = self.dense(y.mean(2))
        self.calls = getattr(self, "calls", 0) + 1
        if self.how == "nan in the second batch" and self.calls > 4:
            y = y * float("nan")
        if self.how == "saturated":
            y = torch.sigmoid(40 * y + 12)
        if self.how == "saturated throughout":
            y = torch.sigmoid(y + 60)
        if self.how == "steps":
            y = (y > y.new_tensor([0.0, 0.1])).int()
        if self.how == "complex":
            y = y * 1j
        if self.how == "None":
            return None
        if self.how == "with None":
            return y, None
        if self.how == "text":
            return {"y": y, "name": "ctcf"}
        if self.how == "array":
            return y.detach().numpy()
        if self.how == "squeezed":
            return y.squeeze()
        if self.how == "scalar":
            return y.sum()
        if self.how == "object":
            return types.SimpleNamespace(y=y)
        if self.how == "raises":
            raise KeyError("tss")
        if self.how == "sparse":
            return y.to_sparse()
        if self.how == "nan":
            y = torch.log(y - y.mean(0) - 0.01)
        if self.how == "constant":
            y = y * 0 + 1
        if self.how == "half constant":
            y = y * torch.tensor([1.0, 0.0])
        if self.how == "cancels":
            y = (y + 1e4) - 1e4
        if self.how == "float32 only":
            y = y @ torch.eye(2)
        if self.how == "negative":
            y = y - 10
        if self.how == "hungry" and len(X) > 1:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory")
        if self.how == "transposed" and len(X) > 1:
            raise ValueError("no batches here")
        return y
"""
OUTPUTS = {"y": {"names": ["a", "b"]}}


def loaded_settings(tmp_path, how: str) -> dict:
    (tmp_path / "own.py").write_text(CODE)
    settings = {"loader": f"{tmp_path / 'own.py'}:Model", "parameters": {"how": how}, "input_length": LENGTH}
    return settings | {"outputs": OUTPUTS if how != "with None" else {"y": {"head": 0, "names": ["a", "b"]}}}


def load(tmp_path, how: str = "good", **more):
    return load_model("m", loaded_settings(tmp_path, how) | more)


@pytest.fixture(scope="module")
def bpnet_check(resources):
    loaded = load_model(
        "ctcf", {"weights": str(resources / "models/bpnet_ctcf_k562_2114.state_dict.pt"), "input_length": 2114}
    )
    X = random_one_hot((3, 4, 2114), random_state=0)
    return check_model(loaded, X)


def test_the_shipped_bpnet_is_fit_to_run(bpnet_check, tmp_path):
    check = bpnet_check
    assert check["problems"] == []
    stop_on_problems(check)
    assert [o["name"] for o in check["outputs"]] == ["counts", "profile"]
    assert check["batch_difference"]["again"] == 0 and check["batch_difference"]["one_by_one"] < 1e-5
    assert all(error < 1e-4 for error in check["precision_error"]["float32"].values())
    assert check["attribution"]["unsupported_operations"] == []
    assert all(d["relative"] < 1e-3 for d in check["attribution"]["deltas"].values())
    assert check["sequences_per_second"] > 1 and check["block"] >= 1
    assert check["engine"]["path"] in ("incremental", "full")
    if check["engine"]["path"] == "incremental":
        rates = check["pairs_per_second"]
        assert rates[str(check["block"])] > 0.75 * max(rates.values())
        assert check["apart"] is None or check["apart"]["bp"] == [12, 212]  # if there was time
    write_json(tmp_path / "check.json", check)
    assert read_json(tmp_path / "check.json") == json.loads(json.dumps(check))


def test_what_wider_inserts_cost_is_measured_where_there_is_room_and_time(monkeypatch):
    """With a clock that takes a millisecond for each base that an insert spans, and another in the first round."""
    seen = []

    def timed(runner, edits, device, backgrounds):
        lo, hi = edits.spans().T
        seen.append((int(lo.min()), int(hi.max())))
        return float((hi - lo).max()) / 1000 + 9 * (len(seen) < 3)

    monkeypatch.setattr(engine_check, "_timed", timed)
    monkeypatch.setattr(engine_check, "BLOCK_SECONDS", 99.0)
    runner, inserts = SimpleNamespace(X=[None] * 5, device=None), random_one_hot((64, 4, 12), random_state=0)
    assert engine_check._apart(runner, inserts, 2114, 99.0) == {"bp": [12, 212], "times": 17.67}
    assert runner.block == 64 and set(seen) == {(1051, 1063), (951, 1163)}  # both in the middle
    assert engine_check._apart(runner, inserts, 40, 99.0) == {"bp": [12, 40], "times": 3.333}
    assert engine_check._apart(runner, inserts, 20, 99.0) is None  # hardly any room between the halves
    assert engine_check._apart(runner, inserts, 2114, 0.0) is None
    seen.clear()
    assert engine_check._apart(runner, inserts, 2114, 20.0) is None and len(seen) == 2  # the first round takes too long


DILATED = """
from zoo import Dilated

class Model(Dilated):
    def __init__(self):
        super().__init__(filters=16, layers=2, length=150, out=20, kernel=7, head=7)
"""


@pytest.mark.parametrize("slower", ["triton", "torch"])
def test_no_kernel_is_used_that_is_slower_than_none(slower, tmp_path, monkeypatch, caplog):
    def convolve(x, weight, out_width, *, shift, dilation, start=None, floor=None):  # stands for the kernel
        wide = F.pad(x, (shift, out_width + (weight.shape[0] - 1) * dilation))
        y = F.conv1d(wide, weight.permute(1, 2, 0), dilation=dilation)[:, :, :out_width]
        y = y if start is None else y + start.repeat(len(x) // len(start), 1, 1)
        y = y if floor is None else torch.maximum(y, floor.repeat(len(x) // len(floor), 1, 1))
        return fused.channels_last_copy(y)

    timed = engine_check._timed
    monkeypatch.setattr(fused, "is_usable", lambda device: True)
    monkeypatch.setattr(fused, "convolve", convolve)
    monkeypatch.setattr(engine_check, "_timed", lambda runner, *a: timed(runner, *a) + (runner.info.kernels == slower))
    (tmp_path / "own.py").write_text(DILATED)
    outputs = {"profile": {"head": 0, "kind": "profile"}, "counts": {"head": 1}}
    settings = {"loader": f"{tmp_path / 'own.py'}:Model", "input_length": 150, "outputs": outputs}
    with caplog.at_level("INFO"):
        engine = check_model(load_model("m", settings), random_one_hot((3, 4, 150), random_state=0))["engine"]
    rates = engine["kernels_pairs_per_second"]
    assert engine["path"] == "incremental" and set(rates) == {"triton", "torch"}
    assert engine["kernels"] != slower and engine["kernels"] == max(rates, key=rates.get)
    assert f"convolutions of changes by {engine['kernels']}" in caplog.text


@pytest.mark.parametrize("faster", ["float32", "bfloat16"])
def test_bfloat16_is_offered_where_it_is_faster(faster, tmp_path, monkeypatch, caplog):
    timed = engine_check._timed
    monkeypatch.setattr(engine_check, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(engine_check, "_timed", lambda runner, *a: timed(runner, *a) + (runner.precision != faster))
    (tmp_path / "own.py").write_text(DILATED)
    outputs = {"profile": {"head": 0, "kind": "profile"}, "counts": {"head": 1}}
    settings = {"loader": f"{tmp_path / 'own.py'}:Model", "input_length": 150, "outputs": outputs}
    with caplog.at_level("INFO"):
        check = check_model(load_model("m", settings), random_one_hot((3, 4, 150), random_state=0))
    found = check["engine"]["bfloat16"]
    assert found["reason"] == "" and max(found["pairs_per_second"], key=found["pairs_per_second"].get) == faster
    assert 1e-4 < found["effect_error"] < 0.2  # it ran in bfloat16
    assert ("precision: bfloat16 would compute" in caplog.text) == (faster == "bfloat16")
    assert check["precision"] == "float32" and check["engine"]["effect_error"] < 1e-4


def test_bfloat16_is_not_tried_without_the_instructions(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_check, "multiplies_bfloat16", lambda: False)
    found = check_model(load(tmp_path), attribution=False)["engine"]["bfloat16"]
    assert found == {"reason": "this processor has no instructions for products of bfloat16"}


def page_of(check, folder):
    write_checks(folder / "check.json", m=check)
    report_model("m", check=folder / "check.json", page=folder / "check.html")
    return (folder / "check.html").read_text()


def test_the_page_says_what_was_found(bpnet_check, tmp_path):
    page = page_of(bpnet_check, tmp_path)
    for text in ("bpnet_lite", bpnet_check["files"][0]["sha256"], "log counts", "2,114 bp", "sequences per second"):
        assert text in page
    assert "default-src 'none'" in page and 'class="card"' in page  # the design of all pages


def test_names_on_the_page_are_escaped(tmp_path):
    nasty = "<script>alert(1)</script>"
    loaded = load(tmp_path, "half constant", outputs={"y": {"names": [nasty, nasty + "2"], "unit": nasty}})
    page = page_of(check_model(loaded, attribution=False), tmp_path)
    assert nasty not in page and "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ("random", "the same sequences give other numbers the second time"),
        ("mixes", "depends on the other sequences of its batch"),
        ("nan", "output 'y' is NaN or infinite for"),
        ("constant", "does not depend on the sequence"),
    ],
)
def test_a_model_that_would_give_wrong_numbers_is_stopped(tmp_path, how, problem):
    check = check_model(load(tmp_path, how))
    assert any(problem in found for found in check["problems"]), check["problems"]
    with pytest.raises(MarginomeError, match="model 'm': "):
        stop_on_problems(check)
    assert "It is not run" in page_of(check, tmp_path)


def test_a_good_small_model_has_no_warnings_of_its_own(tmp_path):
    check = check_model(load(tmp_path))
    assert check["problems"] == []
    assert not [w for w in check["warnings"] if "goes through the whole model" not in w]


@pytest.mark.parametrize(
    ("how", "warning"),
    [
        ("half constant", "1 of 2 targets of output 'y' are the same for every sequence (the first: b)"),
        ("cancels", "in float32 output 'y' is off by"),
        ("float32 only", "cannot be run in float64"),
        ("sorts", "DeepLIFT has no rule for"),
    ],
)
def test_what_a_reader_should_know_is_a_warning(tmp_path, how, warning):
    check = check_model(load(tmp_path, how), attribution=how == "sorts")
    assert check["problems"] == []
    assert any(warning in found for found in check["warnings"]), check["warnings"]
    stop_on_problems(check)


def test_a_fold_change_of_negative_values_is_a_problem(tmp_path):
    check = check_model(load(tmp_path, "negative", outputs={"y": {"names": ["a", "b"], "measure": "log2_fold_change"}}))
    assert any("no log fold change can be taken" in found for found in check["problems"])


def test_too_little_memory_and_failures_are_one_message(tmp_path):
    with pytest.raises(MarginomeError, match="model 'm': the model needs more memory than there is on cpu"):
        check_model(load(tmp_path, "hungry"))
    with pytest.raises(MarginomeError, match="fails on 8 sequences at once though it runs on one: ValueError"):
        check_model(load(tmp_path, "transposed"))


def test_an_exported_program_for_one_sequence_is_refused(tmp_path):
    (tmp_path / "own.py").write_text(CODE)
    net = load(tmp_path).module
    program = torch.export.export(net, (torch.zeros(1, 4, LENGTH),))
    torch.export.save(program, tmp_path / "one.pt2")
    loaded = load_model(
        "m", {"weights": str(tmp_path / "one.pt2"), "input_length": LENGTH, "outputs": OUTPUTS, "trust_pickle": True}
    )
    with pytest.raises(MarginomeError, match="dynamic batch"):
        check_model(loaded)


def test_precisions_are_compared_with_float64(tmp_path):
    check = check_model(load(tmp_path), precision="bfloat16", attribution=False)
    errors = check["precision_error"]
    assert errors["float32"]["y"] < 1e-4 < errors["bfloat16"]["y"] < 1


def test_the_same_check_twice_is_the_same(tmp_path):
    timed = ("sequences_per_second", "pairs_per_second", "apart", "block", "peak_memory_mb", "parts", "cost")
    first, second = (check_model(load(tmp_path), seed=3) for _ in range(2))
    for check in (first, second):  # a processor that multiplies bfloat16 times it as well
        check["engine"]["bfloat16"].pop("pairs_per_second", None)
    assert {k: v for k, v in first.items() if k not in timed} == {k: v for k, v in second.items() if k not in timed}
    assert check_model(load(tmp_path), seed=4)["outputs"] != first["outputs"]


def test_the_spread_of_an_ensemble(resources, tmp_path):
    state = torch.load(resources / "models/bpnet_ctcf_k562_2114.state_dict.pt", weights_only=True)
    shifted = state | {"linear.bias": state["linear.bias"] + 1.0}
    small = {}
    for name, value in (("a", state), ("b", shifted)):
        torch.save(value, tmp_path / f"{name}.pt")
        small[name] = str(tmp_path / f"{name}.pt")
    loaded = load_model("folds", {"weights": list(small.values()), "input_length": 2114})
    check = check_model(loaded, random_one_hot((2, 4, 2114), random_state=0), attribution=False, engine="full")
    assert check["member_sd"]["counts"] == pytest.approx(0.5**0.5, abs=1e-4)  # of x and x + 1
    assert check["members"] == 2 and len(check["files"]) == 2


# ------------------------------------------------------------------------- what a forward may return
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("None", "it returned None, expected a tensor"),
        ("text", r"output\['name'\] of the model: .*found str"),
        ("array", "found ndarray"),
        ("object", r"found SimpleNamespace.*its fields \(y\)"),
        ("sparse", "found a sparse tensor"),
        ("complex", "holds complex numbers"),
        ("squeezed", "first axis .* is not the batch"),
        ("scalar", "first axis .* is not the batch"),
        ("raises", r"fails on a sequence of 50 bp: KeyError.*X \(1, 4, 50\)"),
    ],
)
def test_what_is_no_prediction_stops_the_workflow_with_one_line(tmp_path, how, message):
    with pytest.raises(MarginomeError, match=message) as caught:
        check_model(load(tmp_path, how))
    assert "model 'm'" in str(caught.value) and "\n" not in str(caught.value)


def test_a_none_beside_the_output_is_nothing(tmp_path):
    assert check_model(load(tmp_path, "with None"), attribution=False)["problems"] == []


def test_whole_numbers_are_run_and_cannot_be_attributed(tmp_path):
    check = check_model(load(tmp_path, "steps"), engine="full")
    assert check["problems"] == [] and stop_on_problems(check) is None
    assert [w for w in check["warnings"] if "DeepLIFT" in w]
    assert check["attribution"]["deltas"] == {} and check["parts"]["attribution"]["left_out"]
    assert "DeepLIFT fails" in page_of(check, tmp_path)


# ----------------------------------------------------------------------------------- NaN, float64, budgets
def strict(check: dict) -> dict:
    """The check as a reader of JSON gets it; `parse_constant` sees what JSON has not."""

    def refuse(word):
        raise AssertionError(word)

    return json.loads(to_json(check), parse_constant=refuse)


def test_nan_in_a_later_run_is_a_problem_and_no_json(tmp_path):
    check = check_model(load(tmp_path, "nan in the second batch"), engine="full")
    assert check["problems"] and "other numbers the second time (relative nan)" in check["problems"][0]
    assert strict(check)["batch_difference"]["again"] is None
    assert "not finite" in page_of(check, tmp_path)


def test_a_saturated_output_says_use_logits_or_float64(tmp_path):
    loaded = load(tmp_path, "saturated")
    (warning,) = [w for w in check_model(loaded, attribution=False, engine="full")["warnings"] if "near 0 or 1" in w]
    X = random_one_hot((8, 4, LENGTH), random_state=0).double()
    exact = copy.deepcopy(loaded.module).double()(X)
    assert ((1 - exact) < 6e-6).any()  # float32 has a number every 6e-8 there
    assert (
        warning.startswith("output 'y': ")
        and "of 16 values" in warning
        and "use logits or precision: float64" in warning
    )
    double = load_model("m", loaded_settings(tmp_path, "saturated"), precision="float64")
    check = check_model(double, attribution=False, engine="full", precision="float64")
    assert not [w for w in check["warnings"] if "near 0 or 1" in w] and check["precision"] == "float64"
    assert check["precision_error"]["float32"]["y"] > 0
    assert strict(check)


def test_an_output_that_is_1_everywhere_says_why(tmp_path):
    check = check_model(load(tmp_path, "saturated throughout"), attribution=False, engine="full")
    assert "every value is 1, so it may be saturated: use logits, or precision: float64" in check["problems"][0]


def test_a_check_that_is_cut_short_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(budget, "BUDGET", dict.fromkeys(budget.BUDGET, 0.0))
    monkeypatch.setattr(engine_check.log, "propagate", True)
    with caplog.at_level("INFO"):
        check = check_model(load(tmp_path), engine="full")
    assert check["sequences"] == 4 and check["problems"] == []
    assert check["parts"]["batches"]["left_out"] == ["batches with 4 of 8 sequences"]
    assert check["parts"]["precision"]["left_out"] == ["precision with 2 of 4 sequences"]
    assert check["attribution"]["deltas"]["y"]["pairs"] == 1  # what is least
    assert sum("the check was cut short" in w for w in check["warnings"]) == 3
    assert "cut short: precision with 2 of 4 sequences" in page_of(check, tmp_path)
    said = [record.getMessage() for record in caplog.records]
    assert any(s.startswith("check: one sequence takes") for s in said)
    for i, part in enumerate(("batches", "precision", "engine", "attribution"), 1):
        assert any(s.startswith(f"check, part {i} of 4: {part}") for s in said)
        assert any(s.startswith(f"check, {part}: ") and "peak memory" in s for s in said)
    for how in ("mixes", "random"):  # the shortest check finds these too
        assert check_model(load(tmp_path, how), engine="full")["problems"]


def test_outputs_that_were_not_attributed_are_named(tmp_path, monkeypatch):
    outputs = {name: {"index": i} for i, name in enumerate("ab")}
    loaded = load(tmp_path, outputs=outputs)
    monkeypatch.setattr(budget, "BUDGET", dict.fromkeys(budget.BUDGET, 0.0))
    check = check_model(loaded, engine="full")
    assert list(check["attribution"]["deltas"]) == ["a"]
    assert any("was not looked at for output 'b'" in w for w in check["warnings"])


def test_sequences_follow_the_memory(tmp_path):
    check = check_model(load(tmp_path), engine="full", memory_bytes=7_000)
    assert check["sequences"] == 2
    assert "batches with 2 of 8 sequences" in check["parts"]["batches"]["left_out"]


def test_a_sequence_and_a_pair_that_take_more_than_the_memory_are_told(tmp_path):
    """Before a long job: it runs them all the same, one at a time."""
    check = check_model(load(tmp_path), engine="full", memory_bytes=1 << 10)
    told = [warning for warning in check["warnings"] if "give memory_mb" in warning]
    assert [warning.split(" takes ")[0] for warning in told] == ["one sequence", "DeepLIFT/SHAP"]
    check = check_model(load(tmp_path), engine="full", memory_bytes=1 << 30)
    assert not [warning for warning in check["warnings"] if "give memory_mb" in warning]


def test_the_memory_of_a_sequence_is_counted(tmp_path):
    loaded = load(tmp_path)
    run = running.Runner(loaded.readouts(), torch.device("cpu"), "m")
    X = random_one_hot((1, 4, LENGTH), random_state=0)
    cost = running.cost_of(run, X, ())
    floats = 2 * 8 * 46 + 8 + 2  # convolution, rectifier, mean, dense
    assert 4 * floats <= cost.bytes <= 4 * floats + 2000 and cost.seconds > 0


# -------------------------------------------------------------------------------------------- examples
@pytest.mark.parametrize(
    "name",
    [
        "bpnet_controls",
        "chrombpnet_folds",
        "cherimoya_folds",
        "crested",
        "splicing",
        "long_models",
        "beluga",
        "mpra_dragonn",
        "own_model",
    ],
)
def test_examples_are_valid_configs(name):
    file = EXAMPLES / f"{name}.yaml"
    config = resolve_config(yaml.safe_load(file.read_text()), files=[str(file)], check_files=False)
    assert config["screens"]


def example_models(name: str) -> dict:
    file = EXAMPLES / f"{name}.yaml"
    return resolve_config(yaml.safe_load(file.read_text()), files=[str(file)])["models"]


def test_the_examples_whose_data_ship_run(monkeypatch):
    monkeypatch.chdir(ROOT)
    (settings,) = example_models("mpra_dragonn").values()
    check = check_model(load_model("mpra", settings))
    assert check["problems"] == [] and len(check["outputs"][0]["names"]) == 12
    assert check["attribution"]["deltas"]["activity"]["relative"] < 1e-3


def test_the_own_models_of_the_example_know_their_motifs(monkeypatch):
    """DeepBind: both CTCF models answer to CTCF by +23 to +25, the JUND model to AP-1 by about +7."""
    monkeypatch.chdir(ROOT)
    X = random_one_hot((60, 4, 101), random_state=0)

    def effect(name: str, motif: str) -> float:
        module = models[name].readouts()
        scores = [predict(module, x, device="cpu")["score"] for x in (X, substitute(X, motif))]
        return float((scores[1] - scores[0]).mean())

    models = {name: load_model(name, settings) for name, settings in example_models("own_model").items()}
    assert effect("deepbind_ctcf_selex", "TGGCCACCAGGGGGCGCTA") == pytest.approx(23.5, abs=2)
    assert effect("deepbind_ctcf_chip", "TGGCCACCAGGGGGCGCTA") == pytest.approx(24.5, abs=2)
    assert effect("deepbind_jund_chip", "ATGAGTCATC") == pytest.approx(7.5, abs=1.5)
    assert abs(effect("deepbind_ctcf_chip", "ATGAGTCATC")) < 1
    assert check_model(models["deepbind_jund_chip"], X[:4])["problems"] == []
