"""Write config/README.md from the schemas, so that the two cannot drift apart (a test compares them).

``python -m marginome.config_reference > config/README.md``
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from marginome.config_schema import branches, follow, schemas

_INTRODUCTION = """\
# The config, key by key

One YAML file says what is run: `snakemake --cores all --configfile my.yaml` (without it: `config/config.yaml`, the
shipped demo). `config/examples/` has configs to start from. Targets come before `--configfile`, which takes every
word that follows it: `snakemake --cores 1 estimate --configfile my.yaml`. Paths are relative to the working
directory.

A wrong key, value, type or combination stops the run at once and says which key, what is allowed and what comes
closest. So do lengths, starts, functions in your files and names of outputs, as far as the config and the headers of
model files tell. What only a loaded model or a read motif tells is checked by the first jobs, before backgrounds are
made.

Whole numbers may be written 4 or 4.0. Text that YAML takes for something else goes in quotes: `no`, `on`,
`2026-01-01`, `10:20` (a number to the base of 60), `010` (8). A key given twice is refused. Names of files may hold
spaces and quotes, but no `{`, `}` or `<...>`, which are patterns to Snakemake. A file that is not UTF-8, or not YAML
at all, Snakemake itself refuses before it reads the workflow: the last line of what it prints says why.

This page is made from `workflow/lib/marginome/schemas/*.schema.yaml` by `python -m marginome.config_reference`.
"""


def config_reference() -> str:
    """Return the Markdown page that explains every key: what it means, its type, allowed values and default."""
    main = schemas()["config.schema.yaml"]
    parts = [_INTRODUCTION, "## Top level\n", _table(main, main)]
    for key, sub in main["properties"].items():
        entry, root = follow(sub, main)
        each = entry.get("additionalProperties")
        if isinstance(each, Mapping):
            described, root = follow(each, main)
            parts += [f"## `{key}`: one entry each\n", described.get("description", "").strip() + "\n"]
            # A part that several kinds share is explained once.
            parts += list(dict.fromkeys(_sections(described, root, f"{key}.<name>")))
        elif entry.get("properties"):
            parts += [f"## `{key}`\n", _table(entry, root)]
    return "\n".join(parts).rstrip() + "\n"


def _sections(schema: Mapping, root: Mapping, path: str, heading: str = "") -> Iterator[str]:
    """An entry's table under its heading, then what is nested in it."""
    if schema.get("properties"):
        yield heading + _table(schema, root)
        heading = ""
    for branch in _branches(schema, root):
        if branch.get("properties"):
            kind = branch["properties"].get("kind", {}).get("const")
            title = f"### `{path}` with `kind: {kind}`\n\n" if kind else f"### `{path}`\n\n"
            yield from _sections(branch, root, path, heading + title + _description(branch))
            heading = ""
    nested = dict(schema.get("properties", {}))
    if isinstance(schema.get("additionalProperties"), Mapping) and schema["additionalProperties"]:
        nested["<name>"] = schema["additionalProperties"]
    for key, sub in nested.items():
        inner, inner_root = follow(sub, root)
        for candidate in [inner, *_branches(inner, inner_root)]:
            item, item_root = follow(candidate.get("items", {}) or {}, inner_root)
            for target, target_root in ((candidate, inner_root), (item, item_root)):
                extra = target.get("additionalProperties")
                if target.get("properties") and target is not schema:
                    yield from _sections(target, target_root, f"{path}.{key}", f"### `{path}.{key}`\n\n")
                elif isinstance(extra, Mapping) and extra and target.get("type") == "object":
                    each, each_root = follow(extra, target_root)
                    for one in [each, *_branches(each, each_root)]:
                        if one.get("properties"):
                            below = f"{path}.{key}.<name>"
                            yield from _sections(one, each_root, below, f"### `{below}`\n\n{_description(one)}")


def _description(schema: Mapping) -> str:
    text = schema.get("description", "").strip()
    return f"{text}\n\n" if text else ""


def _branches(schema: Mapping, root: Mapping) -> list[Mapping]:
    return [follow(branch, root)[0] for branch in branches(schema)]


def _table(schema: Mapping, root: Mapping) -> str:
    required = set(schema.get("required", []))
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, sub in schema.get("properties", {}).items():
        resolved, inner_root = follow(sub, root)
        default = "**required**" if key in required else _code(resolved["default"]) if "default" in resolved else "-"
        meaning = " ".join((sub.get("description") or resolved.get("description", "")).split()).replace("|", "\\|")
        lines.append(f"| `{key}` | {_kind(resolved, inner_root)} | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _kind(schema: Mapping, root: Mapping) -> str:
    if "const" in schema:
        return _code(schema["const"])
    if "enum" in schema:
        return ", ".join(_code(value) for value in schema["enum"])
    branches = _branches(schema, root)
    if branches and "type" not in schema:
        return " or ".join(dict.fromkeys(_kind(branch, root) for branch in branches))
    kind = schema.get("type", "any")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    if kind == "array" and isinstance(schema.get("items"), Mapping):
        return "list of " + _kind(follow(schema["items"], root)[0], root)
    limits = [f"{sign} {schema[word]}" for word, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))
              if word in schema]  # fmt: skip
    words = {"object": "mapping", "null": "none"}
    named = {"file": "file", "files": "file, folder or pattern", "code": "path.py:name"}.get(
        schema.get("format", ""), words.get(kind, kind)
    )
    return " ".join([named, *limits])


def _code(value: Any) -> str:
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


if __name__ == "__main__":
    print(config_reference(), end="")
