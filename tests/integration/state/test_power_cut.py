"""F-21: the SQLite log cut anywhere in its last transaction: what was committed before is all there."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from roomtape.clock import SystemClock
from roomtape.state.database import Database
from roomtape.state.schema import accounts

STEP_BYTES = 61  # coprime to the frame size, so that cuts fall everywhere in headers and pages


async def test_f_21_a_log_cut_in_its_last_transaction_keeps_the_ones_before(tmp_path: Path) -> None:
    path = tmp_path / "roomtape.db"
    wal = tmp_path / "roomtape.db-wal"
    db = await Database.open(f"sqlite:///{path}", SystemClock())
    await db.migrate()
    sizes = []
    for uin in range(1, 6):
        async with db.write() as conn:
            await conn.execute(accounts.insert().values(uin=uin, name="x" * 5000, created_ms=0))
        sizes.append(wal.stat().st_size)
    assert sizes == sorted(set(sizes))  # nothing was moved into the database file meanwhile

    def rows_after_cut(offset: int) -> int:
        """Copy the files as a power cut would leave them and count what the next start finds."""
        copy = tmp_path / "copy.db"
        (tmp_path / "copy.db-shm").unlink(missing_ok=True)
        shutil.copyfile(path, copy)
        (tmp_path / "copy.db-wal").write_bytes(wal.read_bytes()[:offset])
        connection = sqlite3.connect(copy)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        count = int(connection.execute("SELECT count(*) FROM accounts").fetchone()[0])
        connection.close()
        return count

    *_, before, whole = sizes
    cuts = range(before, whole, STEP_BYTES)
    assert len(cuts) > 50
    assert {rows_after_cut(offset) for offset in cuts} == {4}
    assert rows_after_cut(whole) == 5
    await db.close()
