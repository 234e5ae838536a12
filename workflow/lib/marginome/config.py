"""The user's config: strict validation in the user's words, defaults, files. Imports no PyTorch."""

from __future__ import annotations

import difflib
import functools
import itertools
import math
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from marginome.bounded import unfetched
from marginome.config_checks import entry_problems
from marginome.config_models import model_headers, model_problems, told_lengths
from marginome.config_reading import check_file, place, plain_values
from marginome.config_schema import branches, complete, follow, schemas
from marginome.errors import MarginomeError, shown, unknown_name
from marginome.models.kinds import unread_folder
from marginome.sheets import expand_sheets, located
from marginome.textfiles import expand_each, expand_files, is_address
from marginome.usercode import check_reference

SECTIONS = ("models", "motifs", "backgrounds", "screens", "attributions")
#: Whole numbers that the schema gives no maximum of their own: no count or length of a person's comes near it.
LARGEST = 2**31 - 1


def resolve_config(config: Mapping, *, files: list[str] | None = None, check_files: bool = True) -> dict:
    """Validate a config, fill in defaults and check what a schema cannot.

    Parameters
    ----------
    config : mapping
        As read from YAML (and ``--config``).
    files : list of str, optional
        The YAML files it came from; read again to find what YAML drops or changes silently (see `check_file`).
    check_files : bool, default True
        Whether every file that the config names must exist, hold the functions that are named, and, as far as a model
        file's header tells without PyTorch, the outputs that screens and attributions ask for.

    Returns
    -------
    dict
        A new, complete config: every key is present that has a default, and whole numbers are integers (1.0 is 1).

    Raises
    ------
    MarginomeError
        Names the key, what was found, what is allowed and the closest match; all mistakes at once.
    """
    for file in files or []:
        check_file(file)
    expanded = expand_sheets(plain_values(config))
    try:
        return _resolved(plain_values(expanded.config) if expanded.sheets else expanded.config, check_files)
    except MarginomeError as error:
        raise located(error, expanded.places) from None


def _resolved(config: dict, check_files: bool) -> dict:
    _validate(config)
    resolved = complete(config, schemas()["config.schema.yaml"])
    named = list(_formatted(resolved))
    files = list(_files_of(named))
    problems = [*_unusable_names(resolved, files)]
    if check_files and not problems:
        problems = [*_missing_files(files), *_unknown_sums(resolved, files)] or [*_missing_code(named)]
    told = model_headers(resolved) if check_files and not problems else None
    entries = [*entry_problems(resolved, {} if told is None else told_lengths(told))]
    problems = [*entries, *problems]
    if told is not None:
        problems += model_problems(resolved, told, outputs=not entries)
    if problems:
        raise _together(problems)
    return resolved


class Entries(Mapping):
    """A section of a config whose entries are validated and completed when one is asked for.

    Parameters
    ----------
    section : str
    entries : mapping
        As read from YAML.
    """

    def __init__(self, section: str, entries: Mapping):
        self._section, self._entries, self._resolved = section, entries, {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._resolved:
            schema = {"$ref": f"{self._section}.schema.yaml"}
            entry = plain_values({name: self._entries[name]})[name]
            _validate(entry, schema, (self._section, name))
            self._resolved[name] = complete(entry, schema)
        return self._resolved[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def job_config(config: Mapping) -> dict[str, Any]:
    """Return a config as a job needs it: of thousands of entries it validates and completes those that it asks for.

    Parameters
    ----------
    config : mapping
        As read from YAML, and resolved (`resolve_config`) where the run was started.

    Returns
    -------
    dict
        As of `resolve_config`; sections are `Entries`.
    """
    config = expand_sheets(config).config
    sections = {section: config.get(section) or {} for section in SECTIONS}
    rest = plain_values({key: value for key, value in config.items() if key not in SECTIONS})
    resolved = complete(rest, schemas()["config.schema.yaml"])
    return resolved | {section: Entries(section, entries) for section, entries in sections.items()}


def file_keys(config: Mapping) -> Iterator[tuple[str, str]]:
    """Yield (key path, file) of every value that a schema marks with ``format: file``, or ``files`` (expanded).

    A value ``path.py:name`` (user's code) yields the part before the colon.
    """
    yield from _files_of(_formatted(config))


def _files_of(named: Iterable[tuple[str, str, str]]) -> Iterator[tuple[str, str]]:
    for key, value, form in named:
        file = value if form == "file" else value.rpartition(":")[0]
        if form == "file" or file.endswith(".py"):
            yield key, file


def _formatted(config: Mapping) -> Iterator[tuple[str, str, str]]:
    """Yield (key path, value, format) of every text that a schema marks as a file or as code of the user's."""
    for path, value, form in _named(config, schemas()["config.schema.yaml"]):
        key = ".".join(map(str, path))
        if form == "files":  # a file, a folder or a pattern
            yield from ((key, file, "file") for file in expand_files(value))
        else:
            yield key, value, form


def _named(value: Any, schema: Mapping) -> Iterator[tuple[tuple, str, str]]:
    """Yield (path of keys, value, format) of every text that a schema marks, each once."""
    # several kinds of one entry may know the same key: once is enough
    yield from dict.fromkeys(_walk(value, schema, ()))


def file_places(config: Mapping, section: str, name: str) -> list[tuple[list[str | int], list[str], bool]]:
    """Return where one entry of a section names files, and which.

    Parameters
    ----------
    config : mapping
        A resolved config.
    section : {"models", "motifs", "backgrounds", "screens", "attributions"}
    name : str
        The entry.

    Returns
    -------
    list of (path, files, is_code)
        The keys and positions that lead from the entry to the name; one file, or what a folder or a pattern stands for
        (`textfiles.expand_each`); whether it is the user's code.
    """
    named = list(_named(config[section][name], {"$ref": f"{section}.schema.yaml"}))
    expanded = iter(expand_each([value for _, value, form in named if form == "files"]))
    places: list[tuple[list[str | int], list[str], bool]] = []
    for path, value, form in named:
        if form == "files":
            places.append((list(path), next(expanded), False))
        elif form == "file":
            places.append((list(path), [value], False))
        elif ".py:" in value:
            places.append((list(path), [value.rpartition(":")[0]], True))
    return places


def check_keys(section: str, keys: Iterable[str]) -> None:
    """Refuse a key that no entry of a section can have: a rule that asks for it would get None, and say nothing.

    Parameters
    ----------
    section : {"models", "motifs", "backgrounds", "screens", "attributions"}
    keys : iterable of str
        As a rule names them.

    Raises
    ------
    MarginomeError
        Names the key and what comes close.
    """
    known = schemas()[f"{section}.schema.yaml"]["properties"]
    for key in keys:
        if key not in known:
            raise unknown_name("key", key, known, where=f"a rule, of {section}")


# ------------------------------------------------------------------------------------------------ schema
def _is_number(_: Any, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(_: Any, value: object) -> bool:
    """Whole, and known to the last digit: 4.0 is an integer, 1e30 is not."""
    return _is_number(_, value) and (isinstance(value, int) or (value.is_integer() and abs(value) <= 2**53))


def _check_type(validator: Any, types: Any, value: object, schema: Mapping) -> Iterator[Any]:
    """The keyword `type`, and an end to whole numbers that have none of their own."""
    from jsonschema import Draft202012Validator, ValidationError

    yield from Draft202012Validator.VALIDATORS["type"](validator, types, value, schema)
    if validator.is_type(value, "integer") and "maximum" not in schema and abs(value) > LARGEST:
        yield ValidationError("too large")


@functools.cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    # a schema that says its own `$schema` would be judged by the standard's types, to which 1e308 is an integer
    plain = {name: {k: v for k, v in schema.items() if k != "$schema"} for name, schema in schemas().items()}
    resources = [(name, DRAFT202012.create_resource(schema)) for name, schema in plain.items()]
    registry = Registry().with_resources(resources)
    types = Draft202012Validator.TYPE_CHECKER.redefine_many({"number": _is_number, "integer": _is_integer})
    strict = extend(Draft202012Validator, {"type": _check_type}, type_checker=types)
    return strict(plain["config.schema.yaml"], registry=registry)


def _validate(config: Mapping, schema: Mapping | None = None, path: tuple[str, ...] = ()) -> None:
    """Refuse a config, or the part at `path` of one by its own schema."""
    validator = _validator() if schema is None else _validator().evolve(schema=schema)
    errors = sorted(validator.iter_errors(config), key=lambda e: (list(map(str, e.absolute_path)), e.message))
    for error in errors:
        error.path.extendleft(reversed(path))
    problems = [problem for error in errors for problem in _explain(error)]
    if problems:
        raise _together(problems)
    if errors:  # a mistake without words is a mistake
        raise MarginomeError(shown(errors[0].message, quotes=False), where=place(errors[0].absolute_path))


_LIMITS = {
    "minimum": "at least", "minItems": "at least", "minProperties": "at least", "minLength": "at least",
    "maximum": "at most", "maxItems": "at most", "maxLength": "at most",
    "exclusiveMinimum": "more than", "exclusiveMaximum": "less than",
}  # fmt: skip
_COUNTED = {"Items": " items", "Properties": " entries", "Length": " characters"}


def _explain(error: Any) -> Iterator[MarginomeError]:
    """Turn one jsonschema error into messages that name the key and what is allowed there."""
    where, found = place(error.absolute_path), shown(error.instance)
    described = error.schema.get("description", "").strip()
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema.get("properties", {}))
        for key in sorted(set(error.instance) - set(allowed)):
            yield unknown_name("key", key, allowed, where=where)
    elif error.validator == "required":
        missing = sorted(set(error.validator_value) - set(error.instance))
        yield MarginomeError(
            f"missing: {', '.join(missing)}", where=where, remedy="config/README.md explains each key."
        )
    elif error.validator == "enum":
        yield unknown_name("choice", error.instance, error.validator_value, where=where)
    elif error.validator == "pattern":
        yield MarginomeError(f"{found} is not allowed: {described or error.validator_value}", where=where)
    elif error.validator == "oneOf" and isinstance(error.instance, dict) and _kinds(error.validator_value):
        # entries that say their kind: only the branch of that kind matters
        kinds = _kinds(error.validator_value)
        if "kind" not in error.instance:
            yield MarginomeError("missing: kind", where=where, remedy=f"Allowed: {', '.join(kinds)}.")
        elif str(error.instance["kind"]) not in kinds:
            yield unknown_name("kind", error.instance["kind"], kinds, where=f"{where}.kind")
        else:
            for part in error.context:
                if part.relative_schema_path[0] == kinds[error.instance["kind"]]:
                    yield from _explain(part)
    elif error.validator == "anyOf" and (names := _names_or_code(error.validator_value)):
        if isinstance(error.instance, str):  # another type is an error of its own
            yield unknown_name("choice", error.instance, names, where=where)
    elif error.validator in ("oneOf", "anyOf") and error.context:
        # the branch the user most likely meant: the one that fails deepest, then the one of the right type
        best = max(
            error.context,
            key=lambda e: (len(e.absolute_path), e.validator != "type" and e.validator != "const"),
        )
        if best.validator in ("type", "const", "enum") and len(best.absolute_path) == len(error.absolute_path):
            yield MarginomeError(f"found {found}; wanted: {described or 'another value'}", where=where)
        else:
            yield from _explain(best)
    elif error.validator == "type" and _is_integer(None, error.instance) and abs(error.instance) > LARGEST:
        yield MarginomeError(f"found {found}, wanted at most {LARGEST}", where=where)
    elif error.validator == "type":
        wanted = error.validator_value
        wanted = " or ".join(wanted) if isinstance(wanted, list) else wanted
        yield MarginomeError(
            f"found {found} ({_yaml_type(error.instance)}), wanted {wanted}",
            where=where,
            remedy=" ".join(filter(None, [_as_written(error.instance, wanted), described])),
        )
    elif error.validator in _LIMITS:
        noun = next((noun for word, noun in _COUNTED.items() if error.validator.endswith(word)), "")
        limit = error.validator_value
        yield MarginomeError(f"found {found}, wanted {_LIMITS[error.validator]} {limit}{noun}", where=where)
    elif error.validator == "uniqueItems":
        yield MarginomeError(f"found {found}: something is in the list twice", where=where, remedy="Name it once.")
    else:
        yield MarginomeError(shown(error.message, quotes=False, limit=200), where=where, remedy=described or None)


def _as_written(value: object, wanted: str) -> str:
    """Say how a number is written that YAML read as text, such as 1e-5, and text that it read as something else."""
    if "string" in wanted and isinstance(value, bool | int | float | None):
        return "Write text that YAML reads as something else, such as NO, null and 12, in single quotes: 'NO'."
    if isinstance(value, str) and ("number" in wanted or "integer" in wanted):
        try:
            number = float(value)
        except ValueError:
            return ""
        if math.isfinite(number):
            text = f"{number:.0f}" if number.is_integer() and abs(number) < 2**53 else f"{number!r}"
            # YAML 1.1 wants a point in a number with an exponent
            return f"Write {text if '.' in text else text.replace('e', '.0e')} (without quotes)."
    return ""


def _names_or_code(branches: list) -> list[str]:
    """Return the words of a key that takes one of some words or path/to/file.py:name; nothing for other keys."""
    if [sorted(branch) for branch in branches] == [["enum"], ["pattern"]]:
        return [*branches[0]["enum"], "path/to/file.py:name"]
    return []


def _kinds(branches: list) -> dict[str, int]:
    """Return the number of each branch by its `kind`, or nothing unless every branch has one."""
    named = {branch.get("properties", {}).get("kind", {}).get("const"): i for i, branch in enumerate(branches)}
    return {} if None in named else named


def _yaml_type(value: object) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    if isinstance(value, float) and not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _walk(value: Any, schema: Mapping, path: tuple, root: Mapping | None = None) -> Iterator[tuple[tuple, str, str]]:
    schema, root = follow(schema, root)
    for branch in branches(schema):
        yield from _walk(value, branch, path, root)
    if isinstance(value, str) and schema.get("format") in ("file", "files", "code"):  # code: path/to/file.py:name
        yield path, value, schema["format"]
    elif isinstance(value, dict):
        for name, item in value.items():
            sub = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if isinstance(sub, dict):  # thousands of entries: a Mapping takes ten times as long to tell
                yield from _walk(item, sub, (*path, name), root)
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for index, item in enumerate(value):
            yield from _walk(item, schema["items"], (*path, index), root)


# -------------------------------------------------------------------------------------------------- files
def _unusable_names(config: Mapping, files: Iterable[tuple[str, str]]) -> Iterator[MarginomeError]:
    """Find names that Snakemake cannot take: in those of files {x} is a wildcard to it, and <x> a variable."""
    for section in SECTIONS:
        for name in config[section]:
            if found := re.search(r"(.+?)\1{19,}\Z", name):
                yield MarginomeError(
                    f"the name {shown(name)} ends in '{found[1]}' repeated, which Snakemake takes for an endless one",
                    where=f"config: {section}.{name}",
                    remedy="Choose another name.",
                )
    for key, file in files:
        if found := re.search(r"[{}]|<[^<>/]*>", file):
            yield MarginomeError(
                f"the name {shown(file)} holds {found[0]}, which Snakemake reads as a pattern",
                where=f"config: {key}",
                remedy="Rename it, or give a link to it (ln -s) that has another name.",
            )


def _missing_files(files: Iterable[tuple[str, str]]) -> Iterator[MarginomeError]:
    for key, file in files:
        where, named = f"config: {key}", shown(file, quotes=False, limit=200)
        if is_address(file):
            if file.endswith(".py"):
                yield MarginomeError(f"code is not fetched: {named}", where=where, remedy="Give a file that is here.")
            continue
        try:
            found = os.stat(file)
        except OSError:
            yield MarginomeError(
                f"the file '{named}' does not exist",
                where=where,
                remedy=f"{_near(file)}Paths are relative to the working directory ({os.getcwd()}).",
            )
            continue
        if stat.S_ISDIR(found.st_mode):
            model = unread_folder(file, where) if key.startswith("models.") else None
            yield model or MarginomeError(f"the file '{named}' is a folder", where=where, remedy="Give a file in it.")
        elif not stat.S_ISREG(found.st_mode):
            yield MarginomeError(f"'{named}' is a device or a pipe", where=where, remedy="Give a file.")
        elif not os.access(file, os.R_OK):
            yield MarginomeError(f"no permission to read '{named}'", where=where, remedy=f"Try: ls -l {named}")
        elif found.st_size == 0:
            yield MarginomeError(f"the file '{named}' is empty", where=where, remedy="Copy or download it again.")
        elif instead := unfetched(file, f"{where}: {named}"):
            yield instead


def _unknown_sums(config: Mapping, files: Iterable[tuple[str, str]]) -> Iterator[MarginomeError]:
    """Find checksums of files that nothing names."""
    named = sorted({file for _, file in files}) if config["sha256"] else []
    for file in config["sha256"]:
        if file not in named:
            yield unknown_name("file", file, named, where="config: sha256")


def _near(file: str) -> str:
    """Say which file a name that does not exist may mean."""
    if file.startswith("~") or "$" in file:
        return "~ and $NAME are not filled in: write the whole path. "
    folder = os.path.dirname(file) or "."
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in itertools.islice(entries, 5000)]
    except OSError:
        return ""
    near = difflib.get_close_matches(os.path.basename(file), names, n=1)
    return f"Did you mean '{os.path.join(folder, near[0])}'? " if near else ""


def _missing_code(named: Iterable[tuple[str, str, str]]) -> Iterator[MarginomeError]:
    for key, value, form in named:
        if form == "code" and ".py:" in value:
            try:
                check_reference(value, where=f"config: {key}")
            except MarginomeError as error:
                yield error


def _together(problems: list[MarginomeError]) -> MarginomeError:
    if len(problems) == 1:
        return problems[0]
    shown = [f"  - {problem}" for problem in problems[:10]]
    if len(problems) > 10:
        shown.append(f"  - and {len(problems) - 10} more")
    return MarginomeError(f"the config has {len(problems)} mistakes:\n" + "\n".join(shown))
