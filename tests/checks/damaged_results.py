"""Damages every kind of our own result files at random and wants each damage noticed, in one line, by what reads it.

    python tests/checks/damaged_results.py --minutes 60 --seed 0

A try damages one file of a tiny set of results and reads it as a job does. Good: the reader gives what was written, or
one line that names the damaged file, which is gone (so that the next run makes it again), with every other file still
there. Bad: another value, an exception that is not for users, a process that dies or hangs. Of what is bad the least
damage is printed.

A file of an earlier version, without a digest, may give another value, and HDF5 itself may hang or die of it when it is
damaged; an exception that is not for users is bad there too.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "workflow" / "lib")]

import h5py  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

import damage  # noqa: E402
import seeds_in_turn  # noqa: E402
from marginome import provenance  # noqa: E402
from marginome.arrays import read_hdf5  # noqa: E402
from marginome.errors import MarginomeError  # noqa: E402
from marginome.fasta import count_sequences, read_background, read_some  # noqa: E402
from marginome.jobs.report_background import report_background  # noqa: E402
from marginome.report.parts import figure_html  # noqa: E402
from marginome.storage import read_json, read_table, table_metadata  # noqa: E402
from result_files import Results, files_below  # noqa: E402

HANG = 60  # seconds of processor time; ten times as many of the clock
BATCH = 300  # tries of a child process


# ------------------------------------------------------------------------------------------------ readers
def _arrays(path: Path) -> Any:
    found: dict[str, Any] = {}

    def keep(name: str, item: Any) -> None:
        attributes = {key: np.asarray(value).tolist() for key, value in item.attrs.items()}
        values = (str(item.dtype), item.shape, item[...].tolist()) if isinstance(item, h5py.Dataset) else None
        found[name] = (attributes, values)

    with read_hdf5(path) as handle:
        keep("", handle)
        handle.visititems(keep)
    return found


def _table(path: Path) -> Any:
    return read_table(path).to_dict("list"), table_metadata(path)


def _sequences(path: Path) -> Any:
    return read_background(path), list(read_some(path, 0, 2)), count_sequences(path)


def _tsv(path: Path) -> Any:
    page = path.with_name("page.html")
    try:
        report_background("x", checks=path.with_name("set.json"), tsv=path, figure=path.with_name("set.svg"), page=page)
        return page.read_bytes()
    finally:
        page.unlink(missing_ok=True)


READERS: dict[str, Callable[[Path], Any]] = {
    ".h5": _arrays, ".parquet": _table, ".json": read_json, ".gz": _sequences, ".tsv": _tsv,
    ".svg": partial(figure_html, caption="x"),
}  # fmt: skip


ALONE = tuple(READERS.values())


class Kind(NamedTuple):
    """A file of the set, how it is read, and what may be said of it."""

    file: str
    read: Callable[[Path], Any]
    sealed: bool = True
    removed: bool = True


OF_A_BATCH = ("effects.parquet", "effects.h5", "profiles.h5", "failed.json")
OUTPUTS = {
    "merge_batches": ("effects.parquet", "effects.h5", "profiles.h5", "consensus.parquet", "manifest.parquet"),
    "summarize": ("effects.parquet", "effects.h5", "profiles.h5", "consensus.parquet", "manifest.parquet"),
    "merge_functions": ("functions.h5",),
    "merge_attributions": ("attributions.h5",),
}


def _kinds(results: Results) -> list[Kind]:
    """Every file that jobs read, alone and through the job that merges it; caches; files of an earlier version."""
    skipped = ("effects.tsv.gz", "report.html", "set.bed", "toy.py")  # no job reads them
    files = [file for file in files_below(results.folder) if file not in skipped and Path(file).suffix in READERS]
    alone = [Kind(file, READERS[Path(file).suffix]) for file in files if not file.startswith("old/")]
    old = [Kind(file, READERS[Path(file).suffix], sealed=False) for file in files if file.startswith("old/")]
    caches = [Kind("cache/digests", provenance._kept, removed=False)]

    def job(name: str, file: str) -> Callable[[Path], Any]:
        def run(path: Path) -> Any:
            made = object.__new__(Results)
            made.__dict__.update(results.__dict__, folder=path.parents[len(Path(file).parts) - 1])
            getattr(made, name)()
            return [READERS[Path(output).suffix](made.at(output)) for output in OUTPUTS[name]]

        return run

    merged = []
    for name, inputs in (
        ("summarize", ["inserts.parquet", "families.parquet", "baseline.h5", *_two("shards")]),
        ("merge_batches", [f"batch/{name}" for name in OF_A_BATCH]),
        ("merge_functions", ["functions/before.h5", *_two("functions"), "inserts.parquet"]),
        ("merge_attributions", [*_two("attributions"), "set.fa.gz"]),
    ):
        for file in inputs:
            merged.append(Kind(file, job(name, file)))
    return [*alone * 12, *old * 6, *caches * 12, *merged]


def _two(folder: str) -> list[str]:
    return [f"{folder}/{i}-of-2.h5" for i in (1, 2)]


# ------------------------------------------------------------------------------------------------ damages
def _structure(path: Path, rng: random.Random) -> str:
    """Drop, rename or change one thing of an HDF5 file, as a program would that knows the format."""
    with h5py.File(path, "a") as handle:
        names: list[str] = [""]
        handle.visit(names.append)
        item = handle[f"/{rng.choice(names)}"]
        attributes = list(item.attrs)
        if attributes and rng.random() < 0.6:
            name = rng.choice(attributes)
            del item.attrs[name]
            return f"attribute {name} of {item.name} dropped"
        if item.name == "/":
            item.attrs["more"] = 1
            return "an attribute added"
        if isinstance(item, h5py.Dataset) and rng.random() < 0.5 and item.size and item.dtype.kind in "if":
            values = item[...]
            values.reshape(-1)[rng.randrange(values.size)] += 1
            item[...] = values
            return f"a value of {item.name} changed"
        where, name = item.parent, item.name
        if rng.random() < 0.5:
            where.move(name, f"{name}_")
            return f"{name} renamed"
        del where[name]
        return f"{name} dropped"


class Damage(NamedTuple):
    """What is done to a file: one thing of its structure, another shard in its place, or edits of its bytes."""

    kind: Kind
    seed: int
    way: str
    edits: tuple[damage.Edit, ...] = ()

    def done(self, path: Path) -> str:
        """Damage a file and say how."""
        if self.way == "structure":
            return _structure(path, random.Random(self.seed))
        if self.way == "other shard":
            other = path.with_name(path.name.replace("1-of", "x-of").replace("2-of", "1-of").replace("x-of", "2-of"))
            shutil.copy(other, path)
            return "the other shard in its place"
        content = path.read_bytes()
        path.write_bytes(damage.edited(content, self.edits))
        return damage.shown(self.edits, len(content))

    def less(self) -> Iterator[Damage]:
        """Yield what is a little less."""
        for edits in damage.less(self.edits):
            yield self._replace(edits=tuple(edits))


def draw(seed: int, kinds: list[Kind], original: Path) -> Damage:
    """Return the damage of a seed."""
    rng = random.Random(seed)
    kind = rng.choice(kinds)
    if kind.file.endswith(".h5") and rng.random() < 0.2:
        return Damage(kind, seed, "structure")
    if kind.read not in ALONE and kind.file.endswith("-of-2.h5") and rng.random() < 0.1:
        return Damage(kind, seed, "other shard")
    # one damage: of several, one may take away the digest, and what is left is as a file of an earlier version
    return Damage(kind, seed, "bytes", tuple(damage.draw((original / kind.file).read_bytes(), rng, most=1)))


# ------------------------------------------------------------------------------------------------ tries
def prepare(results: Results) -> None:
    """Make everything, the caches, and copies as an earlier version wrote them."""
    folder = results.folder
    results.screen()
    results.functions()
    results.attributions(results.targets[0])
    results.page()
    (folder / "cache").mkdir()
    provenance._keep(folder / "cache/digests", {"a": [1, 2, "0" * 64], "b": [3, 4, "1" * 64]})
    (folder / "old").mkdir()
    for file in ("shards/1-of-2.h5", "profiles.h5", "attributions.h5", "effects.parquet", "check.json"):
        source, target = folder / file, folder / "old" / Path(file).name
        if file.endswith(".h5"):
            with h5py.File(source) as before, h5py.File(target, "w") as after:
                for name in before:
                    before.copy(name, after)
                after.attrs.update({key: value for key, value in before.attrs.items() if key != "digest"})
        elif file.endswith(".parquet"):
            pq.write_table(pq.read_table(source).replace_schema_metadata(None), target)
        else:
            target.write_text(json.dumps(read_json(source)))
    with gzip.open(folder / "effects.tsv.gz", "rt") as handle:  # nothing of ours reads it: it is readable once
        assert len(pd.read_csv(handle, sep="\t")) == len(read_table(folder / "effects.parquet"))


def _try(drawn: Damage, original: Path, work: Path, wanted: dict) -> tuple[str, str]:
    """Do one try; return what came of it and how the file was damaged."""
    kind = drawn.kind
    path = work / kind.file
    said = drawn.done(path)
    same = path.exists() and path.read_bytes() == (original / kind.file).read_bytes()
    before = set(files_below(work))
    key = (kind.file, kind.read)
    if key not in wanted:
        whole = _whole(original)
        wanted[key] = _text(kind.read(whole / kind.file), whole)
    try:
        found = kind.read(path)
    except MarginomeError as error:
        gone = before - set(files_below(work))
        if same:
            return "refused although it is as written", said
        if "\n" in str(error) or path.name not in str(error):
            return f"said in other words: {error}", said
        if kind.removed and gone != {kind.file}:
            return f"removed: {sorted(gone)}", said
        return "noticed", said
    except Exception as error:
        return f"{type(error).__name__}: {error}", said
    if _text(found, work) == wanted[key]:
        return "the same", said
    if not kind.sealed or (not kind.removed and found == {}):
        return "without a digest" if not kind.sealed else "noticed", said
    return "another value", said


def _text(value: Any, folder: Path) -> str:
    return re.sub(rf"{re.escape(str(folder.parent))}/\w+", "<folder>", repr(value))  # records name their inputs


def _whole(original: Path) -> Path:
    """An undamaged copy of all files: jobs write beside what they read."""
    copy = original.with_name("whole")
    if not copy.exists():
        shutil.copytree(original, copy)
    return copy


GOOD = ("noticed", "the same", "without a digest")


def _is_good(outcome: str) -> bool:
    return outcome in GOOD or outcome.startswith(f"{GOOD[-1]}: ended")


def run(
    results: Results, seed: int, *, tries: int | None = None, minutes: float = 60, tell: bool = True
) -> tuple[Counter, list[str]]:
    """Do tries on prepared results, in child processes, which HDF5 may take down.

    Returns
    -------
    counts : Counter
        How many tries ended how.
    bad : list of str
        The tries that should have ended otherwise.
    """
    kinds, original = _kinds(results), results.folder
    counts: Counter[str] = Counter()
    bad: list[str] = []
    started, first = time.monotonic(), seed
    stop = sys.maxsize if tries is None else seed + tries
    while first < stop and time.monotonic() - started < 60 * minutes and len(bad) < seeds_in_turn.FAILURES:
        last = min(first + BATCH, stop)
        for number, outcome, said in _in_child((draw(i, kinds, original) for i in range(first, last)), original):
            counts[outcome if _is_good(outcome) else "BAD"] += 1
            first = number + 1
            if not _is_good(outcome) and len(bad) < seeds_in_turn.FAILURES:
                least = _least(draw(number, kinds, original), original)
                bad.append(f"seed {number}: {least}\n  found as {said}: {outcome}")
        if tell:
            rate = (first - seed) / (time.monotonic() - started)
            print(f"{first - seed:,} tries, {rate:.0f}/s: {dict(counts)}", *bad[-1:], flush=True)
    return counts, bad


def _least(drawn: Damage, original: Path) -> str:
    """Show the least damage of those that fail."""

    def fault(tried: Damage) -> str:
        [(_, outcome, said)] = _in_child([tried], original)
        return "" if _is_good(outcome) else f"{tried.kind.file}, {said}: {outcome}"

    return seeds_in_turn.smallest(drawn, Damage.less, fault)[1]


def _in_child(drawn: Iterable[Damage], original: Path) -> list[tuple[int, str, str]]:
    """Do tries in a child process; return (seed, outcome, how it was damaged), up to one of which the child dies."""
    found: list[tuple[int, str, str]] = []
    current = (-1, "")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(drawn, original, writer)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as lines:
        for line in lines:
            number, outcome, said = json.loads(line)
            current = (number, said)
            if outcome is not None:
                found.append((number, outcome, said))
    _, status = os.waitpid(child, 0)
    if status:
        died = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"code {os.WEXITSTATUS(status)}"
        old = current[1].startswith("old/")  # HDF5 itself, which is never given a damaged file that has a digest
        found.append((current[0], f"{f'{GOOD[-1]}:' if old else 'the process'} ended with {died}", current[1]))
    return found


def _child(tries: Iterable[Damage], original: Path, pipe: int) -> None:
    def tell(*values: Any) -> None:
        os.write(pipe, (json.dumps(values) + "\n").encode())

    code, wanted = 1, {}
    np.set_printoptions(threshold=sys.maxsize)
    try:
        work = Path(tempfile.mkdtemp(dir=original.parent))
        shutil.copytree(original, work, dirs_exist_ok=True)
        whole = files_below(work)
        for drawn in tries:
            kind = drawn.kind
            tell(drawn.seed, None, kind.file)
            signal.setitimer(signal.ITIMER_PROF, HANG)
            signal.alarm(10 * HANG)
            outcome, said = _try(drawn, original, work, wanted)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            tell(drawn.seed, outcome, f"{kind.file}, {said}")
            for file, raw in whole.items():  # as it was, for the next one
                path = work / file
                if not path.exists() or path.stat().st_size != len(raw) or path.read_bytes() != raw:
                    path.write_bytes(raw)
        shutil.rmtree(work)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> int:
    given = seeds_in_turn.options(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        results = Results(Path(folder) / "original")
        prepare(results)
        counts, bad = run(results, given.seed, tries=given.tries, minutes=given.minutes)
    for line in bad:
        print(line)
    print(f"{counts.total():,} tries: {dict(counts)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
