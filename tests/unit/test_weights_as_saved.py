"""State dicts as trainers, wrappers and downloads leave them: each is loaded, or told in one line."""

from __future__ import annotations

import pickle
import textwrap
import zipfile
from unittest import mock

import pytest
import torch
from safetensors.torch import save_file

from marginome import MarginomeError
from marginome.config import resolve_config
from marginome.models import load_model
from workspace import ROOT, small_config

MODEL = textwrap.dedent(
    """
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Conv1d(4, 3, 5), torch.nn.BatchNorm1d(3), torch.nn.ReLU())
            self.head = torch.nn.Linear(3, 2)

        def forward(self, X):
            return self.head(self.body(X).mean(-1))

    def compiled():
        return torch.compile(Net())

    def parallel():
        return torch.nn.DataParallel(Net())

    def broken():
        raise ImportError("libcudart.so.12: cannot open\\n  second line")
    """
)


@pytest.fixture
def net(tmp_path):
    """The entry of a model, its module with norm statistics that matter, and sequences."""
    (tmp_path / "net.py").write_text(MODEL)
    made: dict = {}
    exec(MODEL, made)
    torch.manual_seed(0)
    module = made["Net"]().eval()
    module.body[1].running_mean.normal_()
    module.body[1].running_var.uniform_(0.5, 2)
    X = torch.nn.functional.one_hot(torch.randint(0, 4, (3, 50)), 4).transpose(1, 2).float()
    entry = {"loader": f"{tmp_path}/net.py:Net", "input_length": 50, "outputs": {"y": {"names": ["a", "b"]}}}
    return entry, module, X


def before(prefix: str):
    return lambda state: {prefix + name: value for name, value in state.items()}


def floats(change):
    return lambda state: {name: change(v) if v.is_floating_point() else v for name, v in state.items()}


SAVED = {
    "as it is": lambda s: s,
    "data parallel": before("module."),
    "compiled": before("_orig_mod."),
    "compiled, parallel": before("module._orig_mod."),
    "parallel, compiled": before("_orig_mod.module."),
    "a trainer's part, compiled": lambda s: {"state_dict": before("model._orig_mod.")(s) | {"loss": torch.ones(1)}},
    "a part compiled": lambda s: {name.replace("body.", "body._orig_mod."): value for name, value in s.items()},
    "beside an optimizer": lambda s: {"net": s, "optimizer": {"state": {0: {"step": torch.ones(1)}}}, "epoch": 3},
    "under weights": lambda s: {"weights": s},
    "without counts": lambda s: {name: v for name, v in s.items() if "num_batches" not in name},
}


@pytest.mark.parametrize("function", ["Net", "compiled", "parallel"])
@pytest.mark.parametrize("name", SAVED)
def test_weights_are_found_however_they_were_saved(net, tmp_path, name, function):
    entry, module, X = net
    torch.save(SAVED[name](module.state_dict()), tmp_path / "w.pt")
    entry |= {"loader": f"{tmp_path}/net.py:{function}", "weights": str(tmp_path / "w.pt")}
    torch.testing.assert_close(load_model("m", entry).module(X), module(X), rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "rounding"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2), (torch.float64, 1e-6)])
def test_weights_of_another_precision_are_read_in_float32(net, tmp_path, kind, rounding):
    entry, module, X = net
    save_file(floats(lambda v: v.to(kind))(module.state_dict()), tmp_path / "w.safetensors")
    found = load_model("m", entry | {"weights": str(tmp_path / "w.safetensors")}).module(X)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, module(X), rtol=rounding, atol=rounding)


def test_weights_saved_on_a_gpu_come_to_the_cpu(net, tmp_path):
    entry, module, X = net
    with mock.patch("torch.serialization.location_tag", lambda storage: "cuda:3"):
        torch.save(module.state_dict(), tmp_path / "w.pt")
    found = load_model("m", entry | {"weights": str(tmp_path / "w.pt")}).module(X)
    torch.testing.assert_close(found, module(X), rtol=0, atol=0)


WRONG = {
    "a missing tensor": (lambda s: {k: v for k, v in s.items() if k != "head.bias"}, r"1 missing \(head\.bias\)"),
    "one more": (lambda s: s | {"other.weight": torch.ones(2)}, r"1 unknown \(other\.weight\)"),
    "another class": (lambda s: {"state_dict": {"model.lin.weight": torch.ones(2, 2)}}, r"8 missing .* 1 unknown"),
    "two at once": (lambda s: {"raw": s, "ema": s}, "several dicts of tensors: raw, ema"),
    "no tensors": (lambda s: {"optimizer": {"state": {}}}, "a dict with the keys optimizer, no state dict"),
    "a list": (lambda s: [s, s], "an object of type list, no state dict"),
}


@pytest.mark.parametrize("name", WRONG)
def test_weights_that_do_not_fit_are_one_line(net, tmp_path, name):
    entry, module, _ = net
    change, message = WRONG[name]
    torch.save(change(module.state_dict()), tmp_path / "w.pt")
    with pytest.raises(MarginomeError, match=message) as refused:
        load_model("m", entry | {"weights": str(tmp_path / "w.pt")})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a pointer of Git LFS.*git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html><body>404</body></html>", "a web page, in place of the file"),
    ],
)
def test_what_was_not_downloaded_is_told_before_a_run(net, tmp_path, content, message):
    """In a notebook and when a run is planned, of every kind of file."""
    (tmp_path / "w.safetensors").write_bytes(content)
    entry = net[0] | {"weights": str(tmp_path / "w.safetensors")}
    with pytest.raises(MarginomeError, match=message):
        load_model("m", entry)
    config = small_config()
    config["models"]["bpnet_ctcf"] = entry
    with pytest.raises(MarginomeError, match=rf"w\.safetensors: this is {message}"):
        resolve_config(config)
    config = small_config()
    config["motifs"]["jaspar"]["files"] = [str(tmp_path / "w.safetensors")]
    with pytest.raises(MarginomeError, match=message):
        resolve_config(config)


@pytest.mark.parametrize("place", ["in the function", "in the file"])
def test_an_exception_of_many_lines_is_told_by_its_first(net, tmp_path, place):
    if place == "in the file":
        (tmp_path / "net.py").write_text(MODEL + "\nbroken()\n")
    with pytest.raises(MarginomeError, match=r"ImportError: libcudart\.so\.12: cannot open") as refused:
        load_model("m", net[0] | {"loader": f"{tmp_path}/net.py:broken"})
    assert "\n" not in str(refused.value)


def test_a_pickle_of_arrays_is_not_opened(net, tmp_path):
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({k: v.numpy() for k, v in net[1].state_dict().items()}))
    with pytest.raises(MarginomeError, match="needs code to be read") as refused:
        load_model("m", net[0] | {"weights": str(tmp_path / "w.pkl")})
    assert "\n" not in str(refused.value)


def test_a_module_saved_whole_that_is_trusted_fills_the_module_of_a_function(net, tmp_path):
    entry, module, X = net
    torch.save(torch.nn.Sequential(module.body, module.head), tmp_path / "w.pt")
    (tmp_path / "net.py").write_text(
        MODEL + "\ndef pair():\n    net = Net()\n    return Joined(net.body, net.head)\n\n"
        "class Joined(torch.nn.Sequential):\n    def forward(self, X):\n        return self[1](self[0](X).mean(-1))\n"
    )
    entry |= {"loader": f"{tmp_path}/net.py:pair", "weights": str(tmp_path / "w.pt"), "trust_pickle": True}
    torch.testing.assert_close(load_model("m", entry).module(X), module(X), rtol=0, atol=0)


def test_a_checkpoint_with_weights_of_a_loss_beside_a_known_model_is_that_model(tmp_path):
    source = ROOT / "resources/models/bpnet_ctcf_k562_2114.state_dict.pt"
    state = torch.load(source, weights_only=True)
    more = {f"model.{name}": value for name, value in state.items()} | {"loss.scale": torch.ones(1)}
    torch.save({"state_dict": more, "epoch": 3}, tmp_path / "w.ckpt")
    one, other = (
        load_model("m", {"weights": str(file), "input_length": 2114}) for file in (source, tmp_path / "w.ckpt")
    )
    assert other.loader == one.loader == "bpnet_lite"
    for name, value in one.module.state_dict().items():
        torch.testing.assert_close(other.module.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["m.h5", "m.keras", "m.pt2", "m.index.json"])
def test_a_model_of_another_kind_is_told_where_a_state_dict_is_wanted(net, tmp_path, name):
    """What it is, not that it were damaged."""
    file, message = tmp_path / name, "this is a model of Keras, and a state dict of PyTorch is wanted.*Leave loader out"
    if name == "m.h5":
        file.write_bytes((ROOT / "tests/data/keras2/sequential.h5").read_bytes())
    elif name == "m.keras":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("config.json", "{}")
            archive.writestr("model.weights.h5", b"")
    elif name == "m.pt2":
        torch.export.save(torch.export.export(net[1], (net[2],)), file)
        message = message.replace("Keras", r"torch\.export")
    else:
        file.write_text('{"weight_map": {"head.weight": "model-00001-of-00002.safetensors"}}')
        message = "the index of tensors that are in several files.*save_file"
    with pytest.raises(MarginomeError, match=message) as refused:
        load_model("m", net[0] | {"weights": str(file)})
    assert "\n" not in str(refused.value) and name in str(refused.value)
