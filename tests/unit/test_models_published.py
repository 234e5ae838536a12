"""Models as they are published: files that their authors' packages wrote in another process, read by config alone."""

from __future__ import annotations

import collections
import gzip
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from marginome import MarginomeError
from marginome.config import resolve_config
from marginome.jobs.predict_baseline import read_backgrounds
from marginome.models import archives, load_model
from marginome.models.headers import recognise
from model_jobs import checked
from oracles import ORACLE, run_oracle
from workspace import ROOT, Workspace, small_config

LENGTH = 400


def run(module: torch.nn.Module, *inputs):
    with torch.no_grad():
        return module(*(torch.as_tensor(x) for x in inputs))


def code(tmp_path, text: str) -> str:
    (tmp_path / "model.py").write_text(text)
    return f"{tmp_path}/model.py:load"


# ------------------------------------------------------------------------------------------ safetensors
_SAFETENSORS = """
import sys, numpy, torch
torch.set_num_threads(1)
from safetensors.torch import save_file
from bpnetlite.bpnet import BPNet
from bpnetlite.chrombpnet import ChromBPNet
torch.manual_seed(0)
X = torch.nn.functional.one_hot(torch.randint(0, 4, (3, 400)), 4).transpose(1, 2).float()
values = {"X": X.numpy()}
for name, model in {
    "plain": BPNet(8, 3, n_control_tracks=0, verbose=False),
    "chrombpnet": ChromBPNet(BPNet(4, 2, 1, 0, verbose=False), BPNet(8, 4, 1, 0, verbose=False)),
}.items():
    save_file(model.state_dict(), f"{sys.argv[1]}/{name}.safetensors", metadata={"format": "pt"})
    with torch.no_grad():
        profile, counts = model.eval()(X)
    values |= {f"{name}.profile": profile.numpy(), f"{name}.counts": counts.numpy()}
numpy.savez(f"{sys.argv[1]}/values.npz", **values)
"""


@pytest.fixture(scope="module")
def tensors(tmp_path_factory):
    """State dicts of bpnet-lite, written by safetensors."""
    folder = tmp_path_factory.mktemp("safetensors")
    return folder, run_oracle(_SAFETENSORS, folder, "bpnetlite")


@pytest.mark.parametrize("name", ["plain", "chrombpnet"])
def test_a_state_dict_of_safetensors_predicts_as_in_bpnet_lite(tensors, tmp_path, name):
    folder, values = tensors
    file = str(folder / f"{name}.safetensors")
    loaded = load_model(name, {"weights": file, "input_length": LENGTH})
    assert loaded.loader == recognise(file) == "bpnet_lite"
    profile, counts = run(loaded.module, values["X"])
    np.testing.assert_allclose(profile, values[f"{name}.profile"], atol=1e-6)
    np.testing.assert_allclose(counts, values[f"{name}.counts"], atol=1e-6)
    assert checked({"weights": file, "input_length": LENGTH}, tmp_path)["attribution"]["unsupported_operations"] == []


def test_damaged_safetensors_are_one_line(tensors, tmp_path):
    content = (tensors[0] / "plain.safetensors").read_bytes()
    header = int.from_bytes(content[:8], "little")
    longer = json.loads(content[8 : 8 + header])
    longer["iconv.weight"]["data_offsets"][1] += 4  # of another length than its shape says
    text = json.dumps(longer).encode()
    damaged = {
        "cut": content[:-10], "more": content + b"0000", "offsets": len(text).to_bytes(8, "little") + text
        + content[8 + header :], "header": content[:60], "length": (1 << 62).to_bytes(8, "little") + content[8:],
        "nested": (8 + 10**6).to_bytes(8, "little") + b'{"a":' + b"[" * 10**6 + b"   ",
    }  # fmt: skip
    for name, bad in damaged.items():
        (tmp_path / f"{name}.safetensors").write_bytes(bad)
        for loader in ({}, {"loader": "bpnet_lite"}):
            with pytest.raises(MarginomeError, match=f"{name}.safetensors: .*(damaged|not recognised)") as refused:
                load_model("x", {"weights": str(tmp_path / f"{name}.safetensors"), "input_length": LENGTH} | loader)
            assert "\n" not in str(refused.value)


# -------------------------------------------------------------------------------- checkpoints of Lightning
_MODULE = """
import torch

class Net(torch.nn.Module):
    def __init__(self, width=5):
        super().__init__()
        self.conv = torch.nn.Conv1d(4, 3, width)
        self.norm = torch.nn.BatchNorm1d(3)

    def forward(self, X):
        return torch.relu(self.norm(self.conv(X))).mean(-1)

load = Net
"""
_LIGHTNING = f"""
import sys, numpy, warnings, logging
warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel("ERROR")
import lightning
{_MODULE}
torch.set_num_threads(1)
lightning.seed_everything(0, verbose=False)

class Training(lightning.LightningModule):
    def __init__(self, width=5):
        super().__init__()
        self.save_hyperparameters()
        self.model = Net(width)
        self.scale = torch.nn.Parameter(torch.ones(1))  # of the loss

    def training_step(self, batch, index):
        return (self.scale * self.model(batch[0]) - 1).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.1)

training = Training()
X = torch.nn.functional.one_hot(torch.randint(0, 4, (32, 50)), 4).transpose(1, 2).float()
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X), batch_size=8)
trainer = lightning.Trainer(max_epochs=3, logger=False, enable_progress_bar=False, enable_model_summary=False,
                            accelerator="cpu", default_root_dir=sys.argv[1])
trainer.fit(training, data)
trainer.save_checkpoint(f"{{sys.argv[1]}}/net.ckpt")
assert float(training.model.norm.running_var.std()) > 0
with torch.no_grad():
    numpy.savez(f"{{sys.argv[1]}}/values.npz", X=X[:4].numpy(), y=training.eval().model(X[:4]).numpy())
"""


# Importing Lightning takes half a minute.
@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint that Lightning wrote while it trained a module."""
    folder = tmp_path_factory.mktemp("lightning")
    return folder / "net.ckpt", run_oracle(_LIGHTNING, folder, "lightning")


_WHOLE = """
class Whole(torch.nn.Module):
    def __init__(self, scale=True):
        super().__init__()
        self.model = Net()
        if scale:
            self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, X):
        return self.model(X)
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("made", "refused"),
    [
        ("Net()", None),  # the part of the trainer's module that predicts
        ("Whole()", None),  # all of it
        ("Whole(scale=False)", r"1 unknown \(scale\)"),  # of names without a prefix nothing is left out
        ("torch.nn.Sequential(Net())", r"do not fit the architecture: 6 missing \(0\.conv\.bias, "),
    ],
)
def test_a_checkpoint_of_lightning_fills_a_module_of_ones_own(checkpoint, tmp_path, made, refused):
    file, values = checkpoint
    loader = code(tmp_path, f"{_MODULE}{_WHOLE}\ndef load():\n    return {made}\n")
    settings = {
        "loader": loader,
        "weights": str(file),
        "input_length": 50,
        "outputs": {"y": {"names": ["a", "b", "c"]}},
    }
    if refused:
        with pytest.raises(MarginomeError, match=refused):
            load_model("net", settings)
    else:
        np.testing.assert_allclose(run(load_model("net", settings).module, values["X"]), values["y"], atol=1e-6)
        assert checked(settings, tmp_path)["attribution"]["unsupported_operations"] == []


@pytest.mark.long
def test_weights_that_are_there_twice_are_not_guessed(checkpoint, tmp_path):
    state = torch.load(checkpoint[0], weights_only=True)["state_dict"]
    state |= {name.replace("model.", "ema."): value + 1 for name, value in state.items() if name.startswith("model.")}
    torch.save({"state_dict": state}, tmp_path / "both.ckpt")
    settings = {"loader": code(tmp_path, _MODULE), "weights": str(tmp_path / "both.ckpt"), "input_length": 50}
    with pytest.raises(MarginomeError, match=r"weights several times, under model\., ema\."):
        load_model("net", settings)


@pytest.mark.long
@pytest.mark.workflow
def test_the_example_of_checkpoints_runs(tensors, checkpoint, tmp_path):
    """The screen's means before any insert are those of the packages that wrote the files."""
    made = Workspace(tmp_path, yaml.safe_load((ROOT / "config/examples/checkpoints.yaml").read_text()))
    (tmp_path / "models").mkdir()
    (tmp_path / "models/net.py").write_text(_MODULE)
    shutil.copy(tensors[0] / "plain.safetensors", tmp_path / "models/bpnet.safetensors")
    shutil.copy(checkpoint[0], tmp_path / "models/net.ckpt")
    for model in made.config["models"].values():
        model["input_length"] = LENGTH
    made.config["motifs"]["jaspar"]["include"] = ["MA0139.2", "MA0138.3"]
    made.config["backgrounds"]["uniform"] |= {"n": 6, "length": LENGTH}
    made.config["block"] = 16
    made.config["screens"]["both"] |= {"controls": False, "shards": 1}
    made.run("results/screens/both/effects.parquet")
    effects = pd.read_parquet(made.path("results/screens/both/effects.parquet"))
    targets = effects.groupby("model")["output"].unique()
    assert set(targets["bpnet"]) == {"profile", "counts"} and set(targets["mine"]) == {"K562", "HepG2", "WTC11"}
    assert effects.groupby(["model", "output"])["effect"].std().gt(0).all()
    _, X = read_backgrounds(made.path("results/backgrounds/uniform.fa.gz"))
    found = effects[effects["model"] == "mine"].groupby("output")["before_mean"].first()[["K562", "HepG2", "WTC11"]]
    net = {}
    exec(_MODULE, net)  # the class above, filled by hand
    module = net["Net"]().eval()
    state = torch.load(checkpoint[0], weights_only=True)["state_dict"]
    module.load_state_dict({name.removeprefix("model."): t for name, t in state.items() if name.startswith("model.")})
    np.testing.assert_allclose(found, run(module, X.float()).double().mean(0), rtol=1e-5)


# ------------------------------------------------------------------- kinds of files that are not read
# What onnx 1.2x's own helper writes of one Relu; of a SavedModel its version and an empty graph.
ONNX = bytes.fromhex(
    "080e3a430a0c0a0178120179220452656c751201675a170a017812120a100801120c0a0208010a0208040a02080a62170a017912120a10"
    "0801120c0a0208010a0208040a02080a4202101c"
)
SAVED_MODEL = b"\x08\x01\x12\x04\x0a\x02\x12\x00"


def folder_of_transformers(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "enformer", "dim": 1536}))
    (folder / "model.safetensors").write_bytes(b"0")
    return folder


def saved_model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(SAVED_MODEL)
    return folder


def onnx(file: Path) -> Path:
    file.write_bytes(ONNX)
    return file


UNREAD = {
    "onnx": (lambda p: onnx(p / "net.onnx"), "an ONNX program, which is not read.*state_dict.*onnx2torch"),
    "onnx by another name": (lambda p: onnx(p / "net.bin"), "an ONNX program"),
    "saved model": (lambda p: saved_model(p / "m"), r"a SavedModel of TensorFlow.*load_model\(folder, compile=False\)"),
    "its file": (lambda p: saved_model(p / "m") / "saved_model.pb", "a SavedModel of TensorFlow"),
    "transformers": (
        lambda p: folder_of_transformers(p / "enformer"),
        r"folder of config\.json and model\.safetensors \(model_type: enformer\).*weights: .*r/model\.safetensors",
    ),
}


@pytest.mark.parametrize("name", UNREAD)
def test_kinds_that_are_not_read_say_how_to_convert(tmp_path, name):
    """In a notebook, and when a run is planned."""
    make, message = UNREAD[name]
    entry = {"weights": str(make(tmp_path)), "input_length": 2114, "outputs": {"y": {}}}
    with pytest.raises(MarginomeError, match=message) as refused:
        load_model("net", entry)
    assert "\n" not in str(refused.value)
    config = small_config()
    config["models"] = {"bpnet_ctcf": entry}
    with pytest.raises(MarginomeError, match=message):
        resolve_config(config)


# ------------------------------------------------------------------------------------------- Cherimoya
_CHERIMOYA = """
import sys, numpy, torch
torch.set_num_threads(1)
from cherimoya import Cherimoya
torch.manual_seed(0)
X = torch.nn.functional.one_hot(torch.randint(0, 4, (3, 400)), 4).transpose(1, 2).float()
values = {"X": X.numpy()}
for name, settings in {
    "accessibility": {"n_filters": 16, "n_layers": 4},  # as CATv1: one track, no control
    "stranded": {"n_filters": 8, "n_layers": 3, "signal_groups": [2], "n_control_tracks": 2, "residual_scale": 0.3},
    "groups": {"n_filters": 8, "n_layers": 3, "signal_groups": [2, 1, 2], "expansion": 3, "trimming": 60},
    "one_control": {"n_filters": 8, "n_layers": 2, "n_control_tracks": 1},
}.items():
    model = Cherimoya(**settings, compile=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.eval().save(f"{sys.argv[1]}/{name}.torch")
    controls = torch.poisson(torch.full((3, max(settings.get("n_control_tracks", 0), 1), 400), 0.3))
    with torch.no_grad():
        profile, counts = model(X, controls) if model.n_control_tracks else model(X)
    values |= {f"{name}.profile": profile.numpy(), f"{name}.counts": counts.numpy()}
    values[f"{name}.controls"] = controls.numpy()
numpy.savez(f"{sys.argv[1]}/values.npz", **values)
"""


@pytest.fixture(scope="module")
def cherimoya(tmp_path_factory):
    """Checkpoints that Cherimoya 0.3.1 wrote, and its predictions."""
    folder = tmp_path_factory.mktemp("cherimoya")
    return folder, run_oracle(_CHERIMOYA, folder, "cherimoya")


@pytest.mark.parametrize("name", ["accessibility", "stranded", "groups", "one_control"])
def test_checkpoints_of_cherimoya_predict_as_in_cherimoya(cherimoya, name):
    folder, values = cherimoya
    file = str(folder / f"{name}.torch")
    loaded = load_model(name, {"weights": file, "input_length": LENGTH})
    assert loaded.loader == recognise(file) == "cherimoya"
    controls = [values[f"{name}.controls"]] if loaded.args else []
    assert len(controls) == (name in ("stranded", "one_control"))
    profile, counts = run(loaded.module, values["X"], *controls)
    for found, wanted in ((profile, values[f"{name}.profile"]), (counts, values[f"{name}.counts"])):
        assert wanted.std(axis=0).mean() > 0.01
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-5 * np.abs(wanted).max())
    read = run(loaded.readouts(), values["X"], *controls)
    if name == "groups":  # a softmax is over the channels of one group
        assert torch.equal(torch.cat([read["profile_1"], read["profile_2"], read["profile_3"]], dim=1), profile)
        assert loaded.outputs[0].names == ("counts_1", "counts_2", "counts_3")
    else:
        assert torch.equal(read["profile"], profile) and torch.equal(read["counts"], counts)
    assert all(o.softmax == "both" for o in loaded.outputs if o.kind == "profile")


@pytest.mark.parametrize("name", ["accessibility", "stranded", "groups"])
def test_strands_of_cherimoya_are_averaged(cherimoya, name):
    """Two passes by hand: positions turned round, the channels of every group too, counts as they are."""
    settings = {"weights": str(cherimoya[0] / f"{name}.torch"), "input_length": LENGTH}
    one, both = load_model("one", settings), load_model("both", settings | {"average_strands": True})
    X = torch.from_numpy(cherimoya[1]["X"])
    controls = [torch.from_numpy(cherimoya[1]["stranded.controls"])] if name == "stranded" else []
    a, b = run(one.module, X, *controls), run(one.module, X.flip((1, 2)), *(c.flip((1, 2)) for c in controls))
    channels = {"accessibility": [0], "stranded": [1, 0], "groups": [1, 0, 2, 4, 3]}[name]
    profile, counts = run(both.module, X, *controls)
    torch.testing.assert_close(profile, (a[0] + b[0].flip(2)[:, channels]) / 2)
    torch.testing.assert_close(counts, (a[1] + b[1]) / 2)


@pytest.mark.parametrize("name", ["accessibility", "stranded", "groups", "one_control"])
def test_a_checkpoint_of_cherimoya_passes_the_check_of_a_model(cherimoya, tmp_path, name):
    """DeepLIFT has a rule for each of its operations."""
    found = checked({"weights": str(cherimoya[0] / f"{name}.torch"), "input_length": LENGTH}, tmp_path)
    assert found["attribution"]["unsupported_operations"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["config"].pop("residual_scale"), "its config has no residual_scale; read are the checkpoints"),
        (lambda c: c["config"].update(gated=True), "its config has the unknown key gated"),
        (lambda c: c["config"].update(n_filters=1 << 19), "its weights do not fit its config: 524288 filters"),
        (lambda c: c["config"].update(n_layers=1 << 19), "its weights do not fit its config"),
        (lambda c: c["config"].update(expansion=1 << 19), "its weights do not fit its config"),
        (lambda c: c["config"].update(signal_groups=[]), r"its config has signal_groups: \[\]"),
        (lambda c: c["config"].update(signal_groups=[1 << 19]), "its weights do not fit its config"),
        (lambda c: c["config"].update(trimming=-1), "its config has trimming: -1"),
        (lambda c: c["config"].update(trimming=300), "the model returns nothing for 400 bp"),
        (lambda c: c["state_dict"].pop("blocks.1.conv_weight"), r"1 missing \(blocks\.1\.conv\.weight\)"),
        (lambda c: c["state_dict"].pop("fconv.weight"), "its weights do not fit its config"),
        (lambda c: c.pop("config"), r"a state dict of 20 tensors .*; no loader knows"),
    ],
)
def test_damaged_checkpoints_of_cherimoya_are_one_line(cherimoya, tmp_path, change, message):
    checkpoint = torch.load(cherimoya[0] / "accessibility.torch", weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "bad.torch")
    with pytest.raises(MarginomeError, match=message) as refused:
        load_model("m", {"weights": str(tmp_path / "bad.torch"), "input_length": LENGTH})
    assert "\n" not in str(refused.value) and "bad.torch" in str(refused.value)


# ------------------------------------------------------------------------------------- archives of folds
KERAS = ROOT / "tests" / "data" / "keras2"
ACCESSION = "ENCSR868FGK"


def of_folds(folder: Path, inner: str = "", parts=("chrombpnet_nobias", "chrombpnet", "bias_scaled")) -> Path:
    """Folders of folds as ENCODE has them, made of files that Keras 2 wrote; fold 1 has other weights."""
    sources = {"chrombpnet_nobias": "chrombpnet_nobias", "chrombpnet": "chrombpnet", "bias_scaled": "chrombpnet_bias"}
    for fold in (10, 0, 1):
        place = folder / f"fold_{fold}"
        place.mkdir(parents=True)
        for part in parts:
            file = place / f"model.{part}.fold_{fold}.{ACCESSION}.h5"
            shutil.copy(KERAS / f"{sources[part]}.h5", file)
            if fold == 1:
                with h5py.File(file, "r+") as handle:
                    handle["model_weights"].visititems(_doubled)
        (place / f"logs.models.fold_{fold}.{ACCESSION}.txt").write_text("trained\n")
        if inner:
            packing = ["--gzip"] if inner.endswith("gz") else []
            subprocess.run(["tar", *packing, "-cf", f"{place}.{inner}", "-C", folder, place.name], check=True)
            shutil.rmtree(place)
    return folder


def _doubled(name: str, item) -> None:
    if isinstance(item, h5py.Dataset):
        item[...] = 2 * item[...]


def packed(folder: Path, name: str, *options: str) -> str:
    """All of a folder in an archive beside it, by the system's tar."""
    target = folder.parent / name
    subprocess.run(["tar", *options, "-cf", str(target), "-C", str(folder), "."], check=True)
    return str(target)


def keras_inputs(name: str) -> torch.Tensor:
    return torch.from_numpy(np.eye(4, dtype=np.float32)[np.load(KERAS / f"{name}.npz")["bases"]]).transpose(1, 2)


@pytest.mark.parametrize(
    ("name", "inner", "component", "part", "source"),
    [
        ("ENCFF1.tar.gz", "", "accessibility", "chrombpnet_nobias", "chrombpnet_nobias"),
        ("ENCFF1.gz", "tar", "combined", "chrombpnet", "chrombpnet"),
        ("ENCFF1.tar", "gz", "bias", "bias_scaled", "chrombpnet_bias"),
    ],
)
def test_an_archive_of_folds_is_an_ensemble(tmp_path, caplog, name, inner, component, part, source):
    """As ENCODE publishes them: tars within tars, and `.gz` files that are tars."""
    folder = of_folds(tmp_path / "folds", inner)
    archive = packed(folder, name, *(["-z"] if name.endswith("gz") else []))
    shutil.rmtree(folder)
    with caplog.at_level("INFO", logger="marginome"):
        loaded = load_model("atac", {"weights": archive, "component": component})
    assert (loaded.members, loaded.files, len(loaded.sha256)) == (3, (archive,), 1)
    told = re.findall(rf"fold_(\d+)/model\.{part}\.fold", caplog.records[-1].getMessage())
    assert told == ["0", "1", "10"]  # in the order of numbers
    plain = of_folds(tmp_path / "plain", parts=[part])
    files = [str(plain / f"fold_{i}/model.{part}.fold_{i}.{ACCESSION}.h5") for i in told]
    same = load_model("atac", {"weights": files, "component": component}).module.state_dict()
    assert all(torch.equal(value, same[key]) for key, value in loaded.module.state_dict().items())
    values = np.load(KERAS / f"{source}.npz")  # what Keras 2 itself predicted
    found = run(loaded.member(0).module, keras_inputs(source))
    for i, y in enumerate(found):
        np.testing.assert_allclose(y, values[f"output{i}"], rtol=1e-5, atol=1e-5)
    folds = zip(*(run(loaded.member(i).module, keras_inputs(source)) for i in range(3)), strict=True)
    for mean, members in zip(run(loaded.module, keras_inputs(source)), folds, strict=True):
        torch.testing.assert_close(mean, sum(members) / 3)
        assert not torch.equal(members[0], members[1])
    found = checked({"weights": archive, "component": component}, tmp_path)
    assert found["members"] == 3 and found["member_sd"]["counts"] > 0


def test_an_archive_that_holds_several_models_of_a_fold_asks_which(tmp_path):
    archive = packed(of_folds(tmp_path / "folds"), "a.tar")
    with pytest.raises(MarginomeError, match=r"several models of a fold \(.*component: accessibility"):
        load_model("atac", {"weights": archive})
    alone = packed(of_folds(tmp_path / "alone", parts=["chrombpnet_nobias"]), "b.tar")
    assert load_model("atac", {"weights": alone}).members == 3
    combined = packed(of_folds(tmp_path / "both", parts=["chrombpnet"]), "c.tar")  # the part is picked of the file
    assert load_model("atac", {"weights": combined, "component": "accessibility"}).members == 3


def test_a_model_packed_by_gzip_is_read(tmp_path):
    with gzip.open(tmp_path / "model.h5.gz", "wb") as out:
        out.write((KERAS / "chrombpnet_nobias.h5").read_bytes())
    loaded = load_model("atac", {"weights": str(tmp_path / "model.h5.gz")})
    assert loaded.loader == "keras" and loaded.members == 1


def hostile(folder: Path, name: str, change) -> str:
    """An archive of one good fold with members that `change` adds."""
    path = str(folder / name)
    with tarfile.open(path, "w") as archive:
        archive.add(KERAS / "chrombpnet_nobias.h5", "fold_0/model.chrombpnet_nobias.fold_0.h5")
        change(archive)
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **attributes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
    "path", ["../../escaped_nobias_fold_1.h5", "/{folder}/escaped_nobias_fold_1.h5", "a/../../escaped_nobias_fold_1.h5"]
)
def test_nothing_of_an_archive_is_written_outside_a_folder_of_its_own(tmp_path, monkeypatch, path):
    """Paths that lead out, links and devices: what is read is a regular file's bytes, under names of ours."""
    place = tmp_path / "deep" / "er"
    place.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    content = (KERAS / "chrombpnet_nobias.h5").read_bytes()
    secret = tmp_path / "secret.h5"
    secret.write_bytes(content)

    def change(archive):
        add(archive, path.format(folder=tmp_path), content)
        add(archive, "fold_2/model.h5", type=tarfile.SYMTYPE, linkname=str(secret))
        add(archive, "fold_3/model.h5", type=tarfile.LNKTYPE, linkname=str(secret))
        add(archive, "fold_4/model.h5", type=tarfile.CHRTYPE, devmajor=1, devminor=5)
        add(archive, "fold_5/model.h5", type=tarfile.FIFOTYPE)

    before = {*tmp_path.rglob("*")}
    archive = hostile(tmp_path, "bad.tar", change)
    loaded = load_model("atac", {"weights": archive, "component": "accessibility"})
    assert loaded.members == 2  # the two regular files
    assert {*tmp_path.rglob("*")} - before == {tmp_path / "bad.tar"} and not [*place.iterdir()]


def _bomb(levels: int) -> bytes:
    content = bytes(1 << 20)
    for _ in range(levels):
        content = gzip.compress(content * 64)
    return content


def test_what_unpacks_without_end_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "ARCHIVE", archives.ARCHIVE._replace(most=50 << 20))
    (tmp_path / "bomb.tar.gz").write_bytes(_bomb(1))  # 64 MB of zeros
    inner = hostile(tmp_path, "inner.tar", lambda a: [add(a, f"fold_{i}.gz", _bomb(1)) for i in (1, 2)])
    large = hostile(
        tmp_path, "large.tar.gz", lambda a: [add(a, f"fold_{i}.gz", gzip.compress(bytes(30 << 20))) for i in "12"]
    )
    for file in (str(tmp_path / "bomb.tar.gz"), inner, large):
        with pytest.raises(MarginomeError, match=r"more than (50 MB|0 GB)") as refused:
            load_model("atac", {"weights": file})
        assert "\n" not in str(refused.value) and file in str(refused.value)


def test_damaged_archives_are_one_line(tmp_path):
    """Cut, bits flipped, lengths that no file has: read as the whole one or refused, and never for long."""
    folder = of_folds(tmp_path / "folds", "tar", parts=["chrombpnet_nobias"])
    whole = {name: Path(packed(folder, name, *options)).read_bytes() for name, options in
             {"a.tar": [], "a.tar.gz": ["--gzip"]}.items()}  # fmt: skip
    rng = random.Random(0)
    outcomes = collections.Counter()
    for i in range(60):
        name = rng.choice(list(whole))
        data = bytearray(whole[name])
        for _ in range(rng.choice((1, 1, 3))):
            data[rng.randrange(1024 if rng.random() < 0.3 else len(data))] = rng.randrange(256)
        if i % 4 == 0:
            del data[rng.randrange(len(data)) :]
        (tmp_path / name).write_bytes(data)
        try:
            with archives.unpacked([str(tmp_path / name)], {}, "m") as found:
                outcomes[len(found)] += 1
        except MarginomeError as error:
            assert "\n" not in str(error) and name in str(error)
            outcomes["refused"] += 1
    assert outcomes["refused"] > 20 and outcomes[3] > 10 and set(outcomes) == {3, "refused"}  # never some of the folds
    header = bytearray(whole["a.tar"])
    header[124:136] = b"7" * 11 + b"\0"  # 8 GB
    (tmp_path / "a.tar").write_bytes(header)
    with pytest.raises(MarginomeError, match=r"a\.tar: the archive is damaged|holds no model"):
        load_model("atac", {"weights": str(tmp_path / "a.tar")})


def test_archives_without_a_model_say_so(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "readme.txt").write_text("no model")
    with pytest.raises(MarginomeError, match="the archive holds no model"):
        load_model("m", {"weights": packed(tmp_path / "x", "x.tar")})
    saved_model(tmp_path / "y")
    with pytest.raises(MarginomeError, match="a SavedModel of TensorFlow"):
        load_model("m", {"weights": packed(tmp_path / "y", "y.tar.gz", "-z")})
    with pytest.raises(MarginomeError, match=r"z\.tar/model\.h5"):  # a fault of a file is told by its place
        (tmp_path / "z").mkdir()
        (tmp_path / "z" / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
        load_model("m", {"weights": packed(tmp_path / "z", "z.tar")})


# -------------------------------------------------------------------- examples of models of other packages
# The last file of several is looked at in every way. How fast blocks are, the check tries for a minute: not here.
_LOADED = """
import sys, numpy as np, torch
from marginome import marginalize_many
from marginome.model_check import budget, check_model
from marginome.models import load_model
torch.set_num_threads(1)
name, folder, code, *files = sys.argv[1:]
values, function = np.load(f"{folder}/values.npz"), {"flashzoi": "borzoi"}.get(name, name)
settings = {"loader": f"{code}:{function}", "input_length": values[f"{name}.X"].shape[2]}
outputs = {
    "openspliceai": {"index": "1, 150", "transform": "logit"},
    "enformer": {"head": "human", "index": "3:5, 2", "reduce": "mean"},
    "borzoi": {"index": "7, 6:10", "reduce": "mean"},
    "flashzoi": {"index": "7, 6:10", "reduce": "mean"},
}
if name in ("enformer", "borzoi", "flashzoi"):
    settings["architecture"] = f"{folder}/{name}/config.json"
X, wanted = torch.from_numpy(values[f"{name}.X"]), values[f"{name}.y"]
assert np.abs(wanted[0] - wanted[1]).max() > 1e-4 * np.abs(wanted).max(), "the same for every sequence"
for file in files:
    loaded = load_model(name, settings | {"weights": f"{folder}/{file}", "outputs": {"y": outputs[name]}})
    with torch.no_grad():
        y = loaded.module(X)
    y = (y["human"] if name == "enformer" else y).numpy()
    assert np.abs(y - wanted).max() <= 2e-6 * np.abs(wanted).max(), np.abs(y - wanted).max()
assert "flash_attn" not in sys.modules
budget.BUDGET["engine"] = 1.0
found = check_model(loaded)
assert not found["problems"], found["problems"]
run = lambda engine: marginalize_many(loaded.readouts(), X, ["TGACGTCA"], device="cpu", engine=engine)[1]["y"]
auto, full = run("auto"), run("full")
assert (auto - full).abs().max() <= 1e-5 * full.abs().max()
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("openspliceai", ["openspliceai.pt"]),
        ("enformer", ["enformer/pytorch_model.bin", "enformer/model.safetensors"]),
        ("borzoi", ["borzoi/model.safetensors"]),
        ("flashzoi", ["flashzoi/model.safetensors"]),
    ],
)
def test_examples_of_other_packages_predict_as_they_do(packages, name, files):
    """One release of transformers serves enformer-pytorch and borzoi-pytorch; neither is in our environment."""
    code = str(ROOT / "config" / "examples" / "packages.py")
    path = os.pathsep.join([str(ROOT / "workflow" / "lib"), str(ORACLE)])
    done = subprocess.run([sys.executable, "-c", _LOADED, name, str(packages), code, *files], capture_output=True,
                          text=True, env=os.environ | {"PYTHONPATH": path})  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_package_that_is_not_there_is_named_with_its_command(tmp_path):
    text = "def load(architecture):\n    import enformer_pytorch_of_nobody.modeling\n"
    (tmp_path / "config.json").write_text("{}")
    settings = {"loader": code(tmp_path, text), "input_length": 10, "architecture": str(tmp_path / "config.json")}
    message = r"needs the package enformer_pytorch_of_nobody, which.* pip install enformer-pytorch-of-nobody"
    with pytest.raises(MarginomeError, match=message):
        load_model("m", settings)
    code(tmp_path, text.replace("enformer_pytorch_of_nobody.modeling", "flash_attn.modules.mha"))
    with pytest.raises(MarginomeError, match=r"pip install flash-attn, which needs a CUDA GPU, and nvcc .*:borzoi"):
        load_model("m", settings)
    settings["loader"] = code(tmp_path, "def load():\n    return None\n")
    with pytest.raises(MarginomeError, match=r"architecture is given, but .* has no parameter of this name"):
        load_model("m", settings)
