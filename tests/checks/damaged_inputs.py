"""Damage users' files at random: each is read, or refused in one message that names it; never a traceback or a crash.

``python tests/checks/damaged_inputs.py --minutes 60 --seed 0`` mutates real region, motif, FASTA
bigWig and TF-MoDISco files: bits, bytes, lines, columns, encodings, huge numbers, thousands of columns, cuts. For a
change that leaves a file what it is (line ends, encoding, blank lines, comments, packing) the content must come out the
same; for any text, what is read, skipped and refused must add up to the rows that are there. Prints the smallest input
that fails, and exits with 1.
"""

from __future__ import annotations

import collections
import gzip
import multiprocessing
import random
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "lib"))

import numpy as np  # noqa: E402
from Bio import bgzf  # noqa: E402

import damage  # noqa: E402
import seeds_in_turn  # noqa: E402
from marginome.errors import MarginomeError  # noqa: E402
from marginome.fasta import Genome, read_fasta  # noqa: E402
from marginome.gc_matching import _Signal  # noqa: E402
from marginome.intervals import place_regions  # noqa: E402
from marginome.motifs import FORMATS, Motif, read_motifs  # noqa: E402
from marginome.motifs.formats import read_file  # noqa: E402
from marginome.regions import read_regions  # noqa: E402
from marginome.scanning import scan_windows  # noqa: E402

MOTIFS, REGIONS = ROOT / "tests" / "data" / "motifs", ROOT / "tests" / "data" / "regions"
SECONDS = 30  # of one try
LARGEST = 5_000_000  # bytes of a damaged file
MEGABYTES = 1500  # that a try may add
BATCH = 250  # tries of one process
NAMES = {"bgzip": "x.fa.gz", "fasta": "x.fa", "regions": "x.bed", "bigwig": "x.bw"}

TOKENS = [
    b"MOTIF",
    b"MOTIF x",
    b">",
    b">a b\tc\t5",
    b"//",
    b"XX",
    b"P0 A C G T",
    b"Pos A C G T",
    b"PO",
    b"DE a",
    b"XL",
    b"nan",
    b"inf",
    b"-1",
    b"1e400",
    b"1e5",
    b"1e+05",
    b"0",
    b"0.25",
    b"letter-probability matrix: alength= 4 w= 3",
    b"w=",
    b"alength= x",
    b"ALPHABET= ACDE",
    b"A [",
    b"A:",
    b"]",
    b'"',
    b"'",
    b"\t",
    b"\r",
    b"\x00",
    b"\xff\xfe",
    b"\xe9",
    b"NNNN",
    b"ACGT",
    b"#",
    b"\n\n\n",
    b"chr1",
    b"track",
    b"browser\t1\t2",
    b"start",
    b"seqnames\tstart\tend\twidth",
    b"##fileformat=VCF",
    b"@SQ\t",
    b"99999999999999999999",
    b"9" * 5000,
    b"-99999999999999",
    b"\xd9\xa1\xd9\xa2",
    b" " * 3000,
    b"1 " * 5000,
    b"1\t" * 5000,
    b"A" * 20000,
    b"\x1f\x8b",
]


# ------------------------------------------------------------------------------------------------ the files
def originals() -> list[tuple[str, bytes]]:
    """Return (kind, content) of the files that are damaged."""
    peaks = gzip.decompress((ROOT / "resources/peaks/hg19_chr20_piece_K562_CTCF.narrowPeak.gz").read_bytes())
    found = [("regions", path.read_bytes()) for path in sorted(REGIONS.iterdir()) if path.suffix != ".md"]
    found += [
        ("regions", peaks),
        ("regions", b"\n".join(b"\t".join(line.split(b"\t")[:9]) for line in peaks.splitlines())),  # broadPeak
        ("regions", b"track name=x\nbrowser position chr1\n" + b"chr1\t1\t20\tname\t0\t+\n" * 3 + b"chr2\t0\t4\n"),
        ("regions", b'"seqnames" "start" "end" "width" "strand"\n"1" "chr1" 101 200 100 "*"\n"2" "chr2" 5 9 5 "+"\n'),
        ("regions", b"chr1\thavana\tgene\t11\t14\t.\t+\t.\tID=x\n"),
        ("regions", b"##fileformat=VCF4.2\n#CHROM\tPOS\tID\tREF\tALT\nchr1\t5\t.\tA\tC\n"),
    ]
    found += [("motifs", path.read_bytes()) for path in sorted(MOTIFS.iterdir()) if path.suffix not in (".md", ".h5")]
    jaspar = (ROOT / "resources/motifs/JASPAR2026_CORE_vertebrates.meme").read_bytes()
    found += [
        ("motifs", jaspar[:4000]),
        ("motifs", b"one\tACGT\ntwo\tRYN\n"),
        ("motifs", b"TGACTCA\tFOS\nCACGTG\tMYC\n"),
        ("motifs", b"motif_id\tmotif_name\tsequence\nx\ty\tACGT\n"),
        ("motifs", b">a\nACGT\n>b c\nNNA\n"),
        ("motifs", b"DE\tone\tfamily\n0\t1\t2\t3\t4\tT\n1\t9\t0\t0\t0\tA\nXX\nDE\ttwo\n0\t1\t2\t3\t4\tT\nXX\n"),
        ("motifs", b"Protein: Foo\tSeed k-mer: AC\nA:\t.1\t.2\nC:\t.2\t.2\nG:\t.3\t.3\nT:\t.4\t.3\n"),
    ]
    found += [("fasta", b">chr1 first\n" + b"ACGTNacgt\n" * 4 + b"AC\n>chr2\nACGT\n")] * 4
    # each HDF5 file costs two processes and each bigWig one, as long as a hundred others
    rare = [("modisco", (MOTIFS / "modisco.h5").read_bytes()), ("bigwig", _bigwig())]
    return found * 3 + rare + [("bgzip", _bgzip())] * 6


def _bigwig() -> bytes:
    import pyBigWig

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/x.bw"
        with pyBigWig.open(path, "w") as handle:
            handle.addHeader([("chr1", 5000), ("chr2", 300)])
            handle.addEntries(["chr1"] * 200, list(range(0, 4000, 20)), list(range(10, 4010, 20)),
                              np.random.default_rng(0).random(200).tolist())  # fmt: skip
            handle.addEntries(["chr2"], [0], [300], [1.0])
        return Path(path).read_bytes()


def _bgzip() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        with bgzf.BgzfWriter(f"{folder}/x.fa.gz", "wb") as handle:
            handle.write(b">chr1\n" + b"ACGTNacgtA\n" * 400 + b">chr2\nACGT\n")
        return Path(f"{folder}/x.fa.gz").read_bytes()


# ------------------------------------------------------------------------------------------------ the damage
def damaged(content: bytes, rng: random.Random, *, text: bool) -> bytes:
    """Damage a file in one to four ways."""
    for _ in range(rng.randint(1, 4)):
        content = (_damage_text if text and rng.random() < 0.7 else _damage_bytes)(content, rng)[:LARGEST]
    return content


def _damage_bytes(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return content
    way, at = rng.randrange(6), rng.randrange(len(content))
    if way == 0:
        return content[:at] + rng.choice(TOKENS) + content[at:]
    if way == 1:
        packed = gzip.compress(content, 1)
        return packed[: rng.choice([len(packed), rng.randrange(len(packed))])]
    return damage.damaged(content, rng)


def _damage_text(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    separator = b"\t" if b"\t" in lines[at] else b" "
    words = lines[at].split(separator)
    word = rng.randrange(len(words))
    way = rng.randrange(10)
    if way == 0:
        del lines[at]
    elif way == 1:
        lines.insert(other, lines[at])
    elif way == 2:
        lines[at], lines[other] = lines[other], lines[at]
    elif way == 3:
        lines.insert(at, rng.choice(TOKENS))
    elif way == 4:
        words[word] = rng.choice(TOKENS)
        lines[at] = separator.join(words)
    elif way == 5:
        del words[word]
        lines[at] = separator.join(words)
    elif way == 6:  # a column is lost in all lines
        lines = [separator.join(w for i, w in enumerate(line.split(separator)) if i != word) for line in lines]
    elif way == 7:
        lines[at] = lines[at].replace(b" ", b"\t").lower()
    elif way == 8:
        lines[at] = lines[at].replace(b"\t", b" ").upper()
    else:
        lines[at] = separator.join(words * rng.choice([2, 1000]))
    return b"\n".join(lines)


def rewritten(content: bytes, kind: str, rng: random.Random) -> bytes:
    """Change how a file is written, not what it says."""
    text = content.decode("latin-1")
    if kind == "regions" and rng.random() < 0.5:
        first, _, rest = text.partition("\n")
        text = f"{first}\n\n# a comment\n{rest}" if not first.startswith("#") else text
    text = text.replace("\n", rng.choice(["\n", "\r\n", "\r"]))
    encoded = text.encode(rng.choice(["utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    return gzip.compress(encoded, 1) if rng.random() < 0.3 else encoded


# ------------------------------------------------------------------------------------------------ the readers
def rows_of(content: bytes) -> int | None:
    """Count the rows of a region file by a rule of its own; None where the text cannot be taken for granted."""
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        return None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    rows = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    if '"' in text or any(word in text.lower() for word in ("track", "browser", "start", "begin")):
        return None
    return len(rows)


def summary(kind: str, path: Path, form: str = "auto") -> object:
    """Read a file in every way that the library does; return what must not depend on how it is written."""
    if kind == "regions":
        table = read_regions(path, odd_rows="skip")
        rows = rows_of(path.read_bytes())
        total = len(table) + table.attrs["odd_rows"]
        assert rows is None or total == rows, f"{len(table)} read + {table.attrs['odd_rows']} skipped, {rows} rows"
        assert (table["start"] >= 0).all() and (table["start"] < table["end"]).all()
        at = table["summit"]
        assert ((at == -1) | ((at >= table["start"]) & (at < table["end"]))).all()
        try:
            strict = read_regions(path)
        except MarginomeError as error:
            assert table.attrs["odd_rows"], f"refused without an odd row: {error}"
        else:
            assert strict.equals(table) and not table.attrs["odd_rows"]
        try:
            place_regions(table, 10, {"chr1": 500, "chr2": 4}, unknown_contigs="drop", where=str(path))
        except MarginomeError as error:
            explained(error, path)
        return table.drop(columns="line").to_dict("list")
    if kind in ("motifs", "modisco"):
        found = read_file(path, form=form)
        motifs = read_motifs(path, format=form, odd_motifs="skip")
        good = [motif for motif in found if isinstance(motif, Motif)]
        assert len(motifs) == len(good) and len({m.motif_id for m in motifs}) == len(motifs)
        for odd in found:
            if not isinstance(odd, Motif):
                explained(odd.error, path)
        for motif in motifs:
            assert motif.motif_id and motif.pwm.shape == (motif.width, 4)
            assert np.isfinite(motif.pwm).all() and np.allclose(motif.pwm.sum(1), 1)
        return [(m.motif_id, m.motif_name, m.pwm.tolist()) for m in motifs], len(found)
    if kind == "bigwig":
        with Genome(path.with_name("genome.fa")) as genome:
            settings, windows = (
                {"bigwigs": [path], "max_fraction": 0.5},
                [("chr1", i, i + 300) for i in range(0, 3000, 100)],
            )
            found = _Signal(settings, windows, genome, "signal")
            return found.limit, [found.total("chr1", start, start + 500) for start in range(0, 4500, 250)]
    return _sequences(kind, path)


def _sequences(kind: str, path: Path) -> object:
    found = []
    for reader in (read_fasta, Genome, lambda file: list(scan_windows(file, 4, 2))):
        try:
            result = reader(path)
            if reader is Genome:
                with result as genome:
                    found.append([genome.fetch(name, 0, size) for name, size in genome.contigs.items() if size])
            elif reader is read_fasta:
                found.append(result)
        except MarginomeError as error:
            explained(error, path)
            found.append(None)
    if found == [None, None]:
        raise MarginomeError("all readers refused it", where=str(path))
    return found[:1] if kind == "fasta" else found


def explained(error: MarginomeError, path: Path) -> None:
    """Check that a refusal is one message that names the file."""
    message = str(error)
    assert str(path) in message, f"the file is not named: {message[:500]}"
    assert error.what and len(message) < 3000 and "Traceback" not in message, message[:500]


def attempt(kind: str, content: bytes, folder: Path, form: str = "auto", expected: object = None) -> str:
    """Return "read" or "refused", or raise what the readers should not have."""
    path = folder / NAMES.get(kind, "x.txt")
    for old in folder.glob("x.*"):
        old.unlink()
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with seeds_in_turn.at_most(SECONDS):
            found = summary(kind, path, form)
        assert expected is None or found == expected, "read otherwise than before it was rewritten"
        result = "read"
    except MarginomeError as error:
        explained(error, path)
        assert expected is None, f"refused, though only rewritten: {error}"
        result = "refused"
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    assert used < MEGABYTES, f"{used:.0f} MB more memory"
    return result


# ------------------------------------------------------------------------------------------------ the run
def _prepared(folder: Path) -> Path:
    (folder / "genome.fa").write_text(">chr1\n" + "ACGT" * 1250 + "\n>chr2\n" + "ACGT" * 75 + "\n")
    return folder


class Case(NamedTuple):
    """A damaged file, and the format that is said to be read; or one to be rewritten, which must not change it."""

    kind: str
    content: bytes
    form: str = "auto"
    rewrite: int | None = None  # the seed of how


def draw(seed: int, files: list[tuple[str, bytes]]) -> Case:
    """Return the case of a seed."""
    rng = random.Random(seed)
    kind, content = rng.choice(files)
    text = kind in ("regions", "motifs", "fasta")
    form = rng.choice(["auto"] * 6 + list(FORMATS[1:])) if kind in ("motifs", "modisco") else "auto"
    if text and rng.random() < 0.15:
        return Case(kind, content, rewrite=seed)
    return Case(kind, damaged(content, rng, text=text), form)


def judged(case: Case, folder: Path) -> str:
    """Return "read" or "refused", or raise what the readers should not have."""
    if case.rewrite is None:
        return attempt(case.kind, case.content, folder, case.form)
    path = folder / "whole" / NAMES.get(case.kind, "x.txt")  # of the same name: a motif may be called after it
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(case.content)
    try:
        expected = summary(case.kind, path)
    except MarginomeError:
        return "refused"
    finally:
        path.unlink()
    written = rewritten(case.content, case.kind, random.Random(case.rewrite))
    return attempt(case.kind, written, folder, expected=expected)


def _batch(seeds: range, files: list, pipe) -> None:
    import logging

    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name:
        folder = _prepared(Path(name))
        for seed in seeds:
            case = draw(seed, files)
            pipe.send(("start", seed, case.kind))
            try:
                pipe.send(("end", seed, judged(case, folder)))
            except BaseException:
                pipe.send(("fail", seed, traceback.format_exc(limit=-4)))
    pipe.close()


def _in_process(work, *arguments) -> list[tuple]:
    """Run in a process of its own, which may die; return what it sent."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(*arguments, send))
    process.start()
    send.close()
    sent = []
    try:
        while True:
            sent.append(receive.recv())
    except EOFError:
        pass
    process.join()
    if process.exitcode:
        sent.append(("died", sent[-1][1] if sent else None, f"the process died ({process.exitcode})"))
    return sent


def _alone(case: Case, pipe) -> None:
    with tempfile.TemporaryDirectory() as name:
        try:
            judged(case, _prepared(Path(name)))
        except BaseException as error:
            pipe.send(("fail", 0, f"{type(error).__name__}: {error}"))


def smallest(case: Case) -> Case:
    """Take pieces away as long as it still fails."""
    content = seeds_in_turn.fewest(case.content, lambda less: bool(_in_process(_alone, case._replace(content=less))))
    return case._replace(content=content)


def shown(case: Case) -> str:
    """Say what a case is, and what is wrong with it."""
    how = "" if case.rewrite is None else ", rewritten as of this seed"
    said = "".join(text for _, _, text in _in_process(_alone, case))
    return f"{case.kind}, format {case.form}{how}, {len(case.content)} bytes: {case.content[:300]!r}\n  {said[:1000]}"


def run(tries: int | None, seed: int, *, minutes: float = 60) -> tuple[collections.Counter, list[str]]:
    """Try the damaged files of seeds; return counts by kind and outcome, and a text for each failure."""
    files = originals()
    counts: collections.Counter = collections.Counter()
    failures: list[str] = []
    following, began = seed, time.monotonic()
    stop = sys.maxsize if tries is None else seed + tries
    while following < stop and time.monotonic() - began < 60 * minutes and len(failures) < seeds_in_turn.FAILURES:
        kinds, last = {}, following
        for what, number, text in _in_process(_batch, range(following, min(following + BATCH, stop)), files):
            if what == "start":
                kinds[number], last = text, number
            elif what == "end":
                counts[f"{kinds[number]} {text}"] += 1
            else:
                case = draw(last, files)
                counts[f"{case.kind} failed"] += 1
                if len(failures) < seeds_in_turn.FAILURES:
                    failures.append(f"seed {last}: {shown(smallest(case))}\n  found as {text}")
        following = last + 1
        if tries is None:
            print(f"{following - seed} tries, {len(failures)} failures", file=sys.stderr)
    return counts, failures


def main() -> int:
    """Run from the command line."""
    given = seeds_in_turn.options(__doc__)
    counts, failures = run(given.tries, given.seed, minutes=given.minutes)
    for failure in failures:
        print(failure, end="\n\n")
    print(f"{counts.total():,} tries: {dict(sorted(counts.items()))}, {len(failures)} failures")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
