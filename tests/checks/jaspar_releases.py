"""Every release and collection of JASPAR that pyjaspar carries, against its tables as SQLite alone reads them.

python tests/checks/jaspar_releases.py
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Iterator

import numpy as np
import pyjaspar

from marginome.motifs.databases import read_jaspar_release
from marginome.motifs.motif import OddMotif

NEWEST = """
    SELECT ID, BASE_ID || '.' || VERSION, NAME FROM MATRIX AS m WHERE COLLECTION = ?
    AND VERSION = (SELECT MAX(VERSION) FROM MATRIX WHERE BASE_ID = m.BASE_ID AND COLLECTION = m.COLLECTION)
"""


def tables(release: str) -> tuple[list[str], sqlite3.Connection]:
    """Return the collections of a release, and its database."""
    database = pyjaspar.jaspardb(release=release)
    return [row[0] for row in database.conn.execute("SELECT DISTINCT COLLECTION FROM MATRIX ORDER BY 1")], database.conn


def faults(release: str, collection: str, connection: sqlite3.Connection) -> Iterator[str]:
    """Yield what differs between a collection as it is read and as it stands in the tables."""
    found = {m.motif_id: m for m in read_jaspar_release(release, collection=collection)}
    wanted = {name: (number, title) for number, name, title in connection.execute(NEWEST, (collection,))}
    if found.keys() != wanted.keys():
        yield f"{len(found)} motifs, in the tables {len(wanted)}: {sorted(found.keys() ^ wanted.keys())[:5]}"
    for name in found.keys() & wanted.keys():
        number, title = wanted[name]
        rows = list(connection.execute("SELECT row, col, val FROM MATRIX_DATA WHERE ID = ?", (number,)))
        counts = np.zeros((max(col for _, col, _ in rows), 4))
        for base, col, value in rows:
            counts[col - 1, "ACGT".index(base)] = value
        motif, sums = found[name], counts.sum(1, keepdims=True)
        if isinstance(motif, OddMotif):
            if (sums > 0).all() and (counts >= 0).all():
                yield f"{name} is refused: {motif.error}"
        elif motif.motif_name != title:
            yield f"{name} is called {motif.motif_name!r}, in the tables {title!r}"
        elif motif.pwm.shape != counts.shape or not np.allclose(motif.pwm, counts / sums, atol=1e-12):
            yield f"{name} has another matrix: {_first_difference(motif.pwm, counts / sums)}"


def _first_difference(found: np.ndarray, wanted: np.ndarray) -> str:
    if found.shape != wanted.shape:
        return f"{len(found)} positions, in the tables {len(wanted)}"
    at = int(np.abs(found - wanted).max(1).argmax())
    return f"position {at + 1} is {found[at].tolist()}, in the tables {wanted[at].tolist()}"


def main() -> None:
    """Read them all."""
    wrong = read = 0
    for release in sorted(pyjaspar.jaspar_releases):
        collections, connection = tables(release)
        with contextlib.closing(connection):
            for collection in collections:
                for fault in faults(release, collection, connection):
                    print(f"{release} {collection}: {fault}", flush=True)
                    wrong += 1
                read += 1
    print(f"{read} collections read, {wrong} faults")
    sys.exit(wrong > 0 or read == 0)


if __name__ == "__main__":
    main()
