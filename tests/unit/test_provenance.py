"""Digests: what changes them and what does not."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from marginome import provenance
from marginome.provenance import code_digest, file_digests, import_closure, versions


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


def test_sources_are_remembered_and_changes_noticed(tmp_path, monkeypatch):
    package = _copy_package(tmp_path, monkeypatch)
    first = _digest()
    assert provenance.SOURCES.is_file()
    with monkeypatch.context() as patched:
        patched.setattr(provenance.ast, "parse", lambda text: 1 / 0)
        assert _digest() == first  # no file was parsed again
    text = (package / "b.py").read_text()
    (package / "b.py").write_text(text.replace("return sub", "return 1"))
    assert _digest() != first
    (package / "b.py").write_text(text)
    assert _digest() == first
    kept = json.loads(provenance.SOURCES.read_text())
    kept["made_by"][1] = "another version of provenance.py"
    kept["files"] = {path: [*entry[:3], "wrong"] for path, entry in kept["files"].items()}
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


@pytest.mark.parametrize("job", ["backgrounds", "motifs", "inserts", "figures", "report", "entries"])
def test_what_has_no_model_in_it_does_not_depend_on_how_models_are_read(job):
    """An import is a reason to run again: an edit of a loader must not make the backgrounds anew."""
    assert not [str(path) for path in import_closure(f"jobs.{job}") if "models" in path.parts[-3:-1]]
