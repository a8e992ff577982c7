"""Evaluates a batch of records again, in a worker process of a replay. Reads the texts of versions from a directory of
the job.

A process caches the versions that it has built; nothing else outlives a batch.
"""

from __future__ import annotations

import logging
import os
import signal
from collections import OrderedDict
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from service.administration.checks import examination
from service.administration.replay.approvals_again import compare_approvals
from service.administration.replay.recorded_request import NotARequest, parse_request
from service.administration.replay.reevaluation import Undecidable, reevaluate
from service.administration.replay.tally import Tally
from service.errors import PolicyRejected
from service.parent import end_with_parent
from service.policy.access_request import Verdict
from service.policy.policy_file import PolicyText

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from service.administration.replay.recorded_request import RecordedRequest
    from service.authorization.engine.engine import Snapshot

MAX_VERSIONS_KEPT: Final = 16
NO_BATCH_TEXTS: Final[Mapping[int, Mapping[str, str]]] = MappingProxyType({})
# Worker processes leave CPU time to the sealer and to requests.
NICENESS: Final = 10
_NAMES: Final = ("model", "rules", "vocabulary", "cases")


class Versions:
    """The versions whose texts are in `directory`, built when they are first needed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._built: OrderedDict[int, Snapshot | None] = OrderedDict()

    def put(self, number: int, text: PolicyText) -> None:
        """Write a version's texts for all processes of the job."""
        members = {name: getattr(text, name) for name in _NAMES}
        made = self._directory / f"{number}.new"
        made.write_bytes(msgspec.json.encode(members))
        made.rename(self._directory / f"{number}.json")

    def get(self, number: int) -> Snapshot | None:
        """A version, or None if it is unknown or this code cannot read it."""
        if number in self._built:
            self._built.move_to_end(number)
            return self._built[number]
        try:
            members = msgspec.json.decode((self._directory / f"{number}.json").read_bytes())
            snapshot = examination.build(PolicyText(**members), number)
        except (OSError, PolicyRejected):
            snapshot = None
        self._built[number] = snapshot
        while len(self._built) > MAX_VERSIONS_KEPT:
            self._built.popitem(last=False)
        return snapshot


def tally(
    versions: Versions,
    under: int | None,
    bodies: Sequence[bytes],
    texts: Mapping[int, Mapping[str, str]] = NO_BATCH_TEXTS,
) -> Tally:
    """Evaluate a batch again, under one version or, with None, each record under the version that decided it. `texts`
    are those beside a record, by its place in the batch."""
    found = Tally()
    for place, body in enumerate(bodies):
        try:
            recorded = parse_request(body, texts.get(place, {}))
        except NotARequest:
            found.note_unreadable("the record does not hold a whole request")
            continue
        number = recorded.version if under is None else under
        snapshot = versions.get(number)
        if snapshot is None:
            found.note(recorded, Undecidable(f"version {number} cannot be read by this code"))
        else:
            before = snapshot if number == recorded.version else versions.get(recorded.version)
            count_again(found, snapshot, recorded, before)
    return found


def count_again(found: Tally, snapshot: Snapshot, recorded: RecordedRequest, before: Snapshot | None) -> None:
    again = reevaluate(snapshot, recorded, before)
    approvals = None
    if isinstance(again, Verdict) and again.allowed and recorded.verdict.allowed:
        approvals = compare_approvals(snapshot, recorded, before)
    if isinstance(approvals, Undecidable):
        found.note(recorded, approvals)
    else:
        found.note(recorded, again, approvals)


# The versions of this worker process, set by `begin`.
_versions: list[Versions] = []


def begin(directory: Path) -> None:
    """Make this process a worker: it ends when its parent ends, leaves Ctrl-C to the parent, and runs with low
    priority."""
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    end_with_parent()
    _versions[:] = [Versions(directory)]


def tally_here(
    under: int | None, bodies: Sequence[bytes], texts: Mapping[int, Mapping[str, str]] = NO_BATCH_TEXTS
) -> Tally:
    """`tally` with the versions of this worker process."""
    return tally(_versions[0], under, bodies, texts)
