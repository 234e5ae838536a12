"""HDF5 files of users: only what lies in the file is read, in a child that may die, hang or run out of memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from marginome import MarginomeError, hdf5_reader, read_motifs
from marginome.hdf5 import Contents, Request, read_foreign_hdf5, read_many
from marginome.models import load_model
from marginome.models.arguments import Argument
from marginome.models.headers import reader_modules
from marginome.provenance import import_closure

DATA = Path(__file__).parents[1] / "data"
BIAS = "model_weights/profile_predictions/profile_predictions/bias:0"


def other_file(tmp_path) -> str:
    """A file beside, with values of other weights, motifs and tracks."""
    path = tmp_path / "other.h5"
    if not path.exists():
        with h5py.File(path, "w") as handle:
            handle["values"] = np.full(2, 99.0, np.float32)
            handle["matrix"] = np.full((50, 4), 0.25)
            handle["track"] = np.ones((2, 2, 5), np.float32)
    (tmp_path / "other.raw").write_bytes(bytes(10_000))
    return str(path)


def external_link(handle, name, other, source):
    handle[name] = h5py.ExternalLink(other, source)


def external_storage(handle, name, other, source):
    with h5py.File(other) as file:
        shape = file[source].shape
    raw = [(other.replace(".h5", ".raw"), 0, h5py.h5f.UNLIMITED)]
    handle.create_dataset(name, shape, np.float32, external=raw)


def virtual(handle, name, other, source):
    with h5py.File(other) as file:
        layout = h5py.VirtualLayout(file[source].shape, np.float32)
        layout[...] = h5py.VirtualSource(file[source])
    handle.create_virtual_dataset(name, layout)


def soft_link(handle, name, other, source):
    handle["mount"] = h5py.ExternalLink(other, "/")
    handle[name] = h5py.SoftLink(f"/mount/{source}")


def references(handle, name, other, source):
    handle.create_dataset(name, data=np.array([handle.ref, handle.ref], dtype=object), dtype=h5py.ref_dtype)


WAYS = {
    external_link: "is an external link",
    external_storage: r"keeps its values in another file (external storage)",
    virtual: "is a virtual dataset",
    soft_link: "link",
    references: "holds references",
}


def test_files_that_lead_into_others_are_refused(tmp_path):
    other, requests = other_file(tmp_path), []
    for lead_out in WAYS:
        requests.append(Request(str(tmp_path / f"{lead_out.__name__}.h5")))
        with h5py.File(requests[-1].path, "w") as handle:
            lead_out(handle, "group/values", other, "values")
    for found, message in zip(read_many(requests), WAYS.values(), strict=True):
        assert message in str(found) and "only what lies in the file itself is read" in str(found)


def test_weights_motifs_and_tracks_from_another_file_are_refused(tmp_path):
    """The content of such a file changes under an unchanged checksum."""
    other, path = other_file(tmp_path), tmp_path / "given.h5"

    def refused(read):
        with pytest.raises(MarginomeError, match="is an external link") as caught:
            read()
        assert "given.h5" in str(caught.value) and "\n" not in str(caught.value)

    shutil.copy(DATA / "keras2/bpnet.h5", path)
    with h5py.File(path, "r+") as handle:
        del handle[BIAS]
        external_link(handle, BIAS, other, "values")
    refused(lambda: load_model("bpnet", {"weights": str(path)}))

    shutil.copy(DATA / "motifs/modisco.h5", path)
    with h5py.File(path, "r+") as handle:
        del handle["pos_patterns/pattern_0/sequence"]
        external_link(handle, "pos_patterns/pattern_0/sequence", other, "matrix")
    refused(lambda: read_motifs(path))

    with h5py.File(path, "w") as handle:
        handle["background_id"] = ["a", "b"]
        external_link(handle, "track", other, "track")
    track = Argument("track", (2, 5), "hdf5", files=(str(path),), dataset="track")
    refused(lambda: track.values(["b"]))


def test_references_in_attributes_and_groups_in_circles_are_refused(tmp_path):
    with h5py.File(tmp_path / "reference.h5", "w") as handle:
        handle.attrs["elsewhere"] = handle.ref
    with h5py.File(tmp_path / "circle.h5", "w") as handle:
        handle.create_group("a")["up"] = handle["/"]
    found = read_many([Request(str(tmp_path / name)) for name in ("reference.h5", "circle.h5")])
    assert "the attribute 'elsewhere' of '/' holds references" in str(found[0])
    assert "is a group that another path leads to as well" in str(found[1])


def test_what_comes_back_is_what_is_in_the_file(tmp_path):
    path = str(tmp_path / "plain.h5")
    with h5py.File(path, "w") as handle:
        handle["a/numbers"] = np.arange(12.0).reshape(4, 3)
        handle["a/words"] = ["TATA", "GC-box"]
        handle["a/flags"] = np.array([True, False])
        handle["zero"] = np.float32(2.5)
        handle.attrs.update({"text": "é", "list": ["x", "y"], "number": 3, "empty": h5py.Empty("f")})
        handle["a"].attrs["bytes"] = np.array([b"p/q:0", b"r"])
    found = read_foreign_hdf5(Request(path, rows={"a/numbers": [1, 3]}))
    assert found.attributes == {"": {"text": "é", "list": ["x", "y"], "number": 3, "empty": None},
                                "a": {"bytes": ["p/q:0", "r"]}}  # fmt: skip
    np.testing.assert_array_equal(found.arrays["a/numbers"], [[3, 4, 5], [9, 10, 11]])
    assert found.arrays["a/words"].tolist() == ["TATA", "GC-box"] and found.arrays["zero"] == np.float32(2.5)
    assert found.arrays["a/flags"].tolist() == [True, False]
    assert found.shapes["a/numbers"] == (4, 3) and found.names() == ["a", "zero"] and "words" in found.names("a")
    assert list(read_foreign_hdf5(Request(path, "a/[nw].*")).arrays) == ["a/numbers", "a/words"]
    with h5py.File(path, "w") as handle:
        handle["phases"] = np.ones(3, np.complex64)
    with pytest.raises(
        MarginomeError, match="'phases' holds values of the type complex64; wanted real numbers or text"
    ):
        read_foreign_hdf5(Request(path))
    with pytest.raises(MarginomeError, match="there is no such file"):
        read_foreign_hdf5(Request(f"{path}x"))


def test_a_few_bytes_that_say_they_are_gigabytes(tmp_path):
    """Neither this process nor the child takes the memory that a file asks for."""
    with h5py.File(tmp_path / "unwritten.h5", "w") as handle:
        handle.create_dataset("zeros", (2**33,), np.float32, chunks=(2**20,))
    with h5py.File(tmp_path / "packed.h5", "w") as handle:
        zeros = handle.create_dataset("zeros", (2**25,), np.float32, chunks=(2**22,), compression="gzip")
        zeros[:] = 0
    with h5py.File(tmp_path / "chunk.h5", "w") as handle:
        handle.create_dataset("one", (2**9,), np.float32, chunks=(2**9,), maxshape=(None,), compression="gzip")
        handle["one"][:] = 0
    # in a process of its own: what counts is the largest child that a process ever had
    read = f"""
import resource
from marginome.hdf5 import Request, read_many
peak = lambda who: resource.getrusage(who).ru_maxrss
before = peak(resource.RUSAGE_SELF)
for found in read_many([Request({str(tmp_path)!r} + f"/{{name}}.h5") for name in ("unwritten", "packed")]):
    print(found)
print(peak(resource.RUSAGE_SELF) - before, peak(resource.RUSAGE_CHILDREN))
"""
    *found, peaks = subprocess.run(
        [sys.executable, "-c", read], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert len(found) == 2
    assert all("it says that it holds more values than a file of its size may have" in line for line in found)
    here, child = map(int, peaks.split())  # kB
    assert here < 50_000 and child < 2_000_000
    assert isinstance(read_many([Request(str(tmp_path / "chunk.h5"))])[0], Contents)


@pytest.mark.parametrize(
    ("file", "place", "byte", "what"),
    [("keras2/chrombpnet.h5", 857, 167, "SIGSEGV"), ("keras3/open_length2.h5", 15048, 244, "not come to an end")],
)
def test_a_byte_that_ends_the_hdf5_library_or_never_lets_it_end(tmp_path, file, place, byte, what):
    content = bytearray((DATA / file).read_bytes())
    content[place] = byte
    path = tmp_path / "damaged.h5"
    path.write_bytes(content)
    bad, good = read_many([Request(str(path), seconds=1), Request(str(DATA / file))])
    assert isinstance(good, Contents)  # the child lives on
    assert "damaged, cut short" in str(bad) and what in str(bad) and "damaged.h5" in str(bad)


@pytest.mark.parametrize(("how", "what"), [
    ("os.kill(os.getpid(), 11)", "SIGSEGV"), ("os.abort()", "SIGABRT"), ("np.ones(2**36)", "more memory"),
])  # fmt: skip
def test_a_reader_that_dies_is_one_line(tmp_path, monkeypatch, how, what):
    """Whatever the library does in another version."""
    script = tmp_path / "reader.py"
    script.write_text(
        f"import os, sys\nsys.path.insert(0, {str(Path(hdf5_reader.__file__).parent)!r})\n"
        "import numpy as np, hdf5_reader\n"
        f"hdf5_reader._save = lambda *_: {how}\nhdf5_reader.main()\n"
    )
    monkeypatch.setattr(hdf5_reader, "__file__", str(script))
    with pytest.raises(MarginomeError, match=what) as caught:
        load_model("bpnet", {"weights": str(DATA / "keras2/bpnet.h5")})
    assert "bpnet.h5" in str(caught.value)


def test_the_child_loads_neither_pytorch_nor_this_package():
    """So it starts in 0.2 s."""
    import subprocess

    code = "import runpy, sys, json; runpy.run_path(sys.argv[1]); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, hdf5_reader.__file__], capture_output=True, text=True, check=True
    )
    modules = json.loads(done.stdout)
    assert "h5py" in modules and not {"torch", "pandas", "marginome"} & set(modules)
    readers = reader_modules({"weights": str(Path(__file__).parents[1] / "data" / "keras2" / "bpnet.h5")})
    assert Path(hdf5_reader.__file__) in import_closure(*readers)  # an edit of it makes results anew
