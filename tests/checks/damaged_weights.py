"""Damaged and odd weights files, entries and tables: each is read right or is one line that names it.

    python tests/checks/damaged_weights.py --minutes 10 --seed 0

Small files of every kind that PyTorch writes are damaged at random: bits flipped, bytes swapped, cut, zeroed or put in,
members of the archive damaged under a right checksum, values of a state dict replaced by other things, entries of the
config likewise. A file that is read in spite of it must give the numbers of the whole one, where the format has
checksums. Prints the least damage that fails, and exits with 1.
"""

from __future__ import annotations

import contextlib
import io
import random
import sys
import tempfile
import types
import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import nn

import damage
import seeds_in_turn
from marginome.errors import MarginomeError
from marginome.models import load_model
from marginome.models.arguments import Argument
from marginome.models.cherimoya import Cherimoya

LENGTH = 60
SECONDS = 20  # what takes longer never ends


class Net(nn.Module):
    """A small model that TorchScript and torch.export take."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv1d(4, 3, 5), nn.Linear(3, 1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """``(n, 4, length)`` to ``(n, 1)``."""
        return self.linear(torch.relu(self.conv(X)).mean(-1))


class Case(NamedTuple):
    """A whole file, how it is loaded, and whether its format has checksums."""

    file: str
    content: bytes
    settings: dict[str, Any]
    checksums: bool = False


def bpnet_state(filters: int = 4, layers: int = 2) -> dict[str, torch.Tensor]:
    """A state dict of bpnet-lite's BPNet with random weights."""
    draw = torch.Generator().manual_seed(0)
    shapes = {"iconv": (filters, 4, 7), "fconv": (2, filters, 5), "linear": (1, filters)}
    shapes |= {f"rconvs.{i}": (filters, filters, 3) for i in range(layers)}
    state = {f"{name}.weight": torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    return state | {f"{name}.bias": torch.randn(shape[0], generator=draw) for name, shape in shapes.items()}


def saved(value: Any, **options: Any) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def saved_whole(state: dict[str, torch.Tensor], dilations: tuple[int, ...] = (2, 4)) -> bytes:
    """A module of bpnet-lite, whose package is not here, saved whole."""
    package, module = types.ModuleType("bpnetlite"), types.ModuleType("bpnetlite.bpnet")
    module.BPNet = type("BPNet", (nn.Module,), {"__module__": "bpnetlite.bpnet"})
    sys.modules |= {"bpnetlite": package, "bpnetlite.bpnet": module}
    try:
        net = module.BPNet()
        net.trimming = 10
        for name in ("iconv", "fconv"):
            weight = state[f"{name}.weight"]
            setattr(
                net, name, nn.Conv1d(weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2)
            )
        net.rconvs = nn.ModuleList([nn.Conv1d(4, 4, 3, padding=d, dilation=d) for d in dilations])
        net.linear = nn.Linear(4, 1)
        net.load_state_dict(state)
        return saved(net)
    finally:
        del sys.modules["bpnetlite"], sys.modules["bpnetlite.bpnet"]


def cases(exported: bool) -> list[Case]:
    """Whole files of every kind, with or without torch.export's, which take seconds to make."""
    torch.manual_seed(0)
    net, state = Net().eval(), bpnet_state()
    config = {"n_filters": 4, "n_layers": 2, "signal_groups": [1], "n_control_tracks": 0, "expansion": 2,
              "residual_scale": 0.15, "trimming": 10}  # fmt: skip
    cherimoya = {
        name.replace(".conv.", ".conv_"): value[:, 0].T if ".conv." in name else value[..., 0]
        if name.startswith("blocks") else value
        for name, value in Cherimoya(config).state_dict().items()
    }  # fmt: skip
    bpnet = {"input_length": LENGTH, "parameters": {"trimming": 10}}
    trusted = {"input_length": LENGTH, "outputs": {"y": {}}, "trust_pickle": True}
    script, program = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(net), script)
        if exported:
            shapes = ({0: torch.export.Dim.DYNAMIC},)
            torch.export.save(torch.export.export(net, (torch.zeros(3, 4, LENGTH),), dynamic_shapes=shapes), program)
    untrusted = {key: value for key, value in trusted.items() if key != "trust_pickle"}
    made = [
        Case("state.pt", saved(state), bpnet, checksums=True),
        Case("named.pt", saved(state), bpnet | {"loader": "bpnet_lite"}, checksums=True),
        Case(
            "checkpoint.ckpt", saved({"epoch": 3, "state_dict": state, "log": [0.5, {"a": "b"}]}), bpnet, checksums=True
        ),
        Case("legacy.pt", saved(state, _use_new_zipfile_serialization=False), bpnet),
        Case("whole.pt", saved_whole(state), {"input_length": LENGTH}, checksums=True),
        Case("beluga.pt", saved(state), {"loader": "beluga"}),
        Case("state.safetensors", safetensors.torch.save(state), bpnet),
        Case(
            "cherimoya.torch",
            saved({"config": config, "state_dict": cherimoya}),
            {"input_length": LENGTH},
            checksums=True,
        ),
        Case("program.pt2", program.getvalue(), untrusted),
        Case("script.pt", script.getvalue(), untrusted),
        Case("trusted.pt", saved(net), trusted | {"loader": "pickled_module"}, checksums=True),
        Case("trusted.pt2", program.getvalue(), trusted, checksums=True),
        Case("trusted_script.pt", script.getvalue(), trusted, checksums=True),
    ]
    return [case for case in made if case.content]


# ------------------------------------------------------------------------------------------------------- damage
def rewritten(content: bytes, change: Callable[[dict[str, bytes]], None], packing: int = zipfile.ZIP_STORED) -> bytes:
    """Change the members of an archive and write it anew, with right checksums and names."""
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as new:
        for name, member in members.items():
            new.writestr(name, member)
    return buffer.getvalue()


ODD_TENSORS: list[Callable[[torch.Tensor], Any]] = [
    lambda t: None, lambda t: 3, lambda t: "text", lambda t: [t], lambda t: {"weight": t}, lambda t: t.tolist(),
    lambda t: t[0] if t.dim() else t, lambda t: t.sum(), lambda t: t[None], lambda t: t[:0], lambda t: t.flatten(),
    lambda t: t.to(torch.int8), lambda t: t.bool(), lambda t: t.to(torch.complex64), lambda t: t.half(),
    lambda t: t.double(), lambda t: t.to("meta"), lambda t: t.to_sparse(), lambda t: t * torch.nan, lambda t: t / 0,
    lambda t: torch.zeros(1).expand(1 << 34), lambda t: t.unsqueeze(-1).expand(*t.shape, 1 << 30),
    lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), lambda t: torch.nested.nested_tensor([t, t]),
    lambda t: t.to(torch.float8_e4m3fn), lambda t: nn.Parameter(t), lambda t: t.numpy(), lambda t: bytearray(5),
    lambda t: torch.device("cpu"), lambda t: torch.Size([3]), lambda t: {1, 2}, lambda t: float("nan"),
]  # fmt: skip
NAMES = [
    "", ".", "iconv", "iconv.weight.", "rconvs.1000000000.weight", "rconvs.-1.weight", "module", 7, None, (1, 2), "\0",
    "\u00e9",
]  # fmt: skip


class Odd(NamedTuple):
    """One thing that is wrong in a state dict: which, in what way (or with which of ODD_TENSORS), called what."""

    name: str
    way: str
    which: int
    called: Any


def draw_odd(rng: random.Random) -> list[Odd]:
    """One to three things that are wrong."""
    names, ways = list(bpnet_state()), ("odd", "odd", "odd", "renamed", "copied", "lost")
    return [
        Odd(rng.choice(names), rng.choice(ways), rng.randrange(len(ODD_TENSORS)), rng.choice(NAMES))
        for _ in range(rng.choice((1, 1, 2, 3)))
    ]


def odd_state(changes: Sequence[Odd]) -> dict[Any, Any]:
    """A state dict with things that are wrong."""
    state: dict[Any, Any] = dict(bpnet_state())
    whole = set(state)  # each is changed once: of a view with 2^34 values any other change would make them
    for name, way, which, called in changes:
        if name not in whole:
            continue
        whole.discard(name)
        if way == "odd":
            with contextlib.suppress(RuntimeError, AttributeError, TypeError):  # not every tensor can be made so
                state[name] = ODD_TENSORS[which](state[name])
        elif way == "copied":
            state[called] = state[name]
        else:
            value = state.pop(name)
            state |= {called: value} if way == "renamed" else {}
    return state


WRAPPED: list[Callable[[Any], Any]] = [
    *[lambda s: s] * 6, list, lambda s: {"state_dict": s}, lambda s: {"model": s, "epoch": None}, lambda s: None,
    lambda s: list(s.items()), lambda s: torch.zeros(3),
]  # fmt: skip
ODD_OUTPUTS: list[Any] = [
    None, {}, [], {"head": "z"}, {"head": -3}, {"head": {}}, {"index": "[[1"}, {"index": "9" * 30}, {"reduce": "x"},
    {"reduce": {}}, {"names": 3}, {"names": "/"}, {"kind": 3}, {"unknown": 1}, {"transform": 5}, {"measure": []},
]  # fmt: skip
ODD_INPUTS: list[Any] = [
    {}, {"name": "a"}, {"name": None}, {"shape": [1]}, {"name": "a", "shape": [2]}, {"name": "a", "shape": "x"},
    {"name": "a", "shape": [1 << 40]}, {"name": "a", "shape": [-1]}, {"name": "a", "shape": [1], "value": "x"},
    {"name": "a", "shape": [1], "flip": [7]}, {"name": "a", "shape": [1], "table": "/dev/null"},
]  # fmt: skip
ODD_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 3.5, float("nan"), 1 << 70, "", "x", "file.py:f", "a.py:", [], [None], [[]], ["x"],
    {}, {"": None}, {1: {}}, {"trimming": "x"}, {"trimming": -5}, {"trimming": 1 << 40}, {"architecture": []},
    Path("."), b"x", object(), *({"y": value} for value in ODD_OUTPUTS), *([value] for value in ODD_INPUTS),
]  # fmt: skip
KEYS = ("loader", "weights", "bias_weights", "component", "architecture", "input_length", "parameters", "alphabet",
        "average_strands", "arguments", "outputs", "trust_pickle", "unknown", "", 3)  # fmt: skip

TABLE = "background_id\ta\tb\nx\t1\t2\ny\t3\t4.5\n"


class Try(NamedTuple):
    """What is wrong in an input as a list, how it is judged, and what is less and how it is shown."""

    kind: str
    wrong: Sequence[Any]
    judge: Callable[[Sequence[Any]], str]  # "read", "refused", or what is wrong with it
    shown: Callable[[Sequence[Any]], str] = repr
    less: Callable[[Sequence[Any]], Iterable[Sequence[Any]]] = seeds_in_turn.without_one


def fault_of(outcome: str) -> str:
    """Return what is wrong, empty if nothing is."""
    return "" if outcome in ("read", "refused") else outcome


class Checker:
    """Tries damaged inputs, each drawn from a seed."""

    def __init__(self, folder: Path, exported: bool = True):
        self.folder, self.rng = folder, random.Random()
        self.cases = cases(exported)
        X = torch.zeros(2, 4, LENGTH)
        X[:, torch.arange(LENGTH) % 4, torch.arange(LENGTH)] = 1
        X[1] = X[1].flip(0)
        self.X = X
        self.whole = {case.file: self._outputs(case, case.content) for case in self.cases if case.checksums}

    def check(self, seed: int) -> tuple[str, str]:
        """Return what became of the input of a seed, and what is wrong at its least."""
        self.rng = random.Random(seed)
        ways = [self._file] * 6 + [self._member] * 5 + [self._state] * 5 + [self._entry] * 3 + [self._table]
        tried = self.rng.choice(ways)()
        found = tried.judge(tried.wrong)
        if not fault_of(found):
            return found, ""
        least, said = seeds_in_turn.smallest(tried.wrong, tried.less, lambda wrong: fault_of(tried.judge(wrong)))
        return "", f"{tried.kind}, {tried.shown(least)}: {said or found}"

    def _file(self) -> Try:
        case = self._case(self.cases)

        def judge(edits: Sequence[Any]) -> str:
            return self._loaded(case, damage.edited(case.content, edits))

        return self._of_bytes(case.file, case.content, judge)

    def _of_bytes(self, kind: str, content: bytes, judge: Callable[[Sequence[Any]], str]) -> Try:
        edits = damage.draw(content, self.rng)
        return Try(kind, edits, judge, lambda edits: damage.shown(edits, len(content)), damage.less)

    def _member(self) -> Try:
        # not of trusted programs: with right checksums they are their author's, who may crash the process
        among = [case for case in self.cases if case.content[:2] == b"PK" and "trust_pickle" not in case.settings]
        case = self._case(among)
        with zipfile.ZipFile(io.BytesIO(case.content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        chosen = self.rng.choice([name for name in members if name.endswith("data.pkl")] * 3 + list(members))
        other, way = self.rng.choice(list(members)), self.rng.randrange(6)
        packing = zipfile.ZIP_DEFLATED if self.rng.random() < 0.05 else zipfile.ZIP_STORED

        def change(members: dict[str, bytes], edits: Sequence[Any]) -> None:
            if way == 0:
                del members[chosen]
            elif way == 1:
                members[chosen.replace("data", "date")] = members.pop(chosen)
            elif way == 2:
                members[chosen], members[other] = members[other], members[chosen]
            else:
                members[chosen] = damage.edited(members[chosen], edits)

        def judge(edits: Sequence[Any]) -> str:
            content = rewritten(case.content, lambda members: change(members, edits), packing)
            return self._loaded(case, content, same=False)

        if way > 2:
            return self._of_bytes(f"{chosen} in {case.file}", members[chosen], judge)
        return Try(case.file, [(("lost", "renamed", "exchanged")[way], chosen, other)], judge, less=lambda _: [])

    def _case(self, among: list[Case]) -> Case:
        """One of them; an exported program, which takes long to load, less often."""
        return self.rng.choices(among, [0.1 if case.file == "trusted.pt2" else 1 for case in among])[0]

    def _state(self) -> Try:
        case, wrapped = self.rng.choice(self.cases[:2]), self.rng.choice(WRAPPED)

        def judge(changes: Sequence[Odd]) -> str:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    content = saved(wrapped(odd_state(changes)))
            except (RuntimeError, TypeError, AttributeError, NotImplementedError):  # PyTorch does not save it
                return "refused"
            return self._loaded(case, content, same=False)

        return Try(f"state dict as {case.file}, wrapper {WRAPPED.index(wrapped)}", draw_odd(self.rng), judge)

    def _entry(self) -> Try:
        case, rng = self.cases[0], self.rng
        changed = [(key, rng.choice(ODD_VALUES)) for key in rng.sample(KEYS, rng.choice((1, 1, 2)))]
        without = ["input_length"] if rng.random() < 0.1 else []

        def judge(changed: Sequence[tuple[Any, Any]]) -> str:
            path = self.folder / case.file
            path.write_bytes(case.content)
            settings = {"weights": str(path), **case.settings, "outputs": {"counts": {}}}
            settings = {key: value for key, value in settings.items() if key not in without} | dict(changed)
            return self._judged(lambda: load_model("odd", settings), "odd")

        return Try(f"entry without {without}", changed, judge)

    def _table(self) -> Try:
        path, content = self.folder / self.rng.choice(("table.tsv", "table.csv")), TABLE.encode()
        argument = Argument("a", (2,), "table", files=(str(path),), columns=("a", "b"))

        def judge(edits: Sequence[Any]) -> str:
            path.write_bytes(damage.edited(content, edits))
            return self._judged(lambda: argument.values(["x", "y"], "model 'odd'"), path.name)

        return self._of_bytes(path.name, content, judge)

    def _loaded(self, case: Case, content: bytes, same: bool = True) -> str:
        wanted = self.whole.get(case.file) if same and case.checksums else None

        def load() -> None:
            found = self._outputs(case, content)
            if wanted is not None and not all(map(torch.equal, found, wanted)):
                raise AssertionError("read without a word, with other numbers")

        return self._judged(load, case.file)

    def _outputs(self, case: Case, content: bytes) -> list[torch.Tensor]:
        path = self.folder / case.file
        path.write_bytes(content)
        loaded = load_model("odd", {"weights": str(path), **case.settings})
        with torch.no_grad():
            return list(loaded.readouts()(self.X).values())

    def _judged(self, call: Callable[[], Any], name: str) -> str:
        printed = io.StringIO()
        try:
            with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stderr(printed):
                warnings.simplefilter("always")
                with seeds_in_turn.at_most(SECONDS):
                    call()
            outcome = "read"
        except MarginomeError as error:
            text = str(error)
            outcome = "refused"
            if name not in text or "\n" in text or "Traceback" in text or len(text) > 2000:
                outcome = f"no line that names it: {text!r}"
            elif warned or printed.getvalue():
                outcome = f"said beside the line: {[str(w.message) for w in warned]} {printed.getvalue()[:300]}"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        return outcome


if __name__ == "__main__":
    given = seeds_in_turn.options(__doc__)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        seeds_in_turn.try_seeds(Checker(Path(folder)).check, given)
