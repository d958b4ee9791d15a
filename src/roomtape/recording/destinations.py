"""Which store a task's files go to: the library, a directory of this server, or the request's bucket."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

import msgspec
import sqlalchemy as sa

from roomtape.recording.spec import CloudStorageSpec
from roomtape.recording.task import Task
from roomtape.secret import Secret
from roomtape.state.database import Database
from roomtape.state.schema import tasks
from roomtape.state.sealing import Sealer
from roomtape.storage.s3 import S3Place
from roomtape.storage.stores import LocalBuckets, ObjectStore, StoreError

OPEN_STORES = 512  # clients kept with their connections; the others are made again


class BucketOpener(Protocol):
    def open(self, place: S3Place) -> ObjectStore:
        """The bucket of a tenant. Raises StoreError when it cannot be meant."""
        ...


class Destinations:
    """The stores of all tasks. Credentials are unsealed for the client that needs them and nothing else."""

    def __init__(
        self, db: Database, sealer: Sealer, local: LocalBuckets, remote: BucketOpener, library: ObjectStore
    ) -> None:
        self._db = db
        self._sealer = sealer
        self._local = local
        self._remote = remote
        self._library = library
        self._open: OrderedDict[str, ObjectStore] = OrderedDict()

    async def of(self, task: Task) -> ObjectStore:
        """The task's store. Raises StoreError when the request named none that can be."""
        storage = task.spec.storage
        if not isinstance(storage, CloudStorageSpec):
            return self._library
        local = self._local.find(storage.bucket, task.sdk_app_id)
        if local is not None:
            return local
        known = self._open.get(task.task_id)
        if known is None:
            access_key, secret_key = await self._keys(task.task_id)
            known = self._remote.open(
                S3Place(
                    vendor=storage.vendor,
                    region=storage.region,
                    bucket=storage.bucket,
                    access_key=access_key,
                    secret_key=secret_key,
                    endpoint_url=storage.endpoint_url,
                )
            )
            self._open[task.task_id] = known
            if len(self._open) > OPEN_STORES:
                self._open.popitem(last=False)
        self._open.move_to_end(task.task_id)
        return known

    def forget(self, task_id: str) -> None:
        """The task is gone."""
        self._open.pop(task_id, None)

    async def _keys(self, task_id: str) -> tuple[Secret, Secret]:
        async with self._db.read() as conn:
            sealed = await conn.scalar(sa.select(tasks.c.secrets_sealed).where(tasks.c.task_id == task_id))
        if sealed is None:
            raise _no_bucket()
        held = msgspec.json.decode(self._sealer.open(sealed, f"task/{task_id}").reveal_bytes())
        return Secret(held["access_key"]), Secret(held["secret_key"])


def _no_bucket() -> StoreError:
    return StoreError("NoSuchBucket", "The task names no bucket.", tell_at_once=True)
