"""load_model: BPNets of bpnet-lite against bpnet-lite itself, the MPRA model and its known responses, own code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from marginome import MarginomeError, predict, random_one_hot, substitute
from marginome.models import load_model
from workspace import cannot_run

ROOT = Path(__file__).parents[2]
ORACLE = ROOT / ".venv-oracle"
STATE = "models/bpnet_ctcf_k562_2114.state_dict.pt"
WHOLE = "models/bpnet_ctcf_k562_2114.original.torch"
MPRA_TASKS = [
    f"{cell}_{promoter}_{replicate}"
    for cell in ("K562", "HepG2")
    for promoter in ("minP", "SV40P")
    for replicate in ("rep1", "rep2", "pooled")
]

# Runs with bpnet-lite on the path: its own modules with random weights, saved in both ways, and what they predict.
_BPNET_LITE = """
import sys, numpy, torch
torch.set_num_threads(1)
from bpnetlite.bpnet import BPNet, BasePairNet, ControlWrapper
from bpnetlite.chrombpnet import ChromBPNet
folder, shipped = sys.argv[1:]
torch.manual_seed(0)
made = {
    "plain": BPNet(8, 3, n_control_tracks=0, verbose=False),
    "controls": BPNet(8, 3, n_control_tracks=2, verbose=False),
    "one_control": BPNet(6, 2, n_outputs=1, n_control_tracks=1, trimming=20, verbose=False),
    "no_biases": BPNet(6, 2, n_control_tracks=0, profile_output_bias=False, count_output_bias=False, verbose=False),
    "basepair": BasePairNet(8, 3, n_control_tracks=2, trimming=60, verbose=False),
    "chrombpnet": ChromBPNet(BPNet(4, 2, 1, 0, verbose=False), BPNet(8, 4, 1, 0, verbose=False)),
    "wrapped": ControlWrapper(BPNet(8, 3, n_control_tracks=2, verbose=False)),
}
length = 400
bases = torch.randint(0, 4, (3, length))
X = torch.nn.functional.one_hot(bases, 4).transpose(1, 2).float()
values = {"bases": bases.numpy()}
for name, model in made.items():
    model.eval()
    torch.save(model, f"{folder}/{name}.torch")
    torch.save(model.state_dict(), f"{folder}/{name}.state.pt")
    tracks = {"controls": 2, "basepair": 2, "one_control": 1}.get(name, 0)
    controls = torch.poisson(torch.full((3, tracks, length), 0.3))
    with torch.no_grad():
        profile, counts = model(X, controls) if tracks else model(X)
    values |= {f"{name}.profile": profile.numpy(), f"{name}.counts": counts.numpy()}
    values[f"{name}.controls"] = controls.numpy()
real = BPNet(64, 8, n_control_tracks=0, trimming=557, verbose=False)
real.load_state_dict(torch.load(shipped, weights_only=True))
bases = torch.randint(0, 4, (2, 2114))
with torch.no_grad():
    profile, counts = real.eval()(torch.nn.functional.one_hot(bases, 4).transpose(1, 2).float())
values |= {"real.bases": bases.numpy(), "real.profile": profile.numpy(), "real.counts": counts.numpy()}
numpy.savez(f"{folder}/values.npz", **values)
"""


@pytest.fixture(scope="module")
def bpnet_lite(tmp_path_factory):
    """Files that bpnet-lite 1.1.0 wrote, and its predictions; it runs in a process of its own."""
    if not (ORACLE / "bpnetlite").is_dir():
        cannot_run("bpnet-lite is not in .venv-oracle (make oracle)")
    folder = tmp_path_factory.mktemp("bpnet_lite")
    shipped = str(ROOT / "resources" / STATE)
    environment = os.environ | {"PYTHONPATH": str(ORACLE)}
    subprocess.run([sys.executable, "-c", _BPNET_LITE, str(folder), shipped], check=True, env=environment)
    return folder, np.load(folder / "values.npz")


def one_hot(bases: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.eye(4, dtype=np.float32)[bases]).transpose(1, 2)


def run(module: torch.nn.Module, *inputs: torch.Tensor):
    with torch.no_grad():
        return module(*inputs)


# --------------------------------------------------------------------------------------------- bpnet-lite
def test_shipped_bpnet_predicts_as_in_bpnet_lite(bpnet_lite, resources):
    _, values = bpnet_lite
    loaded = load_model("ctcf", {"weights": str(resources / STATE), "input_length": 2114})
    profile, counts = run(loaded.module, one_hot(values["real.bases"]))
    np.testing.assert_allclose(
        profile, values["real.profile"], rtol=0, atol=1e-5 * np.abs(values["real.profile"]).max()
    )
    np.testing.assert_allclose(counts, values["real.counts"], rtol=1e-5)


@pytest.mark.parametrize("name", ["plain", "controls", "one_control", "no_biases", "basepair", "chrombpnet", "wrapped"])
@pytest.mark.parametrize("saved", ["torch", "state.pt"])
def test_bpnet_lite_models_predict_as_in_bpnet_lite(bpnet_lite, name, saved):
    folder, values = bpnet_lite
    settings = {"weights": str(folder / f"{name}.{saved}"), "input_length": 400}
    if saved == "state.pt":  # a state dict does not tell these
        settings["parameters"] = {
            "basepair": {"architecture": "BasePairNet", "trimming": 60},
            "one_control": {"trimming": 20},
        }.get(name, {})
    loaded = load_model(name, settings)
    assert loaded.loader == "bpnet_lite"
    args = [torch.from_numpy(values[f"{name}.controls"])] if values[f"{name}.controls"].size else []
    if name == "wrapped":  # gives zeros to a model with control tracks, and so do the default arguments
        args = list(loaded.arguments(["a", "b", "c"]))
        assert args[0].shape == (3, 2, 400)
    profile, counts = run(loaded.module, one_hot(values["bases"]), *args)
    np.testing.assert_allclose(profile, values[f"{name}.profile"], atol=1e-6)
    np.testing.assert_allclose(counts, values[f"{name}.counts"], atol=1e-6)
    readouts = run(loaded.readouts(), one_hot(values["bases"]), *args)
    assert torch.equal(readouts["counts"], counts) and torch.equal(readouts["profile"], profile)


def test_parts_of_a_chrombpnet_of_bpnet_lite(bpnet_lite):
    folder, values = bpnet_lite
    X = one_hot(values["bases"])
    parts = {}
    for component in ("accessibility", "bias"):
        settings = {"weights": str(folder / "chrombpnet.torch"), "input_length": 400, "component": component}
        parts[component] = run(load_model(component, settings).module, X)
    (profile, counts), (bias_profile, bias_counts) = parts["accessibility"], parts["bias"]
    crop = (bias_profile.shape[2] - profile.shape[2]) // 2
    joined = profile + bias_profile[:, :, crop : crop + profile.shape[2]]
    np.testing.assert_allclose(joined, values["chrombpnet.profile"], atol=1e-6)
    np.testing.assert_allclose(torch.logaddexp(counts, bias_counts), values["chrombpnet.counts"], atol=1e-6)


def test_accessibility_and_bias_files_are_joined(bpnet_lite, tmp_path):
    folder, values = bpnet_lite
    state = torch.load(folder / "chrombpnet.state.pt", weights_only=True)
    for part in ("accessibility", "bias"):
        torch.save(
            {k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(part)}, tmp_path / f"{part}.pt"
        )
    settings = {
        "weights": str(tmp_path / "accessibility.pt"),
        "bias_weights": str(tmp_path / "bias.pt"),
        "input_length": 400,
    }
    loaded = load_model("joined", settings)
    profile, counts = run(loaded.module, one_hot(values["bases"]))
    np.testing.assert_allclose(profile, values["chrombpnet.profile"], atol=1e-6)
    np.testing.assert_allclose(counts, values["chrombpnet.counts"], atol=1e-6)
    assert len(loaded.sha256) == 2


def test_module_saved_whole_on_a_gpu_is_read_without_its_package(resources):
    """The authors' own file: CUDA tensors, classes of a package that is not installed here."""
    assert "bpnetlite" not in sys.modules
    with pytest.raises(ImportError):
        import bpnetlite  # noqa: F401
    whole = load_model("whole", {"weights": str(resources / WHOLE), "input_length": 2114})
    state = load_model("state", {"weights": str(resources / STATE), "input_length": 2114})
    assert whole.loader == state.loader == "bpnet_lite"
    assert all(p.device.type == "cpu" and not p.requires_grad for p in whole.module.parameters())
    assert not whole.module.training
    for a, b in zip(whole.module.state_dict().values(), state.module.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    X = random_one_hot((2, 4, 2114), random_state=0).float()
    for a, b in zip(run(whole.module, X), run(state.module, X)):
        assert torch.equal(a, b)


def test_default_outputs_of_a_bpnet(resources):
    loaded = load_model("ctcf", {"weights": str(resources / STATE), "input_length": 2114})
    counts, profile = loaded.outputs
    assert (counts.name, counts.kind, counts.head, counts.unit, counts.measure) == (
        "counts", "scalar", 1, "log counts", "difference",
    )  # fmt: skip
    assert (profile.name, profile.kind, profile.head, profile.softmax, profile.measure) == (
        "profile", "profile", 0, "both", "jensen_shannon_distance",
    )  # fmt: skip
    assert (counts.shape, profile.shape, loaded.args, loaded.members) == ((1,), (2, 1000), (), 1)
    assert loaded.sha256 == ("649654bc38bb7e90ff8adf961763302be31729f2489a830fe8bd335b127c50a2",)


def test_shipped_bpnet_knows_ctcf_and_not_rest(resources):
    loaded = load_model("ctcf", {"weights": str(resources / STATE), "input_length": 2114})
    X = random_one_hot((12, 4, 2114), random_state=1)

    def effect(motif: str) -> float:
        return float((after(motif) - before).mean())

    def after(motif: str) -> torch.Tensor:
        return predict(loaded.readouts(), substitute(X, motif), device="cpu")["counts"]

    before = predict(loaded.readouts(), X, device="cpu")["counts"]
    assert 1.2 < effect("TGGCCACCAGGGGGCGCTA") < 2.1
    assert abs(effect("TTCAGCACCATGGACAGCGCC")) < 0.2
    assert abs(effect("TGACTCA")) < 0.1


# ---------------------------------------------------------------------------------------- the MPRA model
def mpra(resources, **more) -> dict:
    return {
        "weights": str(resources / "models/mpra_dragonn_conv.hdf5"),
        "architecture": str(resources / "models/mpra_dragonn_conv.model.json"),
        "outputs": {"activity": {"names": MPRA_TASKS, "unit": "log2 RNA/DNA"}},
    } | more


def test_mpra_model_has_its_known_responses(resources):
    """Published in resources: p53 acts in HepG2 more than in K562, which has no p53; REST represses."""
    loaded = load_model("mpra", mpra(resources))
    assert loaded.input_length == 145 and loaded.outputs[0].names == tuple(MPRA_TASKS)
    X = random_one_hot((500, 4, 145), random_state=0)
    before = predict(loaded.module, X, device="cpu")

    def effect(motif: str, task: str) -> float:
        after = predict(loaded.module, substitute(X, motif), device="cpu")
        return float((after - before).mean(dim=0)[MPRA_TASKS.index(task)])

    assert effect("TGCGCATGCGCA", "K562_minP_pooled") == pytest.approx(1.23, abs=0.15)  # NRF1
    assert effect("ACCGGAAGTG", "K562_minP_pooled") == pytest.approx(0.60, abs=0.2)  # ETS
    assert effect("ATGACTCAT", "K562_minP_pooled") == pytest.approx(0.63, abs=0.25)  # AP-1
    p53 = "GGGCATGCCCGGGCATGCCC"
    assert effect(p53, "K562_minP_pooled") == pytest.approx(0.25, abs=0.08)
    assert effect(p53, "HepG2_minP_pooled") == pytest.approx(0.49, abs=0.08)
    assert effect("TTCAGCACCATGGACAGCGCC", "K562_minP_pooled") == pytest.approx(-0.10, abs=0.04)


def test_mpra_model_against_float64_from_the_files_own_arrays(resources):
    """Recomputed with NumPy from the arrays of the file, positions-major, without PyTorch."""
    import h5py

    loaded = load_model("mpra", mpra(resources))
    bases = np.random.default_rng(0).integers(0, 4, size=(5, 145))
    y = np.eye(4)[bases]
    with h5py.File(resources / "models/mpra_dragonn_conv.hdf5") as file:

        def array(layer: str, kind: str) -> np.ndarray:
            return file[f"{layer}/{layer}/{kind}:0"][()].astype(np.float64)

        for i in (1, 2, 3):
            kernel = array(f"conv1d_{i}", "kernel")
            windows = np.lib.stride_tricks.sliding_window_view(
                y, len(kernel), axis=1
            )  # (n, positions, channels, width)
            y = np.maximum(np.einsum("npcw,wcf->npf", windows, kernel) + array(f"conv1d_{i}", "bias"), 0)
            norm = {
                k: array(f"batch_normalization_{i}", k) for k in ("gamma", "beta", "moving_mean", "moving_variance")
            }
            scale = norm["gamma"] / np.sqrt(norm["moving_variance"] + 1e-3)
            y = (y - norm["moving_mean"]) * scale + norm["beta"]
        expected = y.reshape(len(y), -1) @ array("dense_1", "kernel") + array("dense_1", "bias")
    np.testing.assert_allclose(run(loaded.module, one_hot(bases)), expected, rtol=1e-4, atol=1e-5)


def test_one_task_of_the_mpra_model(resources):
    picked = load_model("mpra", mpra(resources, outputs={"k562": {"index": 2}, "mean": {"reduce": "mean"}}))
    every = load_model("mpra", mpra(resources))
    X = random_one_hot((3, 4, 145), random_state=0).float()
    found = run(picked.readouts(), X)
    full = run(every.module, X)
    assert torch.equal(found["k562"], full[:, 2:3]) and picked.outputs[0].names == ("k562",)
    torch.testing.assert_close(found["mean"], full.mean(dim=1, keepdim=True))


# -------------------------------------------------------------------------------------------- own code
def own(tmp_path, text: str) -> str:
    file = tmp_path / "model.py"
    file.write_text("import torch\n" + text)
    return f"{file}:load"


def test_own_function_with_parameters(tmp_path):
    loader = own(tmp_path, "def load(width, scale=1.0):\n    return torch.nn.Conv1d(4, 2, width)\n")
    loaded = load_model(
        "own",
        {"loader": loader, "parameters": {"width": 5}, "input_length": 30, "outputs": {"track": {"kind": "profile"}}},
    )
    assert loaded.outputs[0].shape == (2, 26) and loaded.sha256 == ()


def test_own_class_gets_its_state_dict_strictly(tmp_path):
    text = """
class load(torch.nn.Module):
    def __init__(self, k=3):
        super().__init__()
        self.conv = torch.nn.Conv1d(4, k, 5)

    def forward(self, X):
        return self.conv(X).mean(-1)
"""
    torch.manual_seed(0)
    state = {"conv.weight": torch.randn(3, 4, 5), "conv.bias": torch.randn(3)}
    torch.save(state, tmp_path / "weights.pt")
    settings = {"loader": own(tmp_path, text), "weights": str(tmp_path / "weights.pt"), "input_length": 20,
                "outputs": {"y": {"names": ["a", "b", "c"]}}}  # fmt: skip
    loaded = load_model("own", settings)
    assert torch.equal(loaded.module.conv.weight, state["conv.weight"]) and len(loaded.sha256) == 1
    with pytest.raises(MarginomeError, match=r"of another shape \(conv.bias, conv.weight\)"):
        load_model("own", settings | {"parameters": {"k": 4}})


def test_own_function_that_reads_its_weights(tmp_path):
    loader = own(tmp_path, "def load(weights):\n    return torch.nn.Conv1d(4, int(open(weights).read()), 3)\n")
    (tmp_path / "n.txt").write_text("7")
    loaded = load_model("own", {"loader": loader, "weights": str(tmp_path / "n.txt"), "input_length": 9,
                                "outputs": {"p": {"kind": "profile"}}})  # fmt: skip
    assert loaded.outputs[0].shape == (7, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def load():\n    return 3\n", "returned int; wanted a torch.nn.Module"),
        ("def load():\n    raise KeyError('x')\n", "failed: KeyError"),
        ("def load(needed):\n    return 1\n", "missing 1 required positional argument"),
        ("def lod():\n    return 3\n", "Did you mean 'lod'"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_own_code_that_does_not_work(tmp_path, text, message):
    with pytest.raises(MarginomeError, match=message):
        load_model("own", {"loader": own(tmp_path, text), "input_length": 9})


def test_importing_the_package_imports_no_torch():
    code = "import sys, marginome.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
