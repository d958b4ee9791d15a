"""A new master key: every sealed value of the database is sealed anew under it, then the former key goes.

Safe against a crash at any moment, because each step leaves values that the ring on the disk opens: the
new key is on the disk, in front of the former, before anything is sealed under it; the former goes when
nothing is sealed under it any more. What a crash interrupts, the next start finishes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog

from roomtape.clock import Clock
from roomtape.state.database import Database
from roomtape.state.schema import api_keys, app_keys, applications, secrets, tasks
from roomtape.state.sealing import Sealer, SealError

BATCH = 200  # rows per transaction: other writers are let in between
GRACE_S = 60.0  # longer than anything sealed before the rotation takes to its commit

log = structlog.get_logger("roomtape.state")


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """Where sealed values are, and the contexts they may be sealed in, made of a row's `name_from`."""

    column: sa.Column[Any]
    name_from: sa.Column[Any]
    contexts: tuple[str, ...]


COLUMNS = (
    SealedColumn(applications.c.callback_key_sealed, applications.c.sdk_app_id, ("callback_key/{}",)),
    SealedColumn(applications.c.auto_record_sealed, applications.c.sdk_app_id, ("auto_record/{}",)),
    SealedColumn(api_keys.c.secret_key_sealed, api_keys.c.secret_id, ("secret_key/{}",)),
    SealedColumn(api_keys.c.token_sealed, api_keys.c.secret_id, ("token/{}",)),
    SealedColumn(app_keys.c.key_sealed, app_keys.c.sdk_app_id, ("app_key/{}",)),
    SealedColumn(secrets.c.value_sealed, secrets.c.name, ("secrets/{}", "{}")),
    SealedColumn(tasks.c.secrets_sealed, tasks.c.task_id, ("task/{}",)),
)


class MasterKey:
    """The rotation of one server. `run` finishes what was begun, here or in an earlier life."""

    def __init__(self, db: Database, sealer: Sealer, clock: Clock) -> None:
        self._db = db
        self._sealer = sealer
        self._clock = clock
        self._begun = asyncio.Event()
        self._left_over = sealer.is_rotating  # by an earlier life

    async def rotate(self) -> int:
        """Put a new key in front and seal everything anew; how many values that were.

        The former key is dropped `GRACE_S` later by `run`. Raises SealError, OSError, DatabaseUnavailable.
        """
        self._sealer.put_new_key_in_front()
        done = await reseal(self._db, self._sealer)
        log.info("master_key_rotated", sealed_anew=done)
        self._begun.set()
        return done

    async def run(self) -> None:
        """Seal anew what an earlier life left and drop its keys, then do so after each `rotate`."""
        if self._left_over:
            await self._finish()
        while True:
            await self._begun.wait()
            while self._begun.is_set():
                self._begun.clear()
                # What was sealed under the former key just before may only now be committed.
                await self._clock.sleep(GRACE_S)
            await self._finish()

    async def _finish(self) -> None:
        done = await reseal(self._db, self._sealer)
        if not self._sealer.is_filed:
            log.info("former_master_keys_not_needed", sealed_anew=done)
            return
        self._sealer.drop_former_keys()
        log.info("former_master_keys_dropped", sealed_anew=done)


async def reseal(db: Database, sealer: Sealer) -> int:
    """Seal everything that is under a former key under the current one; how many values that were.

    Raises SealError for a value that no key of the ring opens: nothing may be dropped then.
    """
    return sum([await _reseal(db, sealer, place) for place in COLUMNS])


async def _reseal(db: Database, sealer: Sealer, place: SealedColumn) -> int:
    table = place.column.table
    assert isinstance(table, sa.Table)
    (key,) = table.primary_key.columns
    done, after = 0, None
    while True:
        query = sa.select(key, place.name_from, place.column).where(place.column.is_not(None))
        query = query.order_by(key).limit(BATCH).with_for_update()
        async with db.write() as conn:
            rows = (await conn.execute(query if after is None else query.where(key > after))).all()
            for row_key, name, sealed in rows:
                if sealer.is_current(sealed):
                    continue
                renewed = _renewed(sealer, sealed, [context.format(name) for context in place.contexts])
                await conn.execute(
                    sa.update(table).where(key == row_key).values({place.column.name: renewed})
                )
                done += 1
        if len(rows) < BATCH:
            return done
        after = rows[-1][0]


def _renewed(sealer: Sealer, sealed: bytes, contexts: list[str]) -> bytes:
    for context in contexts[:-1]:
        try:
            return sealer.seal(sealer.open(sealed, context), context)
        except SealError:
            continue  # the next one, then
    return sealer.seal(sealer.open(sealed, contexts[-1]), contexts[-1])
