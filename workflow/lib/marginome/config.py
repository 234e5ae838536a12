"""The user's config: strict validation in the user's words, defaults, cross-checks. Imports no PyTorch."""

from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from marginome.errors import MarginomeError, unknown_name
from marginome.textfiles import expand_files

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"


def resolve_config(config: Mapping, *, files: list[str] | None = None, check_files: bool = True) -> dict:
    """Validate a config, fill in defaults and check what a schema cannot.

    Parameters
    ----------
    config : mapping
        As read from YAML (and ``--config``).
    files : list of str, optional
        The YAML files it came from; read again to find names given twice, which YAML drops silently.
    check_files : bool, default True
        Whether every file that the config names must exist.

    Returns
    -------
    dict
        A new, complete config: every key is present that has a default.

    Raises
    ------
    MarginomeError
        Names the key, what was found, what is allowed and the closest match; all mistakes at once.
    """
    for file in files or []:
        _refuse_duplicates(file)
    schemas = _schemas()
    _validate(config, schemas)
    resolved = _fill_defaults(copy.deepcopy(dict(config)), schemas["config.schema.yaml"], schemas)
    problems = [*_cross_checks(resolved)]
    if check_files:
        problems += _missing_files(resolved)
    if problems:
        raise _together(problems)
    return resolved


def file_keys(config: Mapping) -> Iterator[tuple[str, str]]:
    """Yield (key path, file) of every value that a schema marks with ``format: file``, or ``files`` (expanded).

    A value ``path.py:name`` (user's code) yields the part before the colon.
    """
    schemas = _schemas()
    # several kinds of one entry may know the same key: once is enough
    yield from dict.fromkeys(_walk_files(config, schemas["config.schema.yaml"], schemas, ""))


def entry_files(config: Mapping, section: str, name: str) -> list[str]:
    """Return the files that one entry of a section names, sorted, each once.

    Parameters
    ----------
    config : mapping
        A resolved config.
    section : {"models", "motifs", "backgrounds", "screens", "attributions"}
    name : str
        The entry.

    Returns
    -------
    list of str
    """
    prefix = f"{section}.{name}"
    return sorted({file for key, file in file_keys({section: {name: config[section][name]}}) if key.startswith(prefix)})


# ------------------------------------------------------------------------------------------------ schema
_CACHE: dict[str, dict] = {}


def _schemas() -> dict[str, dict]:
    if not _CACHE:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, and every job reads them
        for path in sorted(SCHEMAS.glob("*.schema.yaml")):
            _CACHE[path.name] = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    return _CACHE


def _deref(schema: Mapping, schemas: Mapping, root: Mapping | None = None) -> tuple[Mapping, Mapping]:
    """Follow `$ref` (to another schema file or inside the same one); return (schema, its root)."""
    root = schema if root is None else root
    while "$ref" in schema:
        file, _, pointer = schema["$ref"].partition("#")
        if file:
            root = schemas[file]
        schema = root
        for part in filter(None, pointer.split("/")):
            schema = schema[part]
    return schema, root


def _validate(config: Mapping, schemas: Mapping) -> None:
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    registry = Registry().with_resources([(name, Resource.from_contents(schema)) for name, schema in schemas.items()])
    validator = Draft202012Validator(schemas["config.schema.yaml"], registry=registry)
    errors = sorted(validator.iter_errors(config), key=lambda e: (list(map(str, e.absolute_path)), e.message))
    problems = [problem for error in errors for problem in _explain(error)]
    if problems:
        raise _together(problems)


def _explain(error: Any) -> Iterator[MarginomeError]:
    """Turn one jsonschema error into messages that name the key and what is allowed there."""
    where = "config: " + (".".join(map(str, error.absolute_path)) or "(top level)")
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema.get("properties", {}))
        for key in sorted(map(str, set(error.instance) - set(allowed))):
            yield unknown_name("key", key, allowed, where=where)
    elif error.validator == "required":
        missing = sorted(set(error.validator_value) - set(error.instance))
        yield MarginomeError(
            f"missing: {', '.join(missing)}", where=where, remedy="config/README.md explains each key."
        )
    elif error.validator == "enum":
        yield unknown_name("choice", error.instance, error.validator_value, where=where)
    elif error.validator == "pattern" or (error.validator == "propertyNames" and not error.context):
        yield MarginomeError(
            f"{error.instance!r} is not allowed: {error.schema.get('description', error.message)}", where=where
        )
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
    elif error.validator in ("oneOf", "anyOf") and error.context:
        # the branch the user most likely meant: the one that fails deepest, then the one of the right type
        best = max(
            error.context,
            key=lambda e: (len(e.absolute_path), e.validator != "type" and e.validator != "const"),
        )
        if best.validator in ("type", "const", "enum") and len(best.absolute_path) == len(error.absolute_path):
            yield MarginomeError(
                f"found {error.instance!r}; wanted: {error.schema.get('description', 'another value').strip()}",
                where=where,
            )
        else:
            yield from _explain(best)
    elif error.validator == "type":
        wanted = error.validator_value
        wanted = " or ".join(wanted) if isinstance(wanted, list) else wanted
        yield MarginomeError(
            f"found {error.instance!r} ({_yaml_type(error.instance)}), wanted {wanted}",
            where=where,
            remedy=error.schema.get("description"),
        )
    else:
        found = repr(error.instance)
        found = found if len(found) < 80 else found[:77] + "..."
        limits = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than", "minItems": "at least",
                  "minProperties": "at least"}  # fmt: skip
        if error.validator in limits:
            noun = {"minItems": " items", "minProperties": " entries"}.get(error.validator, "")
            yield MarginomeError(
                f"found {found}, wanted {limits[error.validator]} {error.validator_value}{noun}", where=where
            )
        else:
            yield MarginomeError(error.message, where=where, remedy=error.schema.get("description"))


def _kinds(branches: list) -> dict[str, int]:
    """Return the number of each branch by its `kind`, or nothing unless every branch has one."""
    named = {branch.get("properties", {}).get("kind", {}).get("const"): i for i, branch in enumerate(branches)}
    return {} if None in named else named


def _yaml_type(value: object) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _fill_defaults(value: Any, schema: Mapping, schemas: Mapping, root: Mapping | None = None) -> Any:
    schema, root = _deref(schema, schemas, root)
    for branch in schema.get("oneOf", []) + schema.get("anyOf", []):
        resolved, branch_root = _deref(branch, schemas, root)
        if isinstance(value, dict) and (resolved.get("type") == "object" or "properties" in resolved):
            kind = resolved.get("properties", {}).get("kind", {}).get("const")
            if kind is None or value.get("kind") == kind:
                value = _fill_defaults(value, resolved, schemas, branch_root)
    for branch in schema.get("allOf", []):
        value = _fill_defaults(value, branch, schemas, root)
    if isinstance(value, dict):
        for key, sub in schema.get("properties", {}).items():
            resolved, _ = _deref(sub, schemas, root)
            if key not in value and "default" in resolved:
                value[key] = copy.deepcopy(resolved["default"])
            if key in value:
                value[key] = _fill_defaults(value[key], sub, schemas, root)
        extra = schema.get("additionalProperties")
        if isinstance(extra, Mapping):
            for key in value:
                if key not in schema.get("properties", {}):
                    value[key] = _fill_defaults(value[key], extra, schemas, root)
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        value = [_fill_defaults(item, schema["items"], schemas, root) for item in value]
    return value


def _walk_files(
    value: Any, schema: Mapping, schemas: Mapping, key: str, root: Mapping | None = None
) -> Iterator[tuple[str, str]]:
    schema, root = _deref(schema, schemas, root)
    branches = [branch for word in ("oneOf", "anyOf", "allOf") for branch in schema.get(word, [])]
    for branch in branches:
        yield from _walk_files(value, branch, schemas, key, root)
    if isinstance(value, str) and schema.get("format") == "file":
        yield key, value
    elif isinstance(value, str) and schema.get("format") == "files":  # a file, a folder or a pattern
        yield from ((key, file) for file in expand_files(value))
    elif isinstance(value, str) and schema.get("format") == "code":  # path/to/file.py:name
        file, colon, _ = value.rpartition(":")
        if colon and file.endswith(".py"):
            yield key, file
    elif isinstance(value, dict):
        for name, item in value.items():
            sub = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if isinstance(sub, Mapping):
                yield from _walk_files(item, sub, schemas, f"{key}.{name}".lstrip("."), root)
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for index, item in enumerate(value):
            yield from _walk_files(item, schema["items"], schemas, f"{key}.{index}", root)


# ------------------------------------------------------------------------------------------- cross-checks
def _cross_checks(config: Mapping) -> Iterator[MarginomeError]:
    for screen, entry in config["screens"].items():
        for section, noun in (("models", "model"), ("motifs", "motif collection"), ("backgrounds", "background set")):
            for name in entry[section]:
                if name not in config[section]:
                    yield unknown_name(noun, name, config[section], where=f"config: screens.{screen}.{section}")
        lengths = {}
        for name in entry["backgrounds"]:
            lengths[f"background set '{name}'"] = config["backgrounds"].get(name, {}).get("length")
        for name in entry["models"]:
            lengths[f"model '{name}'"] = config["models"].get(name, {}).get("input_length")
        stated = {what: length for what, length in lengths.items() if length is not None}
        if len(set(stated.values())) > 1:
            yield MarginomeError(
                "lengths differ: " + ", ".join(f"{what} has {length} bp" for what, length in stated.items()),
                where=f"config: screens.{screen}",
                remedy="Give the background set the model's input_length, or make one set per length.",
            )
        elif stated:
            length = next(iter(stated.values()))
            yield from _check_positions(entry["positions"], length, f"config: screens.{screen}.positions")
    for name, entry in config["attributions"].items():
        yield from _check_attribution(config, entry, f"config: attributions.{name}")
    if config["device"] == "cpu" and config["precision"] == "tf32":
        yield MarginomeError(
            "tf32 exists on CUDA only", where="config: precision", remedy="Use float32 on the CPU, or device: cuda."
        )


def _check_attribution(config: Mapping, entry: Mapping, where: str) -> Iterator[MarginomeError]:
    loci, references = entry["loci"], entry["references"]
    annotate, marginalize = entry.get("annotate") or {}, entry.get("marginalize") or {}
    insert = loci.get("insert") or {}
    named = [("models", "model", "model", [entry["model"]])]
    sets = {
        "loci.background": [loci[key] for key in ("background",) if key in loci],
        "references.background": [references[key] for key in ("background",) if key in references],
        "marginalize.backgrounds": marginalize.get("backgrounds", []),
    }
    named += [("backgrounds", "background set", key, names) for key, names in sets.items()]
    named.append(("motifs", "motif collection", "annotate.motifs", annotate.get("motifs", [])))
    named.append(
        ("motifs", "motif collection", "loci.insert.collection", [insert[k] for k in ("collection",) if k in insert])
    )
    for section, noun, key, names in named:
        for name in names:
            if name not in config[section]:
                yield unknown_name(noun, name, config[section], where=f"{where}.{key}")
    if insert and ("sequence" in insert) == ("motif" in insert and "collection" in insert):
        yield MarginomeError(
            "what to put in is not clear",
            where=f"{where}.loci.insert",
            remedy="Give sequence, or collection and motif.",
        )
    length = config["models"].get(entry["model"], {}).get("input_length")
    for key, names in sets.items():
        for name in names:
            found = config["backgrounds"].get(name, {}).get("length")
            if length is not None and found is not None and length != found:
                yield MarginomeError(
                    f"lengths differ: background set '{name}' has {found} bp, model '{entry['model']}' {length} bp",
                    where=f"{where}.{key}",
                    remedy="Give the background set the model's input_length.",
                )
    if entry["seqlets"]["min_length"] > entry["seqlets"]["max_length"]:
        yield MarginomeError(
            f"min_length {entry['seqlets']['min_length']} is more than max_length {entry['seqlets']['max_length']}",
            where=f"{where}.seqlets",
        )


def _check_positions(positions: Any, length: int, where: str) -> Iterator[MarginomeError]:
    if positions == "centre":
        return
    if isinstance(positions, dict):
        if positions["start"] >= positions["stop"]:
            yield MarginomeError(
                f"the grid is empty: start {positions['start']}, stop {positions['stop']}", where=where
            )
            return
        positions = [positions["start"], positions["stop"] - 1]
    for start in [positions] if isinstance(positions, int) else positions:
        if start >= length:
            yield MarginomeError(
                f"start {start} is outside the sequence of {length} bp",
                where=where,
                remedy=f"Starts run from 0 to {length - 1} less the motif's width.",
            )


def _missing_files(config: Mapping) -> Iterator[MarginomeError]:
    for key, file in file_keys(config):
        if not os.path.isfile(file):
            folder = os.path.dirname(file) or "."
            near = difflib.get_close_matches(
                os.path.basename(file), os.listdir(folder) if os.path.isdir(folder) else [], n=1
            )
            hint = f"Did you mean '{os.path.join(folder, near[0])}'? " if near else ""
            what = "is a folder" if os.path.isdir(file) else "does not exist"
            yield MarginomeError(
                f"the file '{file}' {what}",
                where=f"config: {key}",
                remedy=f"{hint}Paths are relative to the working directory ({os.getcwd()}).",
            )
        elif not os.access(file, os.R_OK):
            yield MarginomeError(f"no permission to read '{file}'", where=f"config: {key}")
        elif os.path.getsize(file) == 0:
            yield MarginomeError(f"the file '{file}' is empty", where=f"config: {key}")


class _UniqueKeys(yaml.SafeLoader):
    """A loader that refuses a key given twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # <<: *anchor; what follows may override it
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if key in seen:
                raise MarginomeError(
                    f"'{key}' is given twice (lines {seen[key]} and {line})",
                    where=str(node.start_mark.name),
                    remedy="Two things cannot have one name: rename or remove one.",
                )
            seen[key] = line
        return super().construct_mapping(node, deep)


def _refuse_duplicates(file: str) -> None:
    if not str(file).endswith((".yaml", ".yml")) or not os.path.isfile(file):
        return
    with open(file, encoding="utf-8") as handle:
        try:
            yaml.load(handle, Loader=_UniqueKeys)  # a SafeLoader
        except yaml.YAMLError as error:
            raise MarginomeError(f"not valid YAML: {error}", where=str(file)) from error


def _together(problems: list[MarginomeError]) -> MarginomeError:
    if len(problems) == 1:
        return problems[0]
    shown = [f"  - {problem}" for problem in problems[:10]]
    if len(problems) > 10:
        shown.append(f"  - and {len(problems) - 10} more")
    return MarginomeError(f"the config has {len(problems)} mistakes:\n" + "\n".join(shown))
