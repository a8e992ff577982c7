"""Creates and activates the first policy version from files, as the owner of the database.

Owns no state: Postgres holds the version, which is written in one transaction with its record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.administration.versions import version_store
from service.authorization.enforcement.policy_relations import KIND
from service.errors import Conflict
from service.log.record import Kind, Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from service.administration.versions.version_store import PolicyVersion
    from service.authorization.engine.engine import Snapshot
    from service.database import Connection
    from service.log.log import Log
    from service.policy.policy_file import PolicyText


async def bootstrap(
    connection: Connection, log: Log, text: PolicyText, check: Callable[[PolicyText, int], Snapshot], at: datetime
) -> PolicyVersion:
    """Check and activate the first version in the caller's transaction, as the owner of the database.

    Raises Conflict if there is a version already, because then the API is the only way; and PolicyRejected.
    """
    if await version_store.find_number(connection, 1):
        raise Conflict("There is a policy already; propose a new version through the API")
    snapshot = check(text, 1)
    version = await version_store.insert(
        connection, text, message="First version, from files", author_person=None, author_client="system"
    )
    await version_store.create_head(connection, version.number)
    body = {
        "decided_at": at,
        "event": "policy.bootstrapped",
        "action": "activate",
        "resource": {"kind": KIND, "id": "1"},
        "policy": {"version": version.number, "digest": snapshot.digest},
    }
    await log.append([Record.make(Kind.SYSTEM, body)], connection)
    return version
