"""Statements given to the driver as they are: the same rows as through SQLAlchemy, in both databases."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa

from roomtape.state.database import Database, DatabaseUnavailable
from roomtape.state.schema import accounts, policies
from roomtape.state.statement import Statement

_ADD = Statement(
    sa.insert(policies).returning(policies.c.id, policies.c.name), "uin", "name", "document", "created_ms"
)
_RENAME = Statement(
    sa.update(policies).where(policies.c.name == sa.bindparam("of_name"), policies.c.created_ms >= 5), "name"
)
_LIST = Statement(
    sa.select(policies.c.name, policies.c.created_ms, policies.c.document)
    .where(policies.c.created_ms >= sa.bindparam("since", type_=sa.BigInteger()))
    .order_by(policies.c.created_ms)
)
DOCUMENT = {"statement": [{"effect": "allow", "name": "房 %s"}], "none": None}


def _fill(conn: sa.Connection) -> list[str]:
    conn.execute(accounts.insert().values(uin=1, created_ms=5))
    made = []
    for number, name in enumerate(("a", "b %(x)s", "c?")):
        values = {"uin": 1, "name": name, "document": DOCUMENT, "created_ms": 4 + number}
        (row,) = _ADD.rows(conn, values)
        assert isinstance(row.id, int)
        made.append(row.name)
    return made


async def test_values_come_out_as_they_went_in(db: Database) -> None:
    assert await db.run(_fill) == ["a", "b %(x)s", "c?"]
    stored = await db.ask(lambda conn: conn.execute(sa.select(policies).order_by(policies.c.id)).all())
    assert [(row.name, row.document) for row in stored] == [(n, DOCUMENT) for n in ("a", "b %(x)s", "c?")]
    rows = await db.ask(lambda conn: _LIST.rows(conn, {"since": 5}))
    assert [tuple(row) for row in rows] == [("b %(x)s", 5, DOCUMENT), ("c?", 6, DOCUMENT)]
    first = await db.ask(lambda conn: _LIST.first(conn, {"since": 5}))
    assert first.document == DOCUMENT
    assert await db.ask(lambda conn: _LIST.first(conn, {"since": 7})) is None


async def test_it_counts_the_rows_it_changed_and_is_undone_with_its_transaction(db: Database) -> None:
    await db.run(_fill)
    assert await db.run(lambda conn: _RENAME.count(conn, {"of_name": "a", "name": "z"})) == 0
    assert await db.run(lambda conn: _RENAME.count(conn, {"of_name": "c?", "name": "z"})) == 1

    def fail(conn: sa.Connection) -> None:
        assert _RENAME.count(conn, {"of_name": "z", "name": "y"}) == 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await db.run(fail)
    assert await db.ask(lambda conn: [row.name for row in _LIST.rows(conn, {"since": 6})]) == ["z"]


async def test_what_the_driver_refuses_changes_nothing(db: Database) -> None:
    """A reader may not write; SQLite's driver says so as it says that a file is locked."""
    await db.run(_fill)
    with pytest.raises((DatabaseUnavailable, psycopg.errors.ReadOnlySqlTransaction)):
        await db.ask(lambda conn: _RENAME.count(conn, {"of_name": "a", "name": "z"}))
    assert "a" in [row.name for row in await db.ask(lambda conn: _LIST.rows(conn, {"since": 0}))]
