"""The schemas of the config: each key with its type, limits and default, written once. Imports no PyTorch.

Whoever fills in defaults takes them from here: the workflow for the whole config, a notebook's call for one entry.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from marginome.errors import MarginomeError, unknown_name


@functools.cache
def schemas() -> dict[str, dict]:
    """Return every schema by the name of its file."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, and every job reads them
    files = sorted((Path(__file__).resolve().parent / "schemas").glob("*.schema.yaml"))
    return {path.name: yaml.load(path.read_text(encoding="utf-8"), Loader=loader) for path in files}


def follow(schema: Mapping, root: Mapping | None = None) -> tuple[Mapping, Mapping]:
    """Follow `$ref` (to another schema file or inside the same one); return (schema, its root)."""
    root = schema if root is None else root
    while "$ref" in schema:
        file, _, pointer = schema["$ref"].partition("#")
        if file:
            root = schemas()[file]
        schema = root
        for part in filter(None, pointer.split("/")):
            schema = schema[part]
    return schema, root


def branches(schema: Mapping) -> Iterator[Mapping]:
    """Yield what a schema says in other words: its `oneOf`, `anyOf` and `allOf`."""
    for word in ("oneOf", "anyOf", "allOf"):
        yield from schema.get(word, [])


def complete(value: Any, schema: Mapping, root: Mapping | None = None) -> Any:
    """Fill in defaults, and make integers of whole numbers where the schema wants them: 4.0 is 4 everywhere."""
    schema, root = follow(schema, root)
    if isinstance(value, float) and value.is_integer():
        allowed = schema.get("type", [])
        if "integer" in ([allowed] if isinstance(allowed, str) else allowed) or value in schema.get("enum", []):
            return int(value)
    for branch in schema.get("oneOf", []) + schema.get("anyOf", []):
        resolved, branch_root = follow(branch, root)
        if not isinstance(value, dict):
            value = complete(value, resolved, branch_root)
        elif resolved.get("type") == "object" or "properties" in resolved:
            kind = resolved.get("properties", {}).get("kind", {}).get("const")
            if kind is None or value.get("kind") == kind:
                value = complete(value, resolved, branch_root)
    for branch in schema.get("allOf", []):
        value = complete(value, branch, root)
    if isinstance(value, dict):
        for key, sub in schema.get("properties", {}).items():
            resolved, _ = follow(sub, root)
            if key not in value and "default" in resolved:
                value[key] = copy.deepcopy(resolved["default"])
            if key in value:
                value[key] = complete(value[key], sub, root)
        extra = schema.get("additionalProperties")
        if isinstance(extra, Mapping):
            for key in value:
                if key not in schema.get("properties", {}):
                    value[key] = complete(value[key], extra, root)
        # Whose order in a file, or of columns in a sheet, means nothing is in the schema's: jobs' params are compared.
        known = [key for key in schema.get("properties", {}) if key in value]
        value = {**{key: value[key] for key in known}, **value}
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        value = [complete(item, schema["items"], root) for item in value]
    return value


class Keys(NamedTuple):
    """The keys of an entry: those it must have, and all that it may have."""

    required: tuple[str, ...]
    allowed: tuple[str, ...]


@functools.cache
def entry_kinds(section: str) -> dict[str | None, Keys]:
    """Return the keys of an entry of a section, by its kind; of entries that have no kinds under None.

    Parameters
    ----------
    section : {"models", "motifs", "backgrounds", "screens", "attributions"}

    Returns
    -------
    dict
    """
    schema = schemas()[f"{section}.schema.yaml"]
    found = {}
    for one in [schema] if "properties" in schema else schema["oneOf"]:
        kind = one["properties"].get("kind", {}).get("const")
        found[kind] = Keys(tuple(one.get("required", ())), tuple(one["properties"]))
    return found


def complete_entry(section: str, settings: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return one entry of the config with its defaults, for who calls a function with it in a notebook.

    Parameters
    ----------
    section : {"motifs", "backgrounds"}
        Whose schema's values need no other check than that of the function that takes the entry.
    settings : mapping
        Keys and values as of YAML.
    where : str
        For messages.

    Returns
    -------
    dict
        Every key that the entry may have; None for those without value and default.

    Raises
    ------
    MarginomeError
        An unknown kind, an unknown or a missing key.
    """
    kinds = entry_kinds(section)
    kind = None if None in kinds else settings.get("kind")
    if kind not in kinds:
        raise unknown_name("kind", kind, kinds, where=where)
    keys, of_kind = kinds[kind], f" of kind {kind}" if kind else ""
    for key in settings:
        if key not in keys.allowed:
            raise unknown_name(f"key{of_kind}", key, keys.allowed, where=where)
    missing = [key for key in keys.required if settings.get(key) is None]
    if missing:
        needed = f"Kind {kind} needs them." if kind else "config/README.md explains each key."
        raise MarginomeError(f"missing: {', '.join(missing)}", where=where, remedy=needed)
    chosen = complete(copy.deepcopy(dict(settings)), {"$ref": f"{section}.schema.yaml"})
    return dict.fromkeys(keys.allowed) | chosen
