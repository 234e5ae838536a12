"""What a weights file may and may not do: nothing in it is executed, and every way to be wrong has its message."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pickle
import platform
import resource
import shutil
import subprocess
import sys
import warnings
import zipfile
import zlib

import pytest
import torch

import damaged_weights
from marginome import MarginomeError, Readout, deep_lift_shap, marginalize_many, random_one_hot
from marginome.models import load_model
from marginome.models.pickles import pickled_names

STATE = "models/bpnet_ctcf_k562_2114.state_dict.pt"
LENGTH = 60


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(4, 3, 5)
        self.norm = torch.nn.BatchNorm1d(3)

    def forward(self, X):
        return torch.relu(self.norm(self.conv(X))).mean(-1)


OUTPUTS = {"outputs": {"y": {"names": ["a", "b", "c"]}}, "input_length": LENGTH}


def malicious(path, mark, protocol: int = 2) -> str:
    """A state dict that touches `mark` when it is unpickled, in PyTorch's format."""
    torch.save({"iconv.weight": torch.zeros(1), "x": Malicious(f"touch {mark}")}, path, pickle_protocol=protocol)
    return str(path)


# ---------------------------------------------------------------------------------- nothing is executed
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("loader", [None, "bpnet_lite", "beluga", "pickled_module"])
def test_a_malicious_pickle_is_not_executed(tmp_path, loader, protocol):
    mark = tmp_path / "executed"
    file = malicious(tmp_path / "model.pt", mark, protocol)
    settings = {"weights": file, "input_length": LENGTH} | ({"loader": loader} if loader else {})
    with pytest.raises(MarginomeError, match=r"trust_pickle|posix\.system"):
        load_model("bad", settings)
    assert not mark.exists()
    # the same file does run its command when it is trusted: so the test above can fail
    with pytest.raises(MarginomeError, match=r"holds dict; wanted a torch\.nn\.Module"):
        load_model("bad", {"weights": file, "input_length": LENGTH, "trust_pickle": True})
    assert mark.exists()


def test_a_plain_malicious_pickle_is_not_executed(tmp_path):
    mark = tmp_path / "executed"
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Malicious(f"touch {mark}"), protocol=2))
    with pytest.raises(MarginomeError, match=r"needs code to be read \(posix\.system\); it was not run"):
        load_model("bad", {"weights": str(tmp_path / "model.pkl"), "input_length": LENGTH})
    assert not mark.exists()


def test_classes_of_the_allow_list_are_not_executed_either(tmp_path):
    """A pickle that calls a class of bpnet-lite or torch.nn with arguments: it becomes a record of them."""
    opcodes = b"\x80\x02cbpnetlite.bpnet\nBPNet\nq\x00X\x04\x00\x00\x00argsq\x01\x85q\x02Rq\x03."
    (tmp_path / "model.pkl").write_bytes(opcodes)
    assert pickled_names(tmp_path / "model.pkl") == {"bpnetlite.bpnet.BPNet"}
    with pytest.raises(MarginomeError):
        load_model("bad", {"weights": str(tmp_path / "model.pkl"), "input_length": LENGTH})
    assert "bpnetlite" not in sys.modules


def test_a_foreign_module_saved_whole_needs_trust(tmp_path):
    torch.manual_seed(0)
    net = Net().eval()
    torch.save(net, tmp_path / "net.pt")
    settings = {"weights": str(tmp_path / "net.pt")} | OUTPUTS
    with pytest.raises(MarginomeError, match=r"needs code to be read \(.*Net\).* trust_pickle: true"):
        load_model("net", settings)
    loaded = load_model("net", settings | {"trust_pickle": True})
    X = random_one_hot((3, 4, LENGTH), random_state=0).float()
    assert loaded.loader == "pickled_module" and torch.equal(loaded.module(X), net(X))
    (tmp_path / "sequential").mkdir()
    torch.save(torch.nn.Sequential(torch.nn.Conv1d(4, 2, 3)), tmp_path / "sequential/net.pt")
    with pytest.raises(MarginomeError, match=r"module of class torch\.nn\.modules\.container\.Sequential, saved whole"):
        load_model("net", settings | {"weights": str(tmp_path / "sequential/net.pt")})


# ------------------------------------------------------------------------------------ exported programs
@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    net = Net().eval()
    X = random_one_hot((3, 4, LENGTH), random_state=0).float()
    folder = tmp_path_factory.mktemp("exported")
    for name, shapes in (("dynamic", ({0: torch.export.Dim.DYNAMIC},)), ("static", None)):
        torch.export.save(torch.export.export(net, (X,), dynamic_shapes=shapes), folder / f"{name}.pt2")
    with torch.no_grad():
        return folder, X, net(X)


TRUSTED = OUTPUTS | {"trust_pickle": True}


def test_exported_program_predicts_as_before_export(exported):
    folder, X, expected = exported
    loaded = load_model("net", {"weights": str(folder / "dynamic.pt2")} | TRUSTED)
    assert loaded.loader == "torch_export"
    torch.testing.assert_close(loaded.module(X), expected, rtol=0, atol=0)
    for n in (1, 5):
        assert loaded.readouts()(torch.zeros(n, 4, LENGTH))["y"].shape == (n, 3)


def test_exported_program_with_a_fixed_batch_is_refused(exported):
    with pytest.raises(MarginomeError, match="dynamic batch"):
        load_model("net", {"weights": str(exported[0] / "static.pt2")} | TRUSTED)


# A shared library (x86-64 Linux; cc -Os -shared -nostdlib) whose constructor makes the file "executed" here.
LIBRARY = zlib.decompress(
    base64.b85decode(
        "c-o~@%}&BV5T3T6AVeYY0P%t+HN*`i9@Io*f<GKg#Dj@9vd}dpv5>S&0w;L^6OTNKCq4KqK7=PMFk9OZg2YYQFW>BZv%531`*d-AscRajVZ"
        "bT;Fn}|}f)TbILd^fCAvN)h!~F50MG-Pn7}J&Td^U;+Es9E~qi%@yVK$1v=9M1l?WeR>;O`?73ZpHd3-*uPM)B*N|EoTqq<wfB_{NR+$Jj1<"
        "qS=+g0^*-1@wOluH>T=>{;CF5<m#*?<ZC27Da0J&Dq@Y~P0c3>{~C=tuw-tQ8CR9cabfpdG+Mk}Fw3mWO8e$P(Gm@_+%@;m1i(Doldj|qU^e$"
        "`U{=5F^_?k77nmy^`IrEcq9=XcvAE>Ggk67dxg&tJ+AUe<uFLxq6?a-qV9k!>h_?LqIZ{{~ozzRA>N9;#eX|%tC-qdA3-0Z-7PM}8oYP5vD5"
        "UkHd>i+olm4iY_38eVy%@Ud;r>>*xnO-0Z7Tjii(-=aCkQ_x`d{zS0)55*)-i{XcS@V>pCEXHXIJ{*y&~_FL3FAw?$M=0)*0e~cIM<SjK+*}z"
        "N4Nm$p1Hh^-q5"
    )
)
ATTACK = "__import__('os').system('touch executed')"


def rewritten(source, target, change=lambda name, content: None, **more) -> str:
    """A copy of an archive: `change(name, content)` gives a member's new content or None; `more` is put in."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(name, content) or content)
        for name, content in more.items():
            new.writestr(f"{old.namelist()[0].split('/')[0]}/{name}", content)
    return str(target)


def _of_model(edit):
    """A change of the program's JSON."""
    return lambda name, content: edit(content.decode()) if name.endswith("models/model.json") else None


def _guard(text: str) -> str:
    model = json.loads(text)
    model["guards_code"].append(f"{ATTACK} == 0")
    return json.dumps(model)


def _tensor_named_metadata(text: str) -> str:
    """A tensor of a name that looks like notes for people, whose size is an expression."""
    model = json.loads(text.replace('"conv1d"', '"metadata"'))
    model["graph_module"]["graph"]["tensor_values"]["metadata"]["sizes"][0]["as_expr"]["expr_str"] = ATTACK
    return json.dumps(model)


PROGRAMS = {
    "guard": {"change": _of_model(_guard)},
    "size of a tensor": {"change": _of_model(_tensor_named_metadata)},
    "pickle": {
        "change": lambda name, _: pickle.dumps(Malicious("touch executed"), protocol=2) if "sample" in name else None
    },
    "shared library": {
        "data/aotinductor/x/x.so": LIBRARY,
        "data/aotinductor/x/x.wrapper_metadata.json": '{"AOTI_DEVICE_KEY": "cpu"}',
        "data/aotinductor/x/x_metadata.json": '{"AOTI_DEVICE_KEY": "cpu"}',
    },
}


@pytest.mark.parametrize("attack", PROGRAMS)
def test_nothing_of_an_exported_program_runs_unless_it_is_trusted(exported, tmp_path, monkeypatch, capfd, attack):
    monkeypatch.chdir(tmp_path)
    file = rewritten(exported[0] / "dynamic.pt2", tmp_path / "bad.pt2", **PROGRAMS[attack])
    with warnings.catch_warnings(), pytest.raises(MarginomeError) as refused:
        warnings.simplefilter("error")
        load_model("bad", {"weights": file} | OUTPUTS)
    assert "trust_pickle: true" in str(refused.value) and file in str(refused.value)
    assert "\n" not in str(refused.value) and capfd.readouterr() == ("", "")
    assert not (tmp_path / "executed").exists()
    if attack != "shared library" or platform.machine() == "x86_64":  # it does run when torch opens it
        with contextlib.suppress(Exception):
            torch.export.load(file).module()(exported[1])
        assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("loader", [None, "torch_export", "pickled_module"])
@pytest.mark.parametrize("kind", ["exported", "scripted"])
def test_programs_are_refused_before_torch_opens_them(exported, tmp_path, monkeypatch, loader, kind):
    file = exported[0] / "dynamic.pt2"
    if kind == "scripted":
        file = tmp_path / "scripted.pt"
        torch.jit.save(torch.jit.script(Net()), file)
    for module, name in ((torch.export, "load"), (torch.jit, "load"), (torch, "load")):
        monkeypatch.setattr(module, name, lambda *args, **kwargs: pytest.fail("torch has opened it"))
    with pytest.raises(MarginomeError, match=r"runs? code|is code.*trust_pickle: true"):
        load_model("net", {"weights": str(file)} | OUTPUTS | ({"loader": loader} if loader else {}))


@pytest.mark.parametrize("word", ["false", "no", 1, [False]])
def test_trust_is_true_or_it_is_none(tmp_path, word):
    """A text "false" is true in Python."""
    file = malicious(tmp_path / "model.pt", tmp_path / "executed")
    with pytest.raises(MarginomeError, match=r"trust_pickle: found .*, wanted true or false"):
        load_model("bad", {"weights": file, "input_length": LENGTH, "trust_pickle": word})
    assert not (tmp_path / "executed").exists()


# ------------------------------------------------------------------------------------------ TorchScript
@pytest.mark.parametrize("how", ["script", "trace", "freeze"])
def test_torchscript_is_a_model_like_any_other(tmp_path, how):
    """Effects and attributions of a program are those of the module that it was made of."""
    torch.manual_seed(0)
    net = Net().eval()
    X = random_one_hot((6, 4, LENGTH), random_state=0)
    program = torch.jit.trace(net, X.float()) if how == "trace" else torch.jit.script(net)
    torch.jit.save(torch.jit.freeze(program) if how == "freeze" else program, tmp_path / "net.pt")
    loaded = load_model("net", {"weights": str(tmp_path / "net.pt")} | TRUSTED)
    assert loaded.loader == "pickled_module" and not any(p.requires_grad for p in loaded.module.parameters())
    torch.testing.assert_close(loaded.readouts()(X.float())["y"], net(X.float()).detach(), rtol=1e-5, atol=1e-6)
    motifs = [word * 3 for word in ("ACG", "TGC", "GGA", "CAT")]
    ours, theirs = (marginalize_many(m, X, motifs, device="cpu")[1] for m in (loaded.module, net))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    ours, theirs = (
        deep_lift_shap(Readout(m, index=0), X[:2], n_shuffles=3, random_state=0, device="cpu")
        for m in (loaded.module, net)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


# --------------------------------------------------------------------------------------- what is wrong
def bpnet_state(resources) -> dict[str, torch.Tensor]:
    return torch.load(resources / STATE, weights_only=True)


def saved(tmp_path, value) -> str:
    torch.save(value, tmp_path / "weights.pt")
    return str(tmp_path / "weights.pt")


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_truncated_file(resources, tmp_path, keep):
    content = (resources / STATE).read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(MarginomeError, match="damaged, cut short"):
        load_model("cut", {"weights": str(tmp_path / "cut.pt"), "input_length": 2114, "loader": "bpnet_lite"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("rconvs.3.weight"), r"dilated layers found are \[0, 1, 2, 4, 5, 6, 7\]"),
        (lambda s: s.update({"extra.weight": torch.zeros(2)}), r"1 unknown \(extra.weight\)"),
        (lambda s: s.update({"linear.weight": torch.zeros(1, 70)}), "shapes do not fit a BPNet"),
        (
            lambda s: s["fconv.weight"].view(-1)[5:8].fill_(torch.nan),
            "3 of 9600 values of the weight fconv.weight are NaN",
        ),
    ],
)
def test_weights_that_are_wrong(resources, tmp_path, change, message):
    state = bpnet_state(resources)
    change(state)
    with pytest.raises(MarginomeError, match=message):
        load_model("bpnet", {"weights": saved(tmp_path, state), "input_length": 2114})


def test_weights_of_another_architecture(tmp_path):
    file = saved(tmp_path, {"layer1.weight": torch.zeros(3, 3), "layer1.bias": torch.zeros(3)})
    with pytest.raises(MarginomeError, match=r"not a BPNet of bpnet-lite: there is no iconv\.weight"):
        load_model("x", {"weights": file, "loader": "bpnet_lite", "input_length": 2114})
    with pytest.raises(MarginomeError, match=r"a state dict of 2 tensors .*; no loader knows this architecture"):
        load_model("x", {"weights": file, "input_length": 2114})
    with pytest.raises(MarginomeError, match="not the published Beluga"):
        load_model("x", {"weights": file, "loader": "beluga"})
    with pytest.raises(MarginomeError, match="holds a dict with the keys epoch, no state dict"):
        load_model("x", {"weights": saved(tmp_path, {"epoch": 3}), "loader": "bpnet_lite", "input_length": 9})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_length": 1000}, "the model returns nothing for 1000 bp|the model fails on a sequence of 1000 bp"),
        ({"input_length": 2114, "outputs": {"counts": {"head": 5}}}, "there is no head '5'"),
        ({"input_length": 2114, "outputs": {"y": {"head": 0}}}, "one number per target"),
        ({}, "input_length is missing"),
        ({"input_length": 2114, "loader": "bpnetlite"}, "Did you mean 'bpnet_lite'"),
        ({"input_length": 2114, "weigths": "x"}, "Did you mean 'weights'"),
        ({"input_length": 2114, "component": "bias"}, "the file holds a single BPNet"),
        ({"input_length": 2114, "parameters": {"filters": 3}}, "no parameter 'filters'"),
        ({"input_length": 2114, "alphabet": "ACGU"}, "no order of A, C, G, T"),
        ({"input_length": 2114, "arguments": [{"name": "controls", "value": 1}]}, "shape is not known"),
    ],
)
def test_settings_that_are_wrong(resources, settings, message):
    with pytest.raises(MarginomeError, match=message):
        load_model("ctcf", {"weights": str(resources / STATE)} | settings)


class Failing:
    """What a pickle makes of it fails."""

    def __reduce__(self):
        return int, ("no number",)


def test_a_trusted_pickle_that_fails_is_one_line(tmp_path):
    (tmp_path / "bad.pt").write_bytes(pickle.dumps(Failing()))
    settings = {"weights": str(tmp_path / "bad.pt"), "loader": "pickled_module", "trust_pickle": True}
    with pytest.raises(MarginomeError, match=r"bad\.pt: the pickle cannot be loaded \(.*no number") as refused:
        load_model("x", settings)
    assert "\n" not in str(refused.value)


def test_a_whole_module_has_the_layers_of_a_bpnet(tmp_path):
    """Weights have the same shapes whatever the dilations are."""
    settings = {"weights": str(tmp_path / "whole.pt"), "input_length": 100}
    for dilations in ((2, 4), (2, 8)):
        (tmp_path / "whole.pt").write_bytes(damaged_weights.saved_whole(damaged_weights.bpnet_state(), dilations))
        if dilations == (2, 4):
            assert load_model("x", settings).module.n_layers == 2
        else:
            with pytest.raises(MarginomeError, match=r"layer rconvs\.1 has padding \(8,\); a BPNet has \(4,\)"):
                load_model("x", settings)


def test_files_that_are_not_there_or_nothing(tmp_path):
    with pytest.raises(MarginomeError, match="there is no such file"):
        load_model("x", {"weights": str(tmp_path / "none.pt")})
    (tmp_path / "empty.pt").touch()
    with pytest.raises(MarginomeError, match="is empty"):
        load_model("x", {"weights": str(tmp_path / "empty.pt")})
    (tmp_path / "text.pt").write_text("once upon a time")
    with pytest.raises(MarginomeError, match="kind of file is not recognised"):
        load_model("x", {"weights": str(tmp_path / "text.pt"), "input_length": 5})
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(MarginomeError, match="kind of file is not recognised"):
        load_model("x", {"weights": str(tmp_path / "model.keras"), "input_length": 5})
    with pytest.raises(MarginomeError, match="neither loader nor weights"):
        load_model("x", {"input_length": 5})


def test_members_of_an_ensemble_must_be_alike(resources, tmp_path):
    state = bpnet_state(resources)
    state["fconv.weight"], state["fconv.bias"] = state["fconv.weight"][:1], state["fconv.bias"][:1]
    with pytest.raises(MarginomeError, match="the members of the ensemble differ"):
        load_model("folds", {"weights": [str(resources / STATE), saved(tmp_path, state)], "input_length": 2114})


def test_a_model_that_needs_more_memory_than_there_is(tmp_path):
    """In a process with a limit on its memory: one line, no crash."""
    (tmp_path / "big.py").write_text(
        "import torch\n\n\nclass Big(torch.nn.Module):\n    def forward(self, X):\n"
        "        return torch.zeros(len(X), 1 << 40) + X.sum()\n"
    )
    code = (
        "from marginome.models import load_model\nfrom marginome import MarginomeError\n"
        f"try:\n    load_model('big', {{'loader': {str(tmp_path / 'big.py') + ':Big'!r}, 'input_length': 100}})\n"
        "except MarginomeError as error:\n    print(error)\n"
    )
    limit = 8 << 30
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert "model 'big'" in done.stdout and "needs more memory than there is" in done.stdout, done.stderr


def test_half_precision_and_prefixes_are_understood(resources, tmp_path):
    state = {f"module.{k}": v.half() for k, v in bpnet_state(resources).items()}
    checkpoint = saved(tmp_path, {"epoch": 3, "state_dict": state})
    loaded = load_model("x", {"weights": checkpoint, "input_length": 2114})
    assert all(p.dtype == torch.float32 for p in loaded.module.parameters())
    shutil.copy(checkpoint, tmp_path / "renamed.bin")
    assert load_model("x", {"weights": str(tmp_path / "renamed.bin"), "input_length": 2114}).loader == "bpnet_lite"
