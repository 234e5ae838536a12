"""Sheets of models: a table with a row for each, in place of an entry of the config for each. Imports no PyTorch."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from marginome.bounded import TABLE
from marginome.config_schema import entry_kinds, schemas
from marginome.errors import MarginomeError, shown, unknown_name
from marginome.storage import atomic
from marginome.textfiles import is_address, numbered_lines, read_text


class Row(NamedTuple):
    """What a sheet says of one model."""

    #: An entry of ``models:``.
    entry: dict[str, Any]
    #: Its labels, by column.
    labels: dict[str, str]
    #: The lines it stands in, one for each member of an ensemble.
    lines: tuple[int, ...]
    #: Columns in which members differ: labels of none.
    differing: tuple[str, ...] = ()


def read_sheet(path: str | os.PathLike, *, ensemble: str | None = None) -> dict[str, Row]:
    """Read a sheet of models.

    Parameters
    ----------
    path : path
        Tab-separated text with a line of column names. ``name`` and any key of an entry of ``models:`` (values as in
        YAML) say what the model is; other columns are labels. Empty cells say nothing; lines that are empty or begin
        with # are passed over. The double quotes that spreadsheets put around a cell are taken off.
    ensemble : str, optional
        A column whose value names the model instead: rows that have it in common are the members of one ensemble. Their
        ``weights`` (and ``bias_weights``) become a list; other keys agree; labels that differ, such as the fold, are
        dropped. A member without a label has that of the others.

    Returns
    -------
    dict of str to Row
        In the sheet's order.

    Raises
    ------
    MarginomeError
        Names the line and the column: no name, a name given twice, a cell that is no value, members that differ.
    """
    source, keys = str(path), entry_kinds("models")[None].allowed
    naming = ensemble or "name"
    lines = [(number, _cells(line)) for number, line in numbered_lines(read_text(path, TABLE)) if _says(line)]
    columns = lines[0][1] if lines else []
    first = f"{source}, line {lines[0][0]}" if lines else source
    if naming not in columns:
        raise MarginomeError(
            f"there is no column '{naming}': found {shown(', '.join(columns), quotes=False, limit=200) or 'nothing'}",
            where=first,
            remedy="The first line names the columns, separated by tabs.",
        )
    _check_columns(columns, naming, keys, first)
    found: dict[str, Row] = {}
    for number, cells in lines[1:]:
        where = f"{source}, line {number}"
        if len(cells) > len(columns):
            raise MarginomeError(f"{len(cells)} cells, but {len(columns)} columns", where=where,
                                 remedy="Give every column a name, and no cell a tab or a line break.")  # fmt: skip
        given = {column: cell for column, cell in zip(columns, cells) if cell}
        if naming not in given:
            raise MarginomeError("the cell is empty, wanted the model's name", where=f"{where}, column {naming}")
        name = given.pop(naming)
        _check_name(name, f"{where}, column {naming}")
        if ensemble:
            given.pop("name", None)
        entry = {key: _value(given[key], f"{where}, column {key}") for key in given if key in keys}
        labels = {column: cell for column, cell in given.items() if column not in keys}
        if name not in found:
            found[name] = Row(entry, labels, (number,))
        elif ensemble:
            found[name] = _joined(found[name], entry, labels, number, where)
        else:
            raise MarginomeError(
                f"the name {shown(name)} is there already, in line {found[name].lines[0]}",
                where=f"{where}, column name",
                remedy="Give another, or say in the config which column names an ensemble: {file: ..., ensemble: ...}.",
            )
    if not found:
        raise MarginomeError("there is no row", where=source, remedy="Give a line for each model.")
    return found


def _says(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(("#", '"#'))


_QUOTED = re.compile(r'"(?:[^"]|"")*"')


def _cells(line: str) -> list[str]:
    """Split a line at its tabs; without quotes around cells, as spreadsheets write them, and empty cells at the end."""
    cells = [cell.strip() for cell in line.split("\t")]
    if '"' in line:
        cells = [cell[1:-1].replace('""', '"').strip() if _QUOTED.fullmatch(cell) else cell for cell in cells]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _check_columns(columns: Sequence[str], naming: str, keys: Sequence[str], where: str) -> None:
    """Refuse a column without a name, with that of another, or that is hardly meant as the label it would be."""
    for i, column in enumerate(columns):
        if not column:
            raise MarginomeError("a column has no name", where=where, remedy="Give each column a name of its own.")
        for other in (other for other in columns[:i] if other.casefold() == column.casefold()):
            what = f"the column {shown(column)} is there twice" if other == column else _case_alone(other, column)
            raise MarginomeError(what, where=where, remedy="Give each column a name of its own.")
        if column.casefold() == "model" and naming != column:
            raise MarginomeError(f"no label can be called {shown(column)}: tables call the model so", where=where,
                                 remedy="Give the column another name.")  # fmt: skip
        near = difflib.get_close_matches(re.sub(r"[\s-]", "_", column.lower()), keys, n=1, cutoff=0.85)
        if near and column not in (*keys, naming):  # it would be ignored without a word
            raise MarginomeError(f"the column {shown(column)} would be a label, but is nearly '{near[0]}'", where=where,
                                 remedy=f"Write {near[0]}, or give the label another name.")  # fmt: skip


def _case_alone(one: str, other: str) -> str:
    return f"the columns {shown(one)} and {shown(other)} differ in upper and lower case alone, and are one to DuckDB"


def _check_name(name: str, where: str) -> None:
    allowed = schemas()["config.schema.yaml"]["$defs"]["name"]
    if len(name) > allowed["maxLength"] or not re.match(allowed["pattern"], name):
        raise MarginomeError(f"{shown(name)} is not allowed", where=where, remedy=allowed["description"])


#: Text and whole numbers to YAML too, which takes its time over each of thousands of cells.
_PATH = re.compile(r"[A-Za-z./][A-Za-z0-9._-]*/[A-Za-z0-9._/-]*[A-Za-z0-9._-]")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def _value(cell: str, where: str) -> Any:
    """Read a cell as YAML reads a value."""
    if _PATH.fullmatch(cell):
        return cell
    if _NUMBER.fullmatch(cell):
        return int(cell)
    try:
        return yaml.safe_load(cell)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise MarginomeError(
            f"{shown(cell)} is no value of YAML", where=where, remedy="Put text with special letters in single quotes."
        ) from None


def _joined(row: Row, entry: dict[str, Any], labels: dict[str, str], line: int, where: str) -> Row:
    """Add a member to an ensemble."""
    joined = dict(row.entry)
    for key in dict.fromkeys([*joined, *entry]):
        if key in ("weights", "bias_weights") and key in joined and key in entry:
            both = _list(joined[key]), _list(entry[key])
            if key == "weights" and (twice := [file for file in both[1] if file in both[0]]):
                raise MarginomeError(
                    f"{shown(twice[0])} is in the ensemble already, of lines {', '.join(map(str, row.lines))}",
                    where=f"{where}, column {key}",
                    remedy="Take the line out: a copy is no further member.",
                )
            joined[key] = [*both[0], *both[1]]
        elif joined.get(key) != entry.get(key):
            raise MarginomeError(
                f"found {shown(entry.get(key))}, but {shown(joined.get(key))} in line {row.lines[0]}: "
                "members of one ensemble differ in their weights alone",
                where=f"{where}, column {key}",
            )
    both = {**labels, **row.labels}
    differing = [column for column, value in labels.items() if both[column] != value]
    differing = tuple(dict.fromkeys([*row.differing, *differing]))
    same = {column: value for column, value in both.items() if column not in differing}
    return Row(joined, same, (*row.lines, line), differing)


def _list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


class Expanded(NamedTuple):
    """A config whose models are all entries, and whose screens name them."""

    config: dict[str, Any]
    #: Models of each sheet, in its order.
    sheets: tuple[tuple[str, ...], ...]
    #: Where a model of a sheet stands: the file and its lines.
    places: dict[str, str]
    #: Its labels, by column.
    labels: dict[str, dict[str, str]]


def expand_sheets(config: Mapping[str, Any]) -> Expanded:
    """Put the models of a config's sheets beside its own, and models in place of the labels that screens select by.

    Parameters
    ----------
    config : mapping
        As read from YAML. What the schema refuses is left to it.

    Returns
    -------
    Expanded

    Raises
    ------
    MarginomeError
        As `read_sheet`; a name that the config or another sheet has too; a label that no row has.
    """
    given = config.get("sheets") or []
    models = config.get("models") or {}
    if isinstance(given, str | Mapping):
        raise MarginomeError(
            f"found {shown(given)}, wanted a list", where="config: sheets", remedy="Write it in brackets: [...]."
        )
    if not given or not isinstance(given, Sequence) or not isinstance(models, Mapping):
        return Expanded(dict(config), (), {}, {})
    entries, labels, sheets, places = dict(models), {}, [], {}
    #: What screens select by: labels and the column that names the models; None where an ensemble's rows differ.
    chosen_by: dict[str, dict[str, str | None]] = {}
    for one in given:
        settings = {"file": one} if isinstance(one, str) else one
        if not isinstance(settings, Mapping) or not isinstance(settings.get("file"), str):
            return Expanded(dict(config), (), {}, {})
        if is_address(settings["file"]):
            raise MarginomeError("a sheet is read when the run is planned, before anything is fetched",
                                 where=f"config: sheets: {settings['file']}",
                                 remedy="Give a copy on this machine.")  # fmt: skip
        try:
            rows = _sheet(settings["file"], settings.get("ensemble"), _state(settings["file"]))
        except MarginomeError as error:
            raise MarginomeError(error.what, where=f"config: sheets: {error.where}", remedy=error.remedy) from None
        for name, row in rows.items():
            place = f"{settings['file']}, line {', '.join(map(str, row.lines))}"
            if name in entries:
                where = places.get(name, f"config: models.{name}")
                raise MarginomeError(f"the model {shown(name)} is there already ({where})", where=place,
                                     remedy="Give another name.")  # fmt: skip
            entries[name], labels[name], places[name] = row.entry, row.labels, place
            naming = settings.get("ensemble") or "name"
            chosen_by[name] = {**row.labels, naming: name, **dict.fromkeys(row.differing)}
        sheets.append(tuple(rows))
    columns = dict.fromkeys(column for given in labels.values() for column in given)
    for column, other in ((c, o) for c in columns for o in columns if c.casefold() == o.casefold() and c != o):
        raise MarginomeError(
            _case_alone(column, other), where="config: sheets", remedy="Call them one name in all sheets."
        )
    screens = config.get("screens")
    if isinstance(screens, Mapping):
        screens = {
            name: _chosen(entry, chosen_by, places, f"config: screens.{name}") if isinstance(entry, Mapping) else entry
            for name, entry in screens.items()
        }
    return Expanded({**config, "models": entries, "screens": screens}, tuple(sheets), places, labels)


@functools.cache
def _sheet(path: str, ensemble: str | None, state: tuple | None) -> dict[str, Row]:
    return read_sheet(path, ensemble=ensemble)


def _state(path: str) -> tuple | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size


#: What screens select models by: values by model and column; None where the rows of an ensemble differ.
_By = Mapping[str, Mapping[str, str | None]]


def _chosen(entry: Mapping[str, Any], by: _By, places: Mapping[str, str], where: str) -> dict[str, Any]:
    """Put models in place of labels in a screen: its own, and of those the ones that its comparisons select."""
    entry = dict(entry)
    if isinstance(entry.get("models"), Mapping):
        entry["models"] = _selected(entry["models"], by, places, f"{where}.models")
    if isinstance(entry.get("comparisons"), Mapping) and isinstance(entry.get("models"), Sequence):
        mine = {model: by[model] for model in entry["models"] if model in by}
        entry["comparisons"] = {
            name: {
                side: _selected(wanted, mine, places, f"{where}.comparisons.{name}.{side}")
                if isinstance(wanted, Mapping)
                else wanted
                for side, wanted in one.items()
            }
            if isinstance(one, Mapping)
            else one
            for name, one in entry["comparisons"].items()
        }
    return entry


def _selected(wanted: Mapping[str, Any], by: _By, places: Mapping[str, str], where: str) -> list[str]:
    """Return the models of sheets whose labels are all among those wanted."""
    columns = sorted({column for row in by.values() for column in row})
    chosen = list(by)
    if not wanted:
        raise MarginomeError("no label is given", where=where, remedy="Name one and its value, or list the models.")
    for column, values in wanted.items():
        here = f"{where}.{shown(column, quotes=False)}"
        if column not in columns:
            raise unknown_name("label", column, columns, where=where)
        texts = [_text(value, here) for value in _list(values)]
        if not texts:
            raise MarginomeError("no value is given", where=here, remedy="Name those wanted, or leave the label out.")
        for name in chosen:
            if by[name].get(column, "") is None:
                raise MarginomeError(
                    f"whether model '{name}' is meant is not clear: rows differ in {shown(column)} ({places[name]})",
                    where=here,
                    remedy="Give the rows one value, or choose models by another label or by their names.",
                )
        known = sorted({row[column] for row in by.values() if row.get(column) is not None})
        for text in texts:
            if text not in known:
                raise unknown_name("value", text, known, where=here)
        chosen = [name for name in chosen if by[name].get(column) in texts]
    if not chosen:
        raise MarginomeError(
            f"no model of a sheet has all of {shown(json.dumps(dict(wanted)), quotes=False)}", where=where,
            remedy="Each label alone is there: take one out.",
        )  # fmt: skip
    return chosen


def _text(value: Any, where: str) -> str:
    """Return a label's value as the sheet has it; of 1.10, NO and null YAML does not tell what was written."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise MarginomeError(
        f"found {shown(value)}, wanted text as in the sheet", where=where,
        remedy='YAML reads 1.10, NO and null as something else than text: write "1.10", "NO", "null".',
    )  # fmt: skip


def located(error: MarginomeError, places: Mapping[str, str]) -> MarginomeError:
    """Return an error of the config with the lines of sheets in place of the entries that were made of them."""
    if not places:
        return error
    names = "|".join(re.escape(name) for name in sorted(places, key=len, reverse=True))
    pattern = re.compile(rf"config: models\.({names})(?:\.([A-Za-z_]\w*))?(?![\w-])")

    def words(found: re.Match) -> str:
        return places[found[1]] + (f", column {found[2]}" if found[2] else "")

    return MarginomeError(
        pattern.sub(words, error.what), where=pattern.sub(words, error.where or "") or None, remedy=error.remedy
    )


# ------------------------------------------------------------------------------------------------ batches
def batches_of(
    models: Sequence[str], sheets: Sequence[Sequence[str]], size: int, kept: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Return the models of every batch, by its name.

    Parameters
    ----------
    models : sequence of str
        All models, in the config's order.
    sheets : sequence of sequence of str
        Those of each sheet. A model of no sheet is a batch by itself.
    size : int
        Models of a sheet that one batch holds at most.
    kept : mapping of str to str
        The batch that a model was in when this was asked last: it stays there, in that order, so that rows that are
        appended or sorted touch no other batch.

    Returns
    -------
    dict of str to tuple of str
        A batch of several is named by its first model, how many more there were and a digest of all when it was made.
    """
    alone = set(models) - {name for sheet in sheets for name in sheet}
    batches: dict[str, list[str]] = {name: [name] for name in models if name in alone}
    order = {name: i for i, name in enumerate(kept)}
    for sheet in sheets:
        for name in sorted(order.keys() & set(sheet), key=order.__getitem__):
            batches.setdefault(kept[name], []).append(name)
        fresh = [name for name in sheet if name not in kept]
        for run in (fresh[i : i + size] for i in range(0, len(fresh), size)):
            batches[_name(run)] = run
    return {name: tuple(members) for name, members in batches.items()}


def _name(run: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(run).encode()).hexdigest()[:8]
    return run[0] if len(run) == 1 else f"{run[0]}+{len(run) - 1}-{digest}"


class KeptBatches:
    """Which batch each model of a sheet is in, kept in a file beside the results.

    Parameters
    ----------
    path : path
        Tab-separated; need not exist. Without it (results were deleted) batches are made anew.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def read(self) -> dict[str, str]:
        """Return the batch of each model; nothing where there is no such file."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()[1:]
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError):
            raise MarginomeError("it cannot be read", where=str(self.path), remedy="Delete it.") from None
        return dict(pair for pair in (line.split("\t") for line in lines) if len(pair) == 2)

    def write(self, batches: Mapping[str, Sequence[str]]) -> None:
        """Keep the batches too. None is forgotten: another config may run in the same folder, a row may come back."""
        known = self.read()
        new = known | {name: batch for batch, members in batches.items() for name in members}
        if new != known:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic(self.path) as part:
                part.write_text("model\tbatch\n" + "".join(f"{name}\t{batch}\n" for name, batch in new.items()))
