"""Digests: what changes them and what does not."""

from __future__ import annotations

import ast
import graphlib
import importlib
import inspect
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

import pytest
import torch

import marginome
from marginome import figures, models, motifs, provenance
from marginome.models.headers import reader_modules
from marginome.models.loaders import LOADERS, OWN
from marginome.motifs import formats
from marginome.provenance import (
    PACKAGE,
    code_digest,
    content_digests,
    file_digests,
    import_closure,
    narrowed,
    versions,
    with_imported,
)


def _copy_package(tmp_path, monkeypatch):
    package = tmp_path / "marginome"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text(
        '"""Doc."""\nfrom marginome.b import f\n\n\ndef g():\n    """Say."""\n    return f()\n'
    )
    (package / "b.py").write_text("def f():\n    from marginome import sub\n    return sub\n")
    (package / "sub" / "__init__.py").write_text("from .c import h\n")
    (package / "sub" / "c.py").write_text("def h():\n    return 1\n")
    (package / "sub" / "style.css").write_text("p {}")
    (package / "other.py").write_text("x = 1\n")
    monkeypatch.setattr(provenance, "PACKAGE", package)
    monkeypatch.setattr(provenance, "SOURCES", tmp_path / "kept" / "sources.json")
    return package


def _forget():
    for cached in (code_digest, provenance._module_file, provenance._source, provenance._kept_sources):
        cached.cache_clear()


def _digest():
    _forget()
    return code_digest("a")


def test_closure_follows_every_form_of_import(tmp_path, monkeypatch):
    package = _copy_package(tmp_path, monkeypatch)
    _forget()
    names = {str(p.relative_to(package)) for p in import_closure("a")}
    assert names == {"a.py", "b.py", "sub/__init__.py", "sub/c.py"}


def test_digest_follows_code_and_data_but_not_comments(tmp_path, monkeypatch):
    package = _copy_package(tmp_path, monkeypatch)
    first = _digest()
    text = (package / "a.py").read_text()
    (package / "a.py").write_text(text.replace("Doc.", "Other.").replace("Say.", "Sing.") + "# a comment\n")
    assert _digest() == first
    (package / "other.py").write_text("x = 2\n")
    assert _digest() == first
    (package / "sub" / "c.py").write_text("def h():\n    return 2\n")
    second = _digest()
    assert second != first
    (package / "sub" / "style.css").write_text("p {color: red}")
    assert _digest() != second
    _forget()


def test_data_of_a_package_below_count_for_those_that_import_it(tmp_path, monkeypatch):
    package = _copy_package(tmp_path, monkeypatch)
    first = _digest()
    below = package / "sub" / "below"
    (below / "assets").mkdir(parents=True)
    (below / "__init__.py").write_text("")
    (below / "assets" / "page.js").write_text("1")
    assert _digest() == first
    (package / "sub" / "assets").mkdir()
    (package / "sub" / "assets" / "page.js").write_text("1")  # no package: of the package that it lies in
    second = _digest()
    assert second != first
    (package / "sub" / "c.py").write_text("from marginome.sub import below\n\n\ndef h():\n    return below\n")
    third = _digest()
    (below / "assets" / "page.js").write_text("2")
    assert third != second and _digest() != third
    _forget()


def test_sources_are_remembered_and_changes_noticed(tmp_path, monkeypatch):
    package = _copy_package(tmp_path, monkeypatch)
    first = _digest()
    assert provenance.SOURCES.is_file()
    with monkeypatch.context() as patched:
        patched.setattr(provenance.ast, "parse", lambda text: 1 / 0)
        assert _digest() == first  # no file was parsed again
        for file in package.rglob("*.py"):
            os.utime(file, (1, 1))
        shutil.copytree(package, tmp_path / "elsewhere")  # as a job's machine has them
        patched.setattr(provenance, "PACKAGE", tmp_path / "elsewhere")
        assert _digest() == first
    text = (package / "b.py").read_text()
    (package / "b.py").write_text(text.replace("return sub", "return 1"))
    assert _digest() != first
    (package / "b.py").write_text(text)
    assert _digest() == first
    kept = json.loads(provenance.SOURCES.read_text())
    kept["made_by"][1] = "another version of provenance.py"
    kept["files"] = {name: [entry[0], "wrong"] for name, entry in kept["files"].items()}
    provenance.SOURCES.write_text(json.dumps(kept))
    assert _digest() == first
    provenance.SOURCES.write_text("{")  # damaged
    assert _digest() == first
    _forget()


def test_file_digests_remember_and_notice(tmp_path):
    file, cache = tmp_path / "x", tmp_path / "cache" / "digests.json"
    file.write_text("one")
    first = file_digests([str(file)], cache)
    assert file_digests([str(file)], cache) == first and cache.is_file()
    os.utime(file, (1, 1))
    assert file_digests([str(file)], cache) == first  # touched, not changed
    file.write_text("two")
    assert file_digests([str(file)], cache) != first
    assert file_digests([str(tmp_path / "no")], cache) == {str(tmp_path / "no"): "missing"}


def test_versions_name_what_results_depend_on():
    assert {"python", "torch", "numpy", "snakemake"} <= set(versions())


def test_machine_names_the_kind_of_processor(monkeypatch, tmp_path):
    """One product name covers kinds with and without AVX-512, whose kernels round differently."""
    info = tmp_path / "cpuinfo"
    one = "processor\t: {}\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nflags\t\t: sse2 avx avx2 avx512f\n"
    info.write_text(one.format(0) + "\n" + one.format(1).replace("25", "6"))
    monkeypatch.setattr(provenance, "Path", lambda path: info if path == "/proc/cpuinfo" else pathlib.Path(path))
    found = provenance.machine()
    assert found["processor"] == "AMD EPYC" and found["processor_model"] == "family 25, model 17"
    assert found["vector_instructions"] == "avx512f"
    info.write_text(one.format(0).replace(" avx512f", ""))
    assert provenance.machine()["vector_instructions"] == "avx2"
    info.unlink()
    found = provenance.machine()
    assert found["processor_model"] is None and found["vector_instructions"] is None


def test_a_kept_digest_with_a_flipped_bit_is_computed_anew(tmp_path):
    """A wrong digest would say that a file is another one, or still the same."""
    file, cache = tmp_path / "genome.fa", tmp_path / "kept" / "digests.json"
    file.write_text("ACGT")
    want = file_digests([str(file)], cache)
    raw = cache.read_bytes()
    for place in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[place // 8] ^= 1 << (place % 8)
        cache.write_bytes(flipped)
        assert file_digests([str(file)], cache) == want


def test_imports_for_type_checkers_alone_do_not_run_and_do_not_count(tmp_path, monkeypatch):
    package = _copy_package(tmp_path, monkeypatch)
    lines = "if TYPE_CHECKING:\n    from marginome import other\nelse:\n    from marginome import b\n"
    (package / "a.py").write_text(f"from typing import TYPE_CHECKING\n{lines}")
    _forget()
    assert {path.name for path in import_closure("a")} == {"a.py", "b.py", "__init__.py", "c.py"}


def test_files_that_no_code_reads_do_not_count(tmp_path, monkeypatch):
    package = _copy_package(tmp_path, monkeypatch)
    first = _digest()
    for name in ("style.css~", ".style.css.swp", "notes", "c.py.orig"):
        (package / "sub" / name).write_text("x")
    assert _digest() == first
    _forget()


# ------------------------------------------------------------------------------------------ the user's own code
def _own_code(folder):
    (folder / "parts").mkdir()
    (folder / "mine.py").write_text('"""Mine."""\nimport torch\nimport shared\nfrom parts import one\n')
    (folder / "shared.py").write_text("LIMIT = 1\n")
    (folder / "parts" / "__init__.py").write_text("")
    (folder / "parts" / "one.py").write_text("from .two import x\n")
    (folder / "parts" / "two.py").write_text("x = 1\n")
    (folder / "other.py").write_text("y = 1\n")
    return str(folder / "mine.py")


def _content(file):
    _forget()
    return content_digests([file])[file]


def test_code_of_the_users_counts_with_what_it_imports_and_without_comments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = _own_code(tmp_path)
    first = _content(file)
    (tmp_path / "mine.py").write_text('"""Ours."""\nimport torch\nimport shared\n\nfrom parts import one  # here\n')
    (tmp_path / "other.py").write_text("y = 2\n")
    assert _content(file) == first
    (tmp_path / "parts" / "two.py").write_text("x = 2\n")  # imported by what is imported
    second = _content(file)
    (tmp_path / "shared.py").write_text("LIMIT = 2\n")
    assert len({first, second, _content(file)}) == 3
    imported = ("parts/__init__.py", "parts/one.py", "parts/two.py", "shared.py")
    assert with_imported(["a.txt", file]) == ["a.txt", file, *(str(tmp_path / name) for name in imported)]


def test_code_that_is_no_python_and_data_count_byte_by_byte(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def f(:\n")
    (tmp_path / "data").write_text("1")
    first, files = {}, ["mine.py", "data", "no.py"]
    for text in ("def f(:\n", "def f(: # a comment\n"):
        (tmp_path / "mine.py").write_text(text)
        _forget()
        first[text] = content_digests(files)
    assert len({found["mine.py"] for found in first.values()}) == 2
    found = content_digests(files)
    assert found["data"] == file_digests(files)["data"] and found["no.py"] == "missing"


# ------------------------------------------------------------------------------------------ the package's own rooms
# Jobs that compute with a model, and others, and how many files they may depend on beside the engine's own and what
# reads the model's files.
SHARD_JOBS = {
    "marginalize": 39,
    "marginalize_elements": 40,
    "predict_baseline": 31,
    "attribute": 38,
    "apply_functions": 42,
}
OTHER_JOBS = {
    "collect_loci": 23,
    "list_inserts": 23,
    "summarize_batch": 23,
    "summarize_screen": 10,
    "merge_batches": 8,
    "summarize_elements": 28,
    "merge_attributions": 13,
    "merge_functions": 21,
    "call_seqlets": 12,
    "find_patterns": 11,
    "plot_screen": 21,
}


def _closure(*modules):
    _forget()
    return {str(path.relative_to(PACKAGE)) for path in import_closure(*modules)}


def _below(path):
    """The files of the package that a file names in its imports, also inside functions."""
    here, found = path.relative_to(PACKAGE).parent.parts, set()
    for level, name, names in provenance._imports(ast.parse(path.read_text(encoding="utf-8"))):
        if not level and name.partition(".")[0] != "marginome":
            continue
        inner = [*here[: len(here) - level + 1]] * bool(level) + name.removeprefix("marginome").strip(".").split(".")
        module = ".".join(filter(None, inner))
        for one in names or [""]:  # a module of that name, else a name in the package's own file
            files = (provenance._module_file(PACKAGE, ".".join(filter(None, [module, part]))) for part in (one, ""))
            found.add(next((file for file in files if file), None))
    return found - {None, path}


def test_no_file_imports_in_a_circle():
    """Each file imports what lies below it only: jobs the library, the engine's rules its plan, pages what is shown."""
    below = {path: _below(path) for path in PACKAGE.rglob("*.py")}
    engine = PACKAGE / "incremental"
    assert engine / "changes.py" in below[engine / "rules" / "shapes.py"]  # it sees imports, relative ones too
    assert PACKAGE / "motifs" / "reading.py" in below[PACKAGE / "motifs" / "collection.py"]
    assert engine / "__init__.py" in below[PACKAGE / "marginalization.py"]
    list(graphlib.TopologicalSorter(below).static_order())  # raises CycleError


@pytest.mark.parametrize("job", [*SHARD_JOBS])
def test_a_job_with_a_model_depends_on_no_other_kind_of_model_no_motif_reader_no_comparison_and_no_page(job):
    """A reader that is added, or a line of a comparison, must not cost hours of GPU."""
    found = _closure(f"jobs.{job}")
    rooms = (
        "models/loaders",
        "models/keras",
        "models/bpnet",
        "motifs/",
        "report/",
        "agreements.py",
        "nulls.py",
        "discoveries.py",
        "tables.py",
    )
    assert not [name for name in found if name.startswith(rooms)]
    with_bpnet = _closure(f"jobs.{job}", *reader_modules({"loader": "bpnet_lite"}))
    assert "models/bpnet.py" in with_bpnet and not [name for name in with_bpnet if name.startswith("models/keras")]
    with_keras = _closure(f"jobs.{job}", *reader_modules({"loader": "chrombpnet"}))
    assert {"models/keras/file.py", "models/keras/layers.py"} <= with_keras


@pytest.mark.parametrize("job", ["collect_motifs", "make_background"])
def test_a_job_that_takes_motifs_depends_on_the_readers_of_its_own_files(job, tmp_path):
    readers = {f"motifs/{module}.py" for module in {*formats.READERS.values(), "formats"}}
    assert not _closure(f"jobs.{job}") & readers
    (tmp_path / "any.txt").write_text(">a\n0.1 0.2 0.3 0.4\n")
    (tmp_path / "odd.txt").write_text("what is this?\n")
    for files, wanted in (("resources/motifs/JASPAR2026_CORE_vertebrates.meme", "meme"),
                          (str(tmp_path / "any.txt"), "blocks"), (str(tmp_path / "none.txt"), "formats"),
                          ({"file": str(tmp_path / "odd.txt"), "format": "tsv"}, "given")):  # fmt: skip
        settings = {"files": [files]}
        modules = formats.reader_modules(settings, formats.readers_of(settings))
        assert modules == (f"motifs.{wanted}",)
        if wanted != "formats":  # which recognises, by the words that the readers know
            assert _closure(f"jobs.{job}", *modules) & readers == {f"motifs/{wanted}.py"}
    assert formats.reader_modules({"jaspar": {"release": 2026}}, {}) == ("motifs.databases",)


@pytest.mark.parametrize("job", ["collect_motifs", "list_inserts"])
def test_what_every_shard_is_computed_from_does_not_depend_on_columns_of_later_tables(job):
    """A column that is added, or said otherwise, makes no list of inserts anew."""
    found = _closure(f"jobs.{job}")
    assert "list_tables.py" in found and not found & {"tables.py", "element_tables.py"}


@pytest.mark.parametrize("job", ["report_model", "report_background", "write_overview"])
def test_a_plain_page_depends_on_nothing_of_the_screens_page(job):
    found = _closure(f"jobs.{job}")
    assert "report/page.py" in found and not [name for name in found if name.startswith("report/screen")]
    assert "report/screen/writing.py" in _closure("jobs.report_screen")


@pytest.mark.parametrize(("job", "most"), [*SHARD_JOBS.items(), *OTHER_JOBS.items()])
def test_a_job_depends_on_few_files(job, most):
    found = [name for name in _closure(f"jobs.{job}") if not name.startswith(("incremental/", "attribution/"))]
    assert len(found) <= most, sorted(found)


def test_jobs_with_a_model_load_nothing_that_they_do_not_need():
    """All of them in one fresh process: what none of them loads, none loads alone."""
    imports = "".join(f"import marginome.jobs.{job}\n" for job in SHARD_JOBS)
    code = f"import sys\n{imports}print(*(m for m in sys.modules if m.startswith('marginome.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert {f"marginome.jobs.{job}" for job in SHARD_JOBS} < {*loaded}
    assert not [name for name in loaded if name.split(".")[1] in ("motifs", "report", "figures")]
    assert not [name for name in loaded if name.startswith(("marginome.models.keras", "marginome.models.bpnet"))]


def test_every_loader_has_a_module_that_loads():
    for module in {*LOADERS.values(), OWN}:
        reader = importlib.import_module(f"marginome.models.{module}")
        assert [*inspect.signature(reader.load).parameters] == ["file", "bias_file", "settings", "loader", "where"]


def test_what_reads_a_model_is_told_from_its_entry_or_its_file(tmp_path):
    assert reader_modules({"loader": "keras"}) == ("models.keras",)
    assert reader_modules({"loader": "mine.py:build"}) == ("models.own",)
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert reader_modules({"weights": str(tmp_path / "model.h5")}) == ("models.recognition", "models.keras")
    torch.save({"layer.weight": torch.zeros(1)}, tmp_path / "any.pt")  # a state dict of any architecture
    found = reader_modules({"weights": [str(tmp_path / "any.pt")]})
    assert {*found} == {f"models.{name}" for name in ("recognition", "bpnet", "beluga", "cherimoya", "exported", "own")}
    assert found == reader_modules({"weights": str(tmp_path / "missing.pt")})
    with tarfile.open(tmp_path / "folds.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "any.pt")
    packed = {"weights": [str(tmp_path / "folds.tar.gz")]}
    assert reader_modules(packed | {"loader": "chrombpnet"}) == ("models.archives", "models.keras")
    assert {*reader_modules(packed)} == {"models.archives", "models.keras", *found}  # which kind is in it takes long
    assert reader_modules(packed | {"loader": "mine.py:build"}) == ("models.own",)
    told = {"loader": "mine.py:build", "average_strands": [{"positions": 1}]}
    assert reader_modules(told) == ("models.strands", "models.own")


def test_no_module_takes_a_name_that_a_package_makes_when_asked():
    """Such an import is not seen by the digest: the module that holds the name is to be named."""
    lazy = {package.__name__: package._PUBLIC for package in (marginome, models, motifs, figures)}
    for path in PACKAGE.rglob("*.py"):
        for node in provenance._run(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in lazy:
                names = {alias.name for alias in node.names}
                assert not names & {*lazy[node.module], "models", "motifs", "figures"}, path


def test_an_installed_package_has_the_digests_of_the_checkout(tmp_path):
    """Results of both are the same: one must not compute anew what the other did."""
    source, target = tmp_path / "lib", tmp_path / "installed"
    shutil.copytree(PACKAGE.parent, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    build = "from setuptools import setup; setup()"
    done = subprocess.run([sys.executable, "-c", build, "build", "--build-lib", str(target)], cwd=source,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = sorted(f"jobs.{path.stem}" for path in (PACKAGE / "jobs").glob("[a-z]*.py"))
    code = f"from marginome.provenance import code_digest\nprint(*(code_digest(job) for job in {jobs}))"
    found = [
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(folder)},
                       capture_output=True, text=True, check=True).stdout
        for folder in (PACKAGE.parent, target)
    ]  # fmt: skip
    assert found[0] == found[1] and len({*found[0].split()}) == len(jobs)


@pytest.mark.parametrize(
    "job",
    [
        "make_background",
        "collect_motifs",
        "list_inserts",
        "plot_screen",
        "report_screen",
        "write_overview",
        "check_entries",
    ],
)
def test_what_has_no_model_in_it_does_not_depend_on_how_models_are_read(job):
    """An import is a reason to run again: an edit of a loader must not make the backgrounds anew."""
    assert not [str(path) for path in import_closure(f"jobs.{job}") if "models" in path.parts[-3:-1]]


def test_a_page_of_one_of_many_models_says_nothing_of_the_others():
    names = [f"m{i}" for i in range(3)]
    record = {
        "config": {
            "screen": {"s": {"models": names, "motifs": ["j"], "comparisons": {"c": {"first": names[:1]}}}},
            "models": {name: {"weights": f"{name}.pt"} for name in names},
            "motifs": {"j": {"files": ["j.meme"]}},
        },
        "input_sha256": {**{f"{name}.pt": name for name in names}, "shared.json": "s", "j.meme": "j"},
        "result_sha256": {"effects/a.parquet": "a", "effects/b.parquet": "b"},
        "shards": [{"file": "1.h5", "model": name} for name in names],
        "models": {name: {"input_digests": {f"{name}.pt": name, "shared.json": "s"}} for name in names},
        "command": "snakemake",
    }
    before = json.dumps(record)
    kept = narrowed(record, {"m1"}, {"effects/a.parquet"})
    assert json.dumps(record) == before
    assert kept == {
        "config": {
            "screen": {"s": {"models": ["m1"], "motifs": ["j"]}},
            "models": {"m1": {"weights": "m1.pt"}},
            "motifs": {"j": {"files": ["j.meme"]}},
        },
        "input_sha256": {"m1.pt": "m1", "shared.json": "s", "j.meme": "j"},
        "result_sha256": {"effects/a.parquet": "a"},
        "shards": [{"file": "1.h5", "model": "m1"}],
        "models": {"m1": {"input_digests": {"m1.pt": "m1", "shared.json": "s"}}},
        "command": "snakemake",
    }
    assert narrowed(record, ())["input_sha256"] == {"j.meme": "j"}
