"""Statements that are run with every piece of every recording: compiled once, then given to the driver.

SQLAlchemy writes them as it writes all others, for either kind of database. What is left out at each run
is its machinery around the driver, which costs several times what the driver does.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa


class _Compiled(NamedTuple):
    text: str
    order: list[str] | None  # of the parameters, where the driver takes them by place
    fixed: dict[str, Any]  # parameters the statement brings itself, as the driver takes them
    convert: dict[str, Callable[[Any], Any]]
    row: Callable[[Any], Any] | None
    read: Sequence[tuple[int, Callable[[Any], Any]]]  # columns the driver gives as text: JSON


class Statement:
    """One statement. Lists of values (`IN`) are not for it.

    `columns` are those that the values of an INSERT or of the SET of an UPDATE are given for by name.
    """

    def __init__(self, statement: sa.ClauseElement, *columns: str) -> None:
        self._statement = statement
        self._columns = columns
        self._compiled: dict[str, _Compiled] = {}

    def count(self, conn: sa.Connection, values: dict[str, Any]) -> int:
        """Run it in the caller's transaction; returns how many rows it changed."""
        return int(self._run(conn, values)[1].rowcount)

    def rows(self, conn: sa.Connection, values: dict[str, Any]) -> list[Any]:
        """Run it; returns its rows as named tuples, JSON decoded, all else as the driver gives it: 0 and 1
        for flags."""
        compiled, cursor = self._run(conn, values)
        assert compiled.row is not None
        if not compiled.read:
            return [compiled.row(row) for row in cursor.fetchall()]
        rows = [list(row) for row in cursor.fetchall()]
        for row in rows:
            for place, decode in compiled.read:
                row[place] = decode(row[place])
        return [compiled.row(row) for row in rows]

    def first(self, conn: sa.Connection, values: dict[str, Any]) -> Any:
        """Run it; returns its first row, as `rows` gives it, or None."""
        return next(iter(self.rows(conn, values)), None)

    def _run(self, conn: sa.Connection, values: dict[str, Any]) -> tuple[_Compiled, Any]:
        dialect = conn.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = self._compile(dialect)
        given = {**compiled.fixed, **values}
        for name, convert in compiled.convert.items():
            given[name] = convert(given[name])
        driver: Any = conn.connection.dbapi_connection
        parameters = given if compiled.order is None else [given[name] for name in compiled.order]
        return compiled, driver.execute(compiled.text, parameters)

    def _compile(self, dialect: sa.Dialect) -> _Compiled:
        compiled: Any = self._statement.compile(dialect=dialect, column_keys=list(self._columns) or None)
        convert, fixed = {}, {}
        for name, bind in compiled.binds.items():
            processor = bind.type.dialect_impl(dialect).bind_processor(dialect)
            if not bind.required:
                fixed[name] = bind.value if processor is None else processor(bind.value)
            elif processor is not None:
                convert[name] = processor
        names = [column[0] for column in compiled._result_columns]
        read = []
        for place, column in enumerate(compiled._result_columns):
            if isinstance(column[3], sa.JSON):
                decode = column[3].dialect_impl(dialect).result_processor(dialect, None)
                if decode is not None:  # a driver that knows JSON has decoded it
                    read.append((place, decode))
        kind: Any = namedtuple("Row", names) if names else None
        order = list(compiled.positiontup) if compiled.positional else None
        return _Compiled(str(compiled), order, fixed, convert, kind and kind._make, read)
