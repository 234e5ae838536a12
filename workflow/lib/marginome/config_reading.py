"""A config as YAML gives it: plain values, of a sane size, and nothing that YAML drops or changes without a word."""

from __future__ import annotations

import collections
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from marginome.errors import MarginomeError, shown

#: No config of a person comes near these; one that does nests or repeats itself (anchors of anchors).
MAX_DEPTH, MAX_VALUES = 50, 200_000
#: Larger whole numbers are mistakes, and Python refuses to write those of thousands of digits.
MAX_INTEGER = 2**64


def place(path: Sequence[object]) -> str:
    """Return the words for a place in the config, ``config: screens.first.shards``, on one line."""
    words = [shown(key, quotes=False, limit=100) for key in path]  # a name is 100 letters at most
    return "config: " + (".".join(words) or "(top level)")


def plain_values(config: object) -> dict[str, Any]:
    """Copy a config into dicts and lists that share nothing.

    Parameters
    ----------
    config : mapping
        As read from YAML or JSON; parts may be shared (anchors).

    Returns
    -------
    dict
        Text keys; values are dicts, lists, text, numbers, booleans and None.

    Raises
    ------
    MarginomeError
        A key that is not text, a date or another value that no key has, nesting or repetition without end.
    """
    if not isinstance(config, Mapping):
        raise MarginomeError(
            f"found {shown(config)}, wanted keys and values",
            where=place([]),
            remedy="Start with models:, motifs:, backgrounds: and screens:, as config/config.yaml does.",
        )
    return _plain(config, (), itertools.count(1))


def _plain(value: object, path: tuple, count: Iterator[int]) -> Any:
    if len(path) > MAX_DEPTH or next(count) > MAX_VALUES:
        raise MarginomeError(
            f"it nests deeper than {MAX_DEPTH} or holds more than {MAX_VALUES:,} values",
            where=place(path[:3]),
            remedy="Look for brackets that are not closed, and for an anchor (&name) that holds itself.",
        )
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise MarginomeError(
                    f"the key {shown(key)} is {_kind(key)}, wanted text",
                    where=place(path),
                    remedy='YAML reads no, on, 12 and 2026-01-01 as something else than text: write "no", "12".',
                )
            _check_text(key, path)
        return {str(key): _plain(item, (*path, key), count) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, (*path, i), count) for i, item in enumerate(value)]
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, int) and not -MAX_INTEGER < value < MAX_INTEGER:
        raise MarginomeError("the whole number is too large", where=place(path), remedy="Write a smaller one.")
    elif not (value is None or isinstance(value, bool | int | float)):
        raise MarginomeError(
            f"found {shown(value)}, which is {_kind(value)}; wanted text, a number, a list or keys",
            where=place(path),
            remedy="Write text that looks like a date or a tag in quotes.",
        )
    return value


def _check_text(text: str, path: Sequence[object]) -> None:
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise MarginomeError(
            f"{shown(text)} holds a character that no file name can hold", where=place(path), remedy="Type it again."
        )


def _kind(value: object) -> str:
    known = {bool: "a boolean", int: "a number", float: "a number", type(None): "empty", list: "a list"}
    return known.get(type(value), f"a {type(value).__name__}")


# ------------------------------------------------------------------------------------------------ files
def check_file(file: str | os.PathLike) -> None:
    """Read a config file again for what its values no longer tell.

    Parameters
    ----------
    file : path
        YAML or JSON. One that does not exist (any more) is passed over.

    Raises
    ------
    MarginomeError
        A key given twice, of which YAML keeps the last; a number such as 10:20 or 010, which YAML reads as 620 and 8;
        a file that is not text in UTF-8 or not YAML.
    """
    path = Path(file)
    if not path.is_file():
        return
    where = str(file)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise MarginomeError(f"it cannot be read ({error.strerror})", where=where) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise MarginomeError(
            "it is not text in UTF-8", where=f"{where}, line {line}", remedy="Save it as UTF-8 in your editor."
        ) from error
    try:
        if not _check_json(text, where):
            loader = _Strict(text)
            loader.name = where
            try:
                loader.get_single_data()
            finally:
                loader.dispose()
    except MarginomeError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        tab = " (a tab: YAML indents with spaces)" if "'\\t'" in str(error.problem) else ""
        raise MarginomeError(f"not valid YAML: {error.problem or error.context}{tab}", where=where + line) from error
    except yaml.YAMLError as error:
        raise MarginomeError(f"not valid YAML: {str(error).splitlines()[0]}", where=where) from error
    except RecursionError as error:
        raise MarginomeError(
            "its brackets nest thousands deep", where=where, remedy="Look for brackets that are not closed."
        ) from error
    except ValueError as error:  # a number of thousands of digits, a date that no calendar has
        raise MarginomeError(f"a value cannot be read: {str(error).splitlines()[0]}", where=where) from error


def _check_json(text: str, where: str) -> bool:
    """Whether the text is JSON, which Snakemake tries first; no key may be given twice in it."""

    def unique(pairs: list[tuple[str, Any]]) -> dict:
        for key, times in collections.Counter(key for key, _ in pairs).items():
            if times > 1:
                raise MarginomeError(f"'{key}' is given twice", where=where, remedy=_TWICE)
        return dict(pairs)

    try:
        json.loads(text, object_pairs_hook=unique)
    except MarginomeError:
        raise
    except ValueError:
        return False
    return True


_TWICE = "Two things cannot have one name: rename or remove one."


class _Strict(yaml.SafeLoader):
    """A loader that refuses a key given twice in one mapping, and numbers to the base of 60 or 8."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # <<: *anchor; what follows may override it
                continue
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise MarginomeError(
                    "a key is a list or a mapping, wanted text",
                    where=f"{self.name}, line {line}",
                    remedy="Write key: value.",
                )
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise MarginomeError(
                    f"'{key}' is given twice (lines {seen[key]} and {line})", where=str(self.name), remedy=_TWICE
                )
            seen[key] = line
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Read a number, unless YAML's reading of it is not what a person means."""
        text = str(node.value)
        number = super().construct_yaml_int(node) if node.tag.endswith(":int") else super().construct_yaml_float(node)
        if ":" in text or (text.lstrip("+-").isdigit() and text.lstrip("+-0") and text.lstrip("+-").startswith("0")):
            raise MarginomeError(
                f"YAML reads {text} as the number {number}",
                where=f"{self.name}, line {node.start_mark.line + 1}",
                remedy=f'Write "{text}" in quotes, or {number}.',
            )
        return number


_Strict.add_constructor("tag:yaml.org,2002:int", _Strict.construct_number)
_Strict.add_constructor("tag:yaml.org,2002:float", _Strict.construct_number)
