"""The config: what a user gets wrong is named, with the allowed values and the closest match."""

from __future__ import annotations

import copy
import datetime
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest
import yaml

import config_fuzz
from marginome import config
from marginome.config import SECTIONS, check_keys, file_keys, job_config, resolve_config
from marginome.config_reading import check_file
from marginome.errors import MarginomeError
from workspace import ROOT, entry_files


@pytest.fixture
def shipped(monkeypatch):
    monkeypatch.chdir(ROOT)
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def test_the_shipped_config_is_valid_and_gets_its_defaults(shipped):
    resolved = resolve_config(shipped, files=[str(ROOT / "config" / "config.yaml")])
    screen = next(iter(resolved["screens"].values()))
    assert screen["controls"] == {"pool": 14369} and screen["keep"]["profiles"] is True
    assert resolved["engine"] == "auto" and resolved["seed"] == 1
    assert "keep" not in next(iter(shipped["screens"].values()))  # the user's own is left as it is


def _first(mapping):
    return next(iter(mapping))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.update(sede=2), ["sede", "Did you mean 'seed'"]),
        (lambda c: c.update(device="gpu"), ["device", "gpu", "cpu", "cuda"]),
        (lambda c: c.update(seed="one"), ["seed", "'one'", "string", "integer"]),
        (lambda c: c.update(seed=-1), ["seed", "at least 0"]),
        (lambda c: c.pop("models"), ["missing: models"]),
        (lambda c: c["screens"][_first(c["screens"])].update(shard=3), ["shard", "Did you mean 'shards'"]),
        (lambda c: c["screens"][_first(c["screens"])].update(models=["bpnet_ctfc"]), ["Did you mean 'bpnet_ctcf'"]),
        (lambda c: c["screens"][_first(c["screens"])].update(orientations="minus"), ["orientations", "minus", "both"]),
        (lambda c: c["screens"][_first(c["screens"])].update(positions=2114), ["positions", "start 2114", "2114 bp"]),
        (lambda c: c["screens"][_first(c["screens"])].update(positions="left"), ["positions", "centre"]),
        (lambda c: c["screens"][_first(c["screens"])].update(positions={"start": 5, "stop": 5, "step": 1}), ["empty"]),
        (lambda c: c["backgrounds"][_first(c["backgrounds"])].update(length=1000), ["lengths differ", "2114", "1000"]),
        (lambda c: c.update(precision="tf32"), ["tf32", "CUDA only"]),
        (lambda c: c["models"].update({"a/b": c["models"][_first(c["models"])]}), ["a/b", "Letters"]),
        (
            lambda c: c["models"][_first(c["models"])].update(weights="resources/models/bpnet_ctcf_k562_2114.state"),
            ["does not exist", "Did you mean", "state_dict.pt"],
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named(shipped, change, told):
    broken = copy.deepcopy(shipped)
    change(broken)
    with pytest.raises(MarginomeError) as caught:
        resolve_config(broken)
    for text in told:
        assert text in str(caught.value)


MODEL, SCREEN, SET = ("models", "bpnet_ctcf"), ("screens", "ctcf_jaspar"), ("backgrounds", "gc_matched")
HUGE = {"start": 0, "stop": 2**31 - 1, "step": 1}  # not to be gone through one by one
OWN = {"loader": "config/examples/own_model.py:deepbind", "input_length": 2114, "outputs": {"score": {}}}


def _set(config, *path_and_value):
    *path, key, value = path_and_value
    for part in path:
        config = config.setdefault(part, {})
    config[key] = value


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e30, 10**30, -1, 0.5, True, "4", "1e3"])
@pytest.mark.parametrize("path", [("memory_mb",), (*SET, "n"), (*SCREEN, "shards"), (*SCREEN, "positions")])
def test_what_is_no_count_is_refused(shipped, path, number):
    _set(shipped, *path, number)
    with pytest.raises(MarginomeError, match=re.escape(f"config: {'.'.join(path)}: ")):
        resolve_config(shipped, check_files=False)


@pytest.mark.parametrize(
    "path",
    [
        ("seed",), ("block",), ("threads",), ("memory_mb",), (*SET, "n"), (*SET, "length"), (*SET, "flank"),
        (*SCREEN, "shards"), (*SCREEN, "draws"), (*SCREEN, "positions"),
        (*SCREEN, "controls", "pool"), (*SCREEN, "keep", "backgrounds_mb"),
        (*MODEL, "input_length"), (*MODEL, "outputs", "counts", "head"), ("motifs", "jaspar", "min_width"),
    ],
)  # fmt: skip
def test_a_whole_number_is_an_integer_however_it_is_written(shipped, path):
    whole = 1 if path[-1] in ("head", "min_width", "draws") else 2114
    shipped["screens"]["ctcf_jaspar"]["shards"] = 2
    results = []
    for value in (whole, float(whole)):
        changed = copy.deepcopy(shipped)
        if path[-1] == "shards":
            value = type(value)(2)
        elif path[-1] == "threads":
            value = type(value)(4)
        elif path[-1] == "positions":
            value = type(value)(100)
        _set(changed, *path, value)
        results.append(resolve_config(changed, check_files=False))
    found = results[1]
    for part in path:
        found = found[part]
    assert results[0] == results[1] and type(found) is int


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ((*SET, "max_unknown_fraction"), math.nan, ["max_unknown_fraction", "nan", "not a number"]),
        ((*SET, "bin_width"), math.inf, ["bin_width", "infinite"]),
        ((*SET, "exclude_hits"), {"motifs": {"files": ["x"]}, "p_value": "1e-5"}, ["p_value", "Write 1.0e-05"]),
        ((*SCREEN, "flanks"), {"left": "ACGT\n"}, ["flanks.left", "'ACGT\\\\n'"]),
        ((*SCREEN, "outputs"), ["cuonts"], ["screens.ctcf_jaspar.outputs", "Did you mean 'counts'"]),
        ((*SCREEN, "positions"), {"start": 0, "stop": 2121, "step": 10}, ["positions", "start 2120", "2114 bp"]),
        ((*SCREEN, "flanks"), {"left": "A" * 2114}, ["flanks", "do not fit into 2114 bp"]),
        ((*SCREEN, "pairs"), [{"motifs": ["a", "b"], "gaps": [3, 2113]}], ["pairs", "at least 2115 bp"]),
        ((*SCREEN, "pairs"), [{"motifs": ["a", "b"], "gaps": HUGE}], ["pairs", "do not fit into 2114 bp"]),
        ((*SCREEN, "pairs"), [{"motifs": ["a", "b"], "gaps": [0, 2, 60], "mismatched": 40}],
         ["pairs[0].gaps: none may be the best: from 60 bp on", "below 3 bp"]),
        ((*SCREEN, "pairs"), [{"motifs": ["a", "b"], "gaps": [9], "mismatched": 40}], ["[0].gaps: none", "from 9 bp"]),
        ((*SCREEN, "composites"), [{"motifs": ["a", "b"], "gaps": HUGE}], ["composites", "do not fit into 2114 bp"]),
        ((*SCREEN, "composites"), [{"motifs": ["a", "b"], "gaps": [4.5]}], ["gaps.0", "4.5", "A whole number of"]),
        ((*MODEL, "outputs"), {"counts": {"head": 2}}, ["outputs.counts.head", "no head '2'"]),
        ((*MODEL, "outputs"), {"c": {"measure": "diference"}}, ["c.measure", "Did you mean 'difference'"]),
        (
            (*MODEL, "outputs"),
            {"counts": {"measure": "jensen_shannon_distance"}},
            ["counts.measure", "compares profile outputs; this one is a scalar"],
        ),
        (
            (*MODEL, "outputs"),
            {"profile": {"measure": "difference"}},
            ["profile.measure", "compares scalar outputs; this one is a profile"],
        ),
        (
            (*MODEL, "outputs"),
            {"c": {"head": 0, "kind": "profile", "measure": "log2_fold_change"}},
            ["c.measure", "Use euclidean or jensen_shannon_distance"],
        ),
        ((*MODEL, "outputs"), {"c\n": {}}, ["models.bpnet_ctcf.outputs", "'c\\\\n'"]),
        ((*MODEL, "loader"), "bpnet_light", ["loader", "Did you mean 'bpnet_lite'"]),
        ((*MODEL, "alphabet"), "ACGA", ["alphabet", "ACGA"]),
        (MODEL, OWN | {"loader": "config/examples/own_model.py:deepbindd"}, ["loader", "Did you mean 'deepbind'"]),
        (MODEL, {k: v for k, v in OWN.items() if k != "input_length"}, ["bpnet_ctcf", "input_length is missing"]),
        (MODEL, {"loader": "keras"}, ["models.bpnet_ctcf", "the loader keras needs weights"]),
        (MODEL, {k: v for k, v in OWN.items() if k != "outputs"}, ["models.bpnet_ctcf", "Name each with `outputs:`"]),
        ((*MODEL, "weights"), "/dev/zero", ["weights", "a device or a pipe"]),
        ((*MODEL, "weights"), "resources", ["weights", "is a folder"]),
        ((*MODEL, "weights"), "~/model.pt", ["weights", "write the whole path"]),
        ((*MODEL, "weights"), "a\0b", ["weights", "a\\\\x00b", "no file name can hold"]),
        ((*MODEL, "weights"), "models/{fold}.pt", ["weights", "holds {, which Snakemake reads as a pattern"]),
        ((*MODEL, "weights"), "models/<results>.pt", ["weights", "holds <results>"]),
        ((*MODEL, "weights"), "x" * 300, ["weights", "does not exist"]),
        (("backgrounds", "x" * 300), {"kind": "uniform", "n": 1, "length": 9}, ["backgrounds", "100 characters"]),
        (("backgrounds", "a" + "0" * 20), {"kind": "uniform", "n": 1, "length": 9}, ["backgrounds", "'0' repeated"]),
        (("backgrounds", "a\n"), {"kind": "uniform", "n": 1, "length": 9}, ["backgrounds", "'a\\\\n'", "Letters"]),
        (("backgrounds", False), {}, ["backgrounds", "the key False is a boolean", 'write "no"']),
        (("backgrounds", datetime.date(2026, 1, 1)), {}, ["backgrounds", "datetime.date(2026, 1, 1)", 'write "no"']),
        (("report", "title"), datetime.date(2026, 1, 1), ["report.title", "a date", "quotes"]),
        (("motifs", "jaspar", "max_width"), 0.0, ["max_width", "at least 1"]),
        (("screens", "ctcf_jaspar"), None, ["screens.ctcf_jaspar", "null", "object"]),
    ],
)  # fmt: skip
def test_a_value_that_would_stop_a_job_is_refused_when_the_config_is_read(shipped, path, value, told):
    _set(shipped, *path, value)
    with pytest.raises(MarginomeError) as caught:
        resolve_config(shipped)
    assert len(str(caught.value).splitlines()) == 1, caught.value
    for text in told:
        assert text.replace("\\\\", "\\") in str(caught.value)


@pytest.mark.parametrize(
    ("probabilities", "fits"),
    [
        ([0.1, 0.2, 0.3, 0.4], True), ([1, 0, 0, 0], True), ([1.0, 0.0, 0.0, 0.0], True),
        ([math.nan, 0.5, 0.25, 0.25], False),
        ([0.5, 0.5, 0.5, 0], False), ([0, 0, 0, 0], False), ([1.5, -0.5, 0, 0], False),
    ],
)  # fmt: skip
def test_probabilities_sum_to_one(shipped, probabilities, fits):
    from marginome.backgrounds import check_settings

    settings = {"kind": "composition", "n": 1, "length": 2114, "probabilities": probabilities}
    shipped["backgrounds"]["gc_matched"] = settings
    for check in (lambda: resolve_config(shipped, check_files=False), lambda: check_settings(settings, where="x")):
        if fits:
            check()
        else:
            with pytest.raises(MarginomeError, match="probabilities"):
                check()


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"output": None}, "has 2 outputs"),
        ({"output": "cuonts"}, "Did you mean 'counts'"),
        ({"target": -1}, "attributions.a.target"),
        ({"marginalize": {"backgrounds": ["gc_matched"], "outputs": ["x"]}}, "attributions.a.marginalize.outputs"),
        ({"loci": {"kind": "background", "background": "gc_matched", "insert": {"sequence": "ACG", "start": 2112}}},
         "does not lie within 2114 bp"),
        ({"loci": {"kind": "background", "background": "gc_matched", "insert": {"sequence": "ACG\n"}}}, "insert"),
        ({"seqlets": {"caller": "tfmodisco", "window": 2115}}, "seqlets.window"),
    ],
)  # fmt: skip
def test_attributions_are_checked_when_the_config_is_read(shipped, entry, told):
    loci = {"kind": "background", "background": "gc_matched"}
    shipped["attributions"] = {"a": {"model": "bpnet_ctcf", "output": "counts", "loci": loci} | entry}
    if entry.get("output", 1) is None:
        del shipped["attributions"]["a"]["output"]
    with pytest.raises(MarginomeError) as caught:
        resolve_config(shipped)
    assert told in str(caught.value)


def test_the_length_that_a_keras_file_tells_is_known_when_the_config_is_read(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = yaml.safe_load((ROOT / "config" / "examples" / "mpra_dragonn.yaml").read_text())
    resolve_config(config)
    config["backgrounds"]["uniform"]["length"] = 146
    with pytest.raises(MarginomeError, match="background set 'uniform' has 146 bp, model 'mpra' has 145 bp"):
        resolve_config(config)
    config["models"]["mpra"]["input_length"] = 146
    with pytest.raises(MarginomeError, match=r"mpra\.input_length: input_length is 146, but the model reads 145"):
        resolve_config(config)


def test_a_config_may_share_its_parts_but_not_hold_itself(shipped):
    shared = {"files": ["resources/motifs/JASPAR2026_CORE_vertebrates.meme"]}
    shipped["motifs"] = {"jaspar": shared, "again": shared}
    resolved = resolve_config(shipped)
    assert resolved["motifs"]["jaspar"] is not resolved["motifs"]["again"] and shared.keys() == {"files"}
    endless = {}
    endless["again"] = endless
    laughs = ["ha"] * 10
    for _ in range(9):
        laughs = [laughs] * 10
    for value in (endless, laughs):
        _set(shipped, *MODEL, "parameters", {"x": value})
        with pytest.raises(MarginomeError, match=r"models.bpnet_ctcf.*nests deeper"):
            resolve_config(shipped)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: 1\nb: 2\na: 3\n", "'a' is given twice (lines 1 and 3)"),
        (b'{"a": 1, "a": 2}', "'a' is given twice"),
        (b"index: 10:20\n", "line 1: YAML reads 10:20 as the number 620"),
        (b"x: 1\nn: 010\n", "line 2: YAML reads 010 as the number 8"),
        (b"? [a, b]\n: 1\n", "line 1: a key is a list or a mapping"),
        (b"a: 1\nt: JASP\xe9R\n", "line 2: it is not text in UTF-8"),
        (b"a: " + b"[" * 1500, "brackets"),
        (b"a:\n\tb: 1\n", "line 2: not valid YAML"),
        (b"a: [1\n", "not valid YAML"),
        (b"a: \x00\n", "not valid YAML"),
        (b"a: !!python/object/apply:os.system [ls]\n", "not valid YAML"),
        (b"a: " + b"9" * 5000, "a value cannot be read"),
    ],
)
def test_a_config_file_is_read_for_what_yaml_does_not_tell(tmp_path, content, told):
    file = tmp_path / "c.conf"
    file.write_bytes(content)
    with pytest.raises(MarginomeError) as caught:
        check_file(file)
    assert str(caught.value).startswith(str(file)) and told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbfa: 1\n", b"a: &x {b: 1}\nc:\n  <<: *x\n  b: 2\n", b'{"a":\t1}', b"a: 0\nb: 0.5\nc: 0x10\n"],
)
def test_a_config_file_in_order_passes(tmp_path, content):
    (tmp_path / "c.yaml").write_bytes(content)
    check_file(tmp_path / "c.yaml")


def test_a_path_with_a_line_end_is_named_on_one_line():
    with pytest.raises(MarginomeError) as refused:
        resolve_config({"sheets": ["a\n"]})
    assert str(refused.value).startswith(r"config: sheets: a\n: there is no such file.")


def test_damaged_configs_are_refused_in_words_or_put_in_order(tmp_path, monkeypatch):
    """A slice of tests/checks/config_fuzz.py."""
    monkeypatch.chdir(ROOT)
    sources = config_fuzz.Sources()
    found = [config_fuzz.check(seed, sources, tmp_path / "config.yaml") for seed in range(400)]
    assert [fault for _, fault in found if fault] == []
    words = Counter(word for word, _ in found)
    assert words["refused"] > 50 and words["accepted"] > 20


def test_commands_name_targets_before_the_config():
    """`--configfile` takes every word that follows it."""
    pages = [ROOT / "README.md", ROOT / "Snakefile", *(ROOT / "docs").glob("*.md")]
    pages += [ROOT / "config" / "README.md", *(ROOT / "config").rglob("*.yaml")]
    pages += [
        *(ROOT / "workflow" / "rules").glob("*.smk"),
        *(ROOT / "workflow" / "lib" / "marginome" / "schemas").glob("*.yaml"),
    ]
    targets = "estimate|reproduce|screens|attributions|backgrounds|motifs|models|results/"
    shown = [line for page in pages for line in page.read_text().splitlines() if "--configfile" in line]
    assert len(shown) > 15 and not [line for line in shown if re.search(rf"--configfile \S+\s+({targets})", line)]


def test_no_pattern_of_the_schemas_lets_a_newline_pass():
    """`$` also matches before a newline at the end."""
    patterns = [
        found
        for file in (ROOT / "workflow" / "lib" / "marginome" / "schemas").glob("*.schema.yaml")
        for found in re.findall(r"pattern: (.*)", file.read_text())
    ]
    assert len(patterns) >= 8 and all("\\Z" in pattern and "$" not in pattern for pattern in patterns)


def test_words_of_the_schemas_are_those_of_the_code():
    from marginome import effects
    from marginome.measures import MEASURES
    from marginome.models.loaders import LOADERS
    from marginome.models.reading import TRANSFORMS

    models = yaml.safe_load((ROOT / "workflow" / "lib" / "marginome" / "schemas" / "models.schema.yaml").read_text())
    output = models["$defs"]["output"]["properties"]
    for schema, words in (
        (models["properties"]["loader"], tuple(LOADERS)),
        (output["measure"], MEASURES),
        (output["measure"], effects.FUNCTIONS),
        (output["transform"], TRANSFORMS),
    ):
        assert schema["anyOf"][0]["enum"] == list(words)


def test_what_a_header_tells_is_what_loading_finds(monkeypatch, tmp_path):
    from marginome.models import load_model
    from marginome.models.headers import read_header, recognise
    from marginome.models.recognition import recognise_loader

    monkeypatch.chdir(ROOT)
    bpnet = {"weights": "resources/models/bpnet_ctcf_k562_2114.state_dict.pt"}
    loaded = load_model("m", bpnet | {"input_length": 2114})
    header = read_header(bpnet)
    assert header.input_length == 0 and header.outputs == tuple(o.name for o in loaded.outputs)
    assert recognise(bpnet["weights"]) == recognise_loader([bpnet["weights"]], {}, "m") == "bpnet_lite"
    mpra = yaml.safe_load((ROOT / "config" / "examples" / "mpra_dragonn.yaml").read_text())["models"]["mpra"]
    assert read_header(mpra).input_length == load_model("m", mpra).input_length == 145
    layers = [
        {"class_name": "InputLayer", "name": "dna", "config": {"name": "dna", "batch_input_shape": [None, 99, 4]}}
    ]
    outputs = [[name, 0, 0] for name in ("logcount_predictions", "profile_predictions")]
    model = {"layers": layers, "input_layers": [["dna", 0, 0]], "output_layers": outputs}
    (tmp_path / "a.json").write_text(json.dumps({"class_name": "Functional", "config": model}))
    keras = {"loader": "keras", "weights": "x.h5", "architecture": str(tmp_path / "a.json")}
    assert read_header(keras)[:2] == (99, ("counts", "profile"))
    for content in (b"", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", os.urandom(64)):
        (tmp_path / "w").write_bytes(content)
        assert read_header({"weights": str(tmp_path / "w")}).outputs is None


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(): pass", True), ("class f: pass", True), ("f = print", True), ("from math import sin as f", True),
        ("if True:\n    def f(): pass", True), ("try:\n    import f\nexcept ImportError:\n    f = None", True),
        ("from math import *", True), ("globals()['f'] = 1", True), ("def __getattr__(name): return 1", True),
        ("def g():\n    f = 1\n    def f(): pass", False), ("class G:\n    def f(self): pass", False), ("", False),
    ],
)  # fmt: skip
def test_a_name_in_a_file_is_found_without_running_it(tmp_path, source, found):
    from marginome.usercode import check_reference

    file = tmp_path / "own.py"
    file.write_text(f"raise SystemExit('it was run')\n{source}\n")
    if found:
        check_reference(f"{file}:f", where="x")
    else:
        with pytest.raises(MarginomeError, match="x: there is no name in"):
            check_reference(f"{file}:f", where="x")
    file.write_text("def f(:\n")
    with pytest.raises(MarginomeError, match="not valid Python, line 1"):
        check_reference(f"{file}:f", where="x")


def test_of_a_name_that_is_not_in_a_file_those_that_can_be_called_are_told(tmp_path):
    from marginome.usercode import load_user_object

    (tmp_path / "own.py").write_text("import os\n_bulid = print\nbulids = 3\ndef build(): ...\nclass Net: ...\n")
    with pytest.raises(MarginomeError, match=r"there is no name in .*own\.py 'bulid'") as refused:
        load_user_object(f"{tmp_path / 'own.py'}:bulid", where="x")
    assert "Did you mean 'build'" in str(refused.value) and str(refused.value).endswith("build, Net.")


@pytest.mark.parametrize("home", ["/dev/null/home", None])
def test_caches_go_elsewhere_when_the_home_cannot_be_written(tmp_path, home):
    """numba has nowhere to keep what it compiles when the package is read-only too, and refuses to import it."""
    code = "import os, marginome; print(os.environ.get('NUMBA_CACHE_DIR'), os.environ.get('MPLCONFIGDIR'))"
    environment = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR")}
    environment = {k: v for k, v in environment.items() if not k.startswith("XDG_")}
    environment |= {"HOME": home or str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONPATH": "workflow/lib"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    folder = tmp_path / f"marginome-{os.getuid()}"
    assert done.stdout.split() == ([f"{folder}/numba", f"{folder}/matplotlib"] if home else ["None", "None"]), (
        done.stderr
    )
    if home:
        assert folder.stat().st_mode & 0o777 == 0o700
        folder.chmod(0o777)  # others could put in what is run
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert str(folder) + "/" not in done.stdout and f"{tmp_path}/marginome-" in done.stdout
        shutil.rmtree(folder)


def test_all_mistakes_are_told_at_once(shipped):
    shipped["sede"] = 1
    shipped["device"] = "gpu"
    with pytest.raises(MarginomeError, match="2 mistakes") as caught:
        resolve_config(shipped)
    assert "sede" in str(caught.value) and "gpu" in str(caught.value)


def test_the_order_of_keys_in_a_file_means_nothing(shipped):
    """Params of jobs are compared: a moved key, or a moved column of a sheet, would compute everything again."""
    turned = dict(reversed(shipped.items()))
    for section in ("models", "motifs", "backgrounds", "screens"):
        turned[section] = {name: dict(reversed(entry.items())) for name, entry in shipped[section].items()}
    assert json.dumps(turned) != json.dumps(shipped)
    assert json.dumps(resolve_config(turned)) == json.dumps(resolve_config(shipped))


def test_two_things_with_one_name_are_refused(shipped, tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text("models:\n  a: {x: 1}\n  b: {x: 2}\n  a: {x: 3}\n")
    with pytest.raises(MarginomeError, match=r"'a' is given twice \(lines 2 and 4\)"):
        resolve_config(shipped, files=[str(file)])


def test_files_of_an_entry(shipped):
    resolved = resolve_config(shipped)
    model = _first(resolved["models"])
    files = entry_files(resolved, "models", model)
    assert any(file.endswith(".pt") for file in files)
    assert {file for key, file in file_keys(resolved) if key.startswith(f"models.{model}.")} == set(files)


def test_checking_a_config_imports_no_torch():
    code = (
        "import sys, marginome, marginome.config, marginome.errors, marginome.provenance, marginome.seeds\n"
        "marginome.provenance.code_digest('jobs.runner')\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_reference_page_is_that_of_the_schemas():
    """config/README.md is made by `python -m marginome.config_reference`."""
    from marginome.config_reference import config_reference

    assert (ROOT / "config" / "README.md").read_text() == config_reference()


def _undescribed(schema, path):
    if isinstance(schema, dict):
        for key, sub in schema.get("properties", {}).items():
            if not sub.get("description") and "$ref" not in sub and "const" not in sub:
                yield f"{path}.{key}"
        for key, sub in schema.items():
            yield from _undescribed(sub, f"{path}.{key}")
    elif isinstance(schema, list):
        for i, sub in enumerate(schema):
            yield from _undescribed(sub, f"{path}[{i}]")


def test_every_key_is_described():
    for file in (ROOT / "workflow" / "lib" / "marginome" / "schemas").glob("*.schema.yaml"):
        assert not list(_undescribed(yaml.safe_load(file.read_text()), file.name))


@pytest.mark.parametrize("path", sorted((ROOT / "config").rglob("*.yaml")), ids=lambda path: path.stem)
def test_a_job_reads_of_an_entry_what_the_run_read(path):
    """Without what needs the other entries, which were checked when the run started."""
    given = yaml.safe_load(path.read_text())
    whole, lazy = resolve_config(given, check_files=False), job_config(given)
    assert set(lazy) == set(whole)
    for section in SECTIONS:
        assert dict(lazy[section]) == whole[section]
    assert {k: v for k, v in lazy.items() if k not in SECTIONS} == {k: v for k, v in whole.items() if k not in SECTIONS}


def test_a_job_of_one_model_checks_no_other(monkeypatch):
    given = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    entry = given["models"]["bpnet_ctcf"]
    given["models"] = {f"m{i}": dict(entry) for i in range(50)} | {"wrong": {"input_lenght": 5}}
    asked = []
    original = config._validate
    monkeypatch.setattr(config, "_validate", lambda value, *given: asked.append(value) or original(value, *given))
    found = job_config(given)
    assert list(found["models"])[:2] == ["m0", "m1"] and len(found["models"]) == 51
    assert (
        found["models"]["m7"]
        == resolve_config(given | {"models": {"bpnet_ctcf": entry}}, check_files=False)["models"]["bpnet_ctcf"]
    )
    assert found["models"]["m7"] is found["models"]["m7"] and len(asked) == 2  # the whole, by resolve_config, and m7
    with pytest.raises(MarginomeError, match=r"config: models\.wrong: there is no key 'input_lenght'.*input_length"):
        found["models"]["wrong"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c["screens"]["ctcf_jaspar"].update(shards={"jaspr": 4}), "shards: there is no insert list 'jaspr'"),
        (
            lambda c: c["screens"]["ctcf_jaspar"].update(controls={"pool": {"x": 50}}),
            "controls.pool: there is no insert",
        ),
        (lambda c: c["screens"]["ctcf_jaspar"].update(shards={"jaspar": 4}), None),
        (lambda c: c["screens"]["ctcf_jaspar"].update(controls={"pool": {"jaspar": 400}}), None),
        (lambda c: c["screens"]["ctcf_jaspar"].update(controls={"pool": {"jaspar": 39}}), "at least 40"),
    ],
)
def test_what_is_said_of_one_insert_list_names_one_of_the_screen(change, told):
    given = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    change(given)
    if told is None:
        resolve_config(given, check_files=False)
    else:
        with pytest.raises(MarginomeError, match=told):
            resolve_config(given, check_files=False)


def test_a_rule_that_asks_for_a_key_that_no_entry_can_have_stops():
    """It got None, and a setting of the user's was passed over in silence."""
    check_keys("screens", ("outputs", "keep"))
    with pytest.raises(MarginomeError, match="Did you mean 'orientations'"):
        check_keys("screens", ("outputs", "orientation"))
    with pytest.raises(MarginomeError, match="a rule, of attributions: there is no key 'seqlet'"):
        check_keys("attributions", ("seqlet",))
