"""Change the library in one place at a time: a test of that file has to notice.

    pip install --target cosmic cosmic-ray coverage; rm -r cosmic/packaging*
    PYTHONPATH=workflow/lib:cosmic python tests/checks/mutations.py nulls tails inserts --minutes 60 --out some.jsonl
    PYTHONPATH=workflow/lib:cosmic python tests/checks/mutations.py nulls tails inserts --skip some.jsonl
    PYTHONPATH=workflow/lib:cosmic python tests/checks/mutations.py nulls tails inserts --rest --sample 300

cosmic-ray's operators say what can be changed (`<` for `<=`, 1 for 2, `and` for `or`, no rounds of a loop ...). At each
place one of the changes is drawn; places are taken in random order, so that what was done when the time is over is a
sample of all. Left out are the heads of functions, what goes to the log, how errors are made (not that one is raised),
`is` for `==`, and bitwise operators for others. Tests are collected once, and looked at, for ten times --seconds, when
the first change of their file is made: which lines do they run? For each change a process is forked, which puts the
changed code into the functions as they are and runs the tests that run the line, those of the file's own test file or
of files that import it, first what is fast and has noticed most. Prints what none noticed.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import json
import mmap
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "workflow/lib/marginome"


@dataclass(frozen=True)
class Mutation:
    """One change of one file of the package: where, by which of cosmic-ray's operators, and what the file is then."""

    file: str
    line: int
    operator: str
    code: str

    def shown(self) -> str:
        """What the changed lines were and are."""
        old, new = (PACKAGE / self.file).read_text().splitlines(), self.code.splitlines()
        changed = [(a.strip(), b.strip()) for a, b in zip(old, new) if a != b]
        return f"{self.file}:{self.line}: " + "; ".join(f"{a}  ->  {b}" for a, b in changed[:3])


# ------------------------------------------------------------------------------------------------- what can be changed
@dataclass(frozen=True)
class Place:
    """A place in a file with all that can be done there, in random order: (operator, which of its places) each."""

    file: str
    line: int
    column: int
    choices: tuple[tuple[str, int], ...]

    def named(self) -> str:
        """Return what stays the same where lines before it come and go."""
        text = (PACKAGE / self.file).read_text().splitlines()[self.line - 1]
        return f"{self.file} {self.column}: {text.strip()}"

    def mutation(self) -> Mutation | None:
        """Return the first change that gives another program; None if none does."""
        from cosmic_ray.operators.provider import OperatorProvider

        source = (PACKAGE / self.file).read_text()
        for name, i in self.choices:
            code = _changed(source, OperatorProvider()[name](), i)
            if code is not None:
                return Mutation(self.file, self.line, name, code)
        return None


def places(file: str, rng: random.Random) -> list[Place]:
    """Return the places of a file at which something can be changed."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.operators.provider import OperatorProvider

    source = (PACKAGE / file).read_text()
    left_out = list(_left_out(ast.parse(source)))
    nodes, operators = list(ast_nodes(get_ast(source))), OperatorProvider()
    at: dict[Any, list[tuple[str, int]]] = defaultdict(list)
    for name in operators:
        if operators[name].arguments() or _says_nothing(name):
            continue
        found = (place for node in nodes for place in operators[name]().mutation_positions(node))
        for i, (start, end) in enumerate(found):
            if not any(lo <= start < hi for lo, hi in left_out):
                at[start, end].append((name, i))
    for _, choices in sorted(at.items()):
        rng.shuffle(choices)
    return [Place(file, *start, tuple(choices)) for (start, _), choices in sorted(at.items())]


def _changed(source: str, operator: Any, occurrence: int) -> str | None:
    """Return the source with one change; None where that is no Python, or means the same."""
    from cosmic_ray.mutating import mutate_code

    try:
        code = mutate_code(source, operator, occurrence)
        compile(code, "changed", "exec")
        return code if ast.dump(ast.parse(code)) != ast.dump(ast.parse(source)) else None
    except (SyntaxError, AttributeError):  # cosmic-ray 8.7 stumbles over `except module.Error`
        return None


def _says_nothing(operator: str) -> bool:
    """Whether an operator gives what fails by its type (float ^ float), or hangs on the interpreter (1 is 1)."""
    kind, _, pair = operator.partition("Operator_")
    if kind == "ReplaceBinary":
        old, new = (part in ("BitAnd", "BitOr", "BitXor") for part in pair.split("_"))
        return old != new or "Shift" in pair
    return kind == "ReplaceComparison" and pair.endswith(("_Is", "_IsNot")) and not pair.startswith("Is")


def _left_out(tree: ast.Module) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield the spans, (line, column) to (line, column), in which nothing is changed."""
    for node in ast.walk(tree):
        out: list[ast.AST | None] = []
        if isinstance(node, ast.AnnAssign):
            out = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            yield (node.lineno, 0), (node.body[0].lineno, 0)  # annotations, the star before keywords
            if node.returns is not None and ast.unparse(node.returns) == "MarginomeError":
                out.append(node)
        elif isinstance(node, ast.Raise):
            out = [node.exc, node.cause]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name.startswith(("log.", "warnings.")) or name.endswith("Error") or name == "unknown_name":
                out = [node]
        for part in out:
            if part is not None:
                yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)


# ------------------------------------------------------------------------------------------------------ making a change
def apply(mutation: Mutation) -> None:
    """Put a change into this process: into the functions and classes as they are, and into constants wherever held."""
    module = sys.modules[_module(mutation.file)]
    new = ModuleType(module.__name__)
    new.__dict__.update(
        __file__=module.__file__, __package__=module.__package__, __path__=getattr(module, "__path__", [])
    )
    exec(compile(mutation.code, str(module.__file__), "exec"), new.__dict__)
    changed: set[str] = set()  # the constants that are made on the changed line, or of such a constant
    for statement in ast.parse(mutation.code).body:
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
            names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            if statement.lineno <= mutation.line <= (statement.end_lineno or 0) or names & changed:
                stored = (n for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
                changed |= {node.id for node in stored}
    for name, value in list(module.__dict__.items()):
        made = new.__dict__.get(name)
        if name in changed:
            for other in list(sys.modules.values()):
                if getattr(other, "__dict__", {}).get(name) is value:
                    setattr(other, name, made)
        elif getattr(value, "__module__", None) == module.__name__ and not _patch(value, made):
            for other in list(sys.modules.values()):
                if getattr(other, "__dict__", {}).get(name) is value:
                    setattr(other, name, made)


def _patch(old: Any, new: Any) -> bool:
    """Give functions and classes the code and the defaults of others; False if they lost their decorator."""
    if type(old) is not type(new) or hasattr(old, "__wrapped__") != hasattr(new, "__wrapped__"):
        return False
    if isinstance(old, type) and isinstance(new, type):
        for name, value in list(vars(old).items()):
            made = vars(new).get(name)
            if isinstance(value, FunctionType | staticmethod | classmethod | property):
                if not _patch(value, made):
                    setattr(old, name, made)
            elif isinstance(value, int | float | str | tuple) and not name.startswith("__") and made != value:
                setattr(old, name, made)
    elif isinstance(old, property):
        _patch(old.fget, new.fget)
    elif isinstance(old, staticmethod | classmethod):
        _patch(old.__func__, new.__func__)
    elif isinstance(old, FunctionType) and isinstance(new, FunctionType):
        for mine, other in zip(old.__closure__ or (), new.__closure__ or ()):
            if isinstance(mine.cell_contents, FunctionType):
                _patch(mine.cell_contents, other.cell_contents)
            elif not isinstance(mine.cell_contents, type):
                mine.cell_contents = other.cell_contents
        old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
    elif hasattr(old, "__wrapped__"):  # a cache around a function
        _patch(old.__wrapped__, new.__wrapped__)
    return True


def _module(file: str) -> str:
    return ".".join(("marginome", *Path(file).with_suffix("").parts)).removesuffix(".__init__")


# --------------------------------------------------------------------------------------------------------------- tests
def test_files(file: str) -> list[Path]:
    """The test file of a module; else those that import it, or a name that it defines; else of its nearest package."""
    module, folder = _module(file), ROOT / "tests/unit"
    own = folder / f"test_{module.rpartition('.')[2]}.py"
    if own.exists():
        return [own]
    tree = ast.parse((PACKAGE / file).read_text())
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    parts = module.split(".")
    packages = [".".join(parts[:i]) for i in range(len(parts) - 1, 0, -1)]  # the nearest first
    names = {f"{package}.{name}" for package in packages for name in defined}
    imports = {path: set(_imports(ast.parse(path.read_text()))) for path in sorted(folder.glob("test_*.py"))}
    found = [
        path
        for path, imported in imports.items()
        if imported & names or any(name == module or name.startswith(f"{module}.") for name in imported)
    ]
    for package in packages[:-1]:  # not of the whole library
        if not found:
            by_package = [path for path, imported in imports.items() if any(n.startswith(package) for n in imported)]
            found = sorted(folder.glob(f"test_{package.rpartition('.')[2]}*.py")) or by_package
    return found


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class Campaign:
    """A plugin of pytest that runs the collected tests many times, in forked processes, instead of once."""

    def __init__(self, wanted: Sequence[Place], options: argparse.Namespace):
        self.wanted, self.options = wanted, options
        tried = _told(options.again)
        self.skip = Counter(t["place"] for path in options.skip for t in _told(path))
        self.again = {(t["operator"], t["change"]) for t in tried if t["outcome"] in ("survived", "not covered")}
        self.lines: dict[int, tuple[float, dict[str, list[int]]]] = {}
        self.looked_at: set[str] = set()
        self.tried: set[int] = set()
        self.counts: Counter[str] = Counter()
        self.kills: Counter[int] = Counter()  # changes that each test has noticed: what notices much is run first
        self.shared = mmap.mmap(-1, 4)  # what a forked process says: the number of the test that failed
        self.failed = False
        self.terminal = os.dup(1)

    def say(self, text: str) -> None:
        """Print, past what pytest captures."""
        os.write(self.terminal, f"{text}\n".encode())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Look at what each test runs; then try the changes."""
        stop = time.monotonic() + 60 * self.options.minutes
        for file in {place.file for place in self.wanted}:
            importlib.import_module(_module(file))
        gc.freeze()
        for place in self.wanted:
            if time.monotonic() > stop:
                break
            if self.skip[place.named()]:
                self.skip[place.named()] -= 1
                continue
            mutation = place.mutation()
            if mutation is None or (self.again and (mutation.operator, mutation.shown()) not in self.again):
                continue
            self._look_at(place.file, session.items)
            outcome, tests = self._try(mutation, session.items)
            self.counts[outcome] += 1
            if outcome in ("survived", "not covered"):
                self.say(f"{outcome} ({tests} tests): {mutation.shown()}")
            if self.options.out:
                told = {"outcome": outcome, "tests": tests, "operator": mutation.operator, "change": mutation.shown(),
                        "place": place.named()}  # fmt: skip
                with self.options.out.open("a") as handle:
                    handle.write(json.dumps(told) + "\n")
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Remember a failure."""
        self.failed |= report.failed

    def _look_at(self, file: str, items: Sequence[pytest.Item]) -> None:
        """Learn which lines the tests of a file run; of very many, some, in random order."""
        if file in self.looked_at:
            return
        self.looked_at.add(file)
        paths = self.options.tests or test_files(file)
        numbers = [i for i, item in enumerate(items) if i not in self.tried and item.path in paths]
        random.Random(self.options.seed).shuffle(numbers)
        with tempfile.TemporaryDirectory() as folder:
            answer = Path(folder) / "lines.json"
            in_child(lambda: self._record(items, numbers, answer), 3600)
            found = json.loads(answer.read_text()) if answer.exists() else {}
        self.tried.update(found["tried"] if found else numbers)
        self.lines |= {int(k): v for k, v in found["lines"].items()} if found else {}

    def _record(self, items: Sequence[pytest.Item], numbers: Sequence[int], answer: Path) -> int:
        """Write the CPU seconds of each test that passes, and the lines it runs: {number: (seconds, {file: lines})}."""
        from coverage import Coverage

        files = {str(PACKAGE / place.file): place.file for place in self.wanted}
        coverage = Coverage(data_file=None, config_file=False, include=list(files))
        coverage.start()
        seconds, tried = {}, []
        stop = time.process_time() + 10 * self.options.seconds
        for i in numbers:
            if time.process_time() > stop:
                break
            tried.append(i)
            coverage.switch_context(str(i))
            self.failed, start = False, time.process_time()
            self._run([i], items)
            if not self.failed:
                seconds[i] = time.process_time() - start
        coverage.stop()
        lines: dict[int, dict[str, list[int]]] = {i: defaultdict(list) for i in seconds}
        for path, file in files.items():
            for line, contexts in coverage.get_data().contexts_by_lineno(path).items():
                for i in {int(context) for context in contexts if context} & seconds.keys():
                    lines[i][file].append(line)
        answer.write_text(json.dumps({"tried": tried, "lines": {i: (seconds[i], lines[i]) for i in seconds}}))
        return 0

    def _run(self, numbers: Sequence[int], items: Sequence[pytest.Item]) -> int:
        for i, following in zip(numbers, [*numbers[1:], None]):
            self.shared[:] = i.to_bytes(4, "big")
            if i in self.lines:
                limit = int(time.process_time() + 5 + 5 * self.lines[i][0])  # a loop without end ends soon
                resource.setrlimit(resource.RLIMIT_CPU, (limit, -1))
            after = None if following is None else items[following]
            items[i].config.hook.pytest_runtest_protocol(item=items[i], nextitem=after)
            if self.failed:
                return 1
        return 0

    def _try(self, mutation: Mutation, items: Sequence[pytest.Item]) -> tuple[str, int]:
        """Return whether a change was "killed", "survived", "too long" or "not covered", and how many tests ran."""
        tests = {i: (s, files[mutation.file]) for i, (s, files) in self.lines.items() if mutation.file in files}
        anywhere = not _in_function(mutation)  # what is outside of functions runs when the file is imported
        fitting = [(s, i) for i, (s, lines) in tests.items() if anywhere or mutation.line in lines]
        if anywhere and not fitting:  # a file without functions: any test may read what it says
            fitting = [(s, i) for i, (s, _) in self.lines.items()]
        chosen, seconds = [], 0.0
        for s, i in sorted(fitting, key=lambda each: (each[0] + 0.02) / (self.kills[each[1]] + 0.1)):
            if seconds + s <= self.options.seconds:
                chosen.append(i)
                seconds += s
        if not chosen:
            return "not covered", 0

        def work() -> int:
            try:
                apply(mutation)
            except Exception:  # the file cannot be imported any more
                return 1
            return self._run(chosen, items)

        self.shared[:] = bytes(4)
        status = in_child(work, 3600)
        if status:
            self.kills[int.from_bytes(self.shared[:], "big")] += 1
        return ("survived" if status == 0 else "too long" if status < 0 else "killed"), len(chosen)


def _in_function(mutation: Mutation) -> bool:
    tree = ast.parse(mutation.code)
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return any(node.body[0].lineno <= mutation.line <= (node.end_lineno or 0) for node in functions)


def _told(path: Path | None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path else []


def in_child(work: Callable[[], int], seconds: int) -> int:
    """Do something in a forked process that may take so many CPU seconds; return its exit status, below 0 if killed."""
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, -1))
            resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, -1))  # others need the machine
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            status = work()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """Try changes until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="of the library, without .py; all by default")
    parser.add_argument("--rest", action="store_true", help="all files but these")
    parser.add_argument("--sample", type=int, help="so many of the places; all by default")
    parser.add_argument("--again", type=Path, help="only what survived by this file that --out wrote")
    parser.add_argument("--skip", type=Path, nargs="*", default=[], help="not what was tried by these that --out wrote")
    parser.add_argument("--tests", nargs="*", type=Path, help="other test files than the files' own")
    parser.add_argument("--seconds", type=float, default=20, help="of tests for one change, as they take unchanged")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--out", type=Path, help="a line of JSON for each change, as it is tried")
    options = parser.parse_args()
    named = {f"{name}.py" for name in options.files}
    every = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    if named - every:
        parser.error(f"no such files: {', '.join(sorted(named - every))}")
    files = sorted(every - named if options.rest else named or every)
    found = [place for file in files for place in places(file, random.Random(f"{options.seed} {file}"))]
    random.Random(options.seed).shuffle(found)
    wanted = found[: options.sample]
    tests = options.tests or sorted({path for file in {place.file for place in wanted} for path in test_files(file)})
    campaign = Campaign(wanted, options)
    with tempfile.TemporaryDirectory() as folder:
        settings = ["-q", "-p", "no:cacheprovider", "-o", "timeout=0", f"--rootdir={ROOT}"]
        pytest.main([*map(str, tests), *settings, f"--basetemp={folder}/tmp"], plugins=[campaign])
    counts = campaign.counts
    print(f"{sum(counts.values())} of {len(found)} places of {len(files)} files: {dict(counts)}")
    sys.exit(counts["survived"] + counts["not covered"] > 0 or not counts)


if __name__ == "__main__":
    main()
