"""Every problem that can leave, as the error tree and the one table to HTTP say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from service import errors
from service.timesheets.upload import DryRun
from service.web.http.problems import status_of

if TYPE_CHECKING:
    from collections.abc import Iterator

# A process that does not start, and a dry run that is answered as what it would have done.
NEVER_LEAVE = (errors.Misconfigured, DryRun)


def kinds(root: type[errors.TimewardenError] = errors.TimewardenError) -> Iterator[type[errors.TimewardenError]]:
    """The root and everything below it that the service itself raises."""
    yield root
    for subclass in root.__subclasses__():
        if subclass.__module__.startswith("service.") and not subclass.__module__.startswith("service.development"):
            yield from kinds(subclass)


def problems() -> str:
    """Slug, status and title of each, by slug."""
    found = {
        kind.slug: {"status": status_of(kind), "title": kind.summary}
        for kind in kinds()
        if not issubclass(kind, NEVER_LEAVE)
    }
    return json.dumps(dict(sorted(found.items())), indent=2) + "\n"
