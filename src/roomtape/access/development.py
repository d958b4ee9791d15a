"""The credentials of a development server: made once, sealed in the database, read back at each start."""

from __future__ import annotations

import secrets as random_source
import string

import msgspec
import sqlalchemy as sa

from roomtape.access.service import Access
from roomtape.process import DevKeys
from roomtape.state.database import Database
from roomtape.state.schema import secrets
from roomtape.state.sealing import Sealer

NAME = "development"
CALLBACK_KEY_LENGTH = 32


async def development_keys(db: Database, access: Access, sealer: Sealer) -> DevKeys:
    """One account, application, API key and callback key; made at the first call."""
    async with db.read() as conn:
        sealed = await conn.scalar(sa.select(secrets.c.value_sealed).where(secrets.c.name == NAME))
    if sealed is not None:
        return msgspec.json.decode(sealer.open(sealed, NAME).reveal_bytes(), type=DevKeys)
    account = await access.create_account(NAME)
    app, app_key = await access.create_app(NAME, uin=account.uin)
    key = await access.create_key(account.uin, NAME)
    callback_key = "".join(
        random_source.choice(string.ascii_letters + string.digits) for _ in range(CALLBACK_KEY_LENGTH)
    )
    await access.set_callbacks(app.sdk_app_id, {}, callback_key)
    keys = DevKeys(
        secret_id=key.secret_id,
        secret_key=key.secret_key.reveal(),
        sdk_app_id=app.sdk_app_id,
        app_secret_key=app_key.reveal(),
        callback_key=callback_key,
    )
    async with db.write() as conn:
        await conn.execute(
            sa.insert(secrets).values(
                name=NAME,
                value_sealed=sealer.seal(msgspec.json.encode(keys), NAME),
                created_ms=db.clock.now_ms(),
            )
        )
    return keys
