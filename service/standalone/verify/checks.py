"""What each command checks, and what it then may claim: said in words, for nobody should take a verdict for more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .ages import LONG, days, moment, written
from .bundle import Bundle, Sought
from .continuity import related
from .findings import INCOMPLETE, INTACT, USAGE, Fault, Report, need
from .inputs import opened, read_consistency, read_note, read_proof, read_record, read_token
from .live import LiveLog
from .mismatch import explain_mismatch
from .notes import read_checkpoint
from .records import read_object
from .tree import included, leaf_hash

if TYPE_CHECKING:
    import argparse
    from uuid import UUID

    from .notes import Checkpoint, Keys
    from .seen import State

# A keeper that runs seals a record within this many seconds of its answer.
SEALED_WITHIN = 600
UUID7 = 7
ALONE = (
    "whether this is the log that others see, and the one of earlier days: keep a --state file out of the operator's"
    " reach"
)

INVENTED = (
    "whether what a record tells did happen: whoever may write to the database may add records, also such as tell of"
    " erasures, and they stand where they were added"
)


def check_bundle(given: argparse.Namespace, keys: Keys, state: State, report: Report) -> Checkpoint:
    """`bundle PATH`: everything that docs/audit-bundle.md promises."""
    with opened(given.path) as file:
        bundle = Bundle(file, keys, report, state=state, retention=given.retention)
        bundle.check()
    _claim_bundle(bundle, state, report)
    return bundle.checkpoint


def check_proof(given: argparse.Namespace, keys: Keys, state: State, report: Report) -> Checkpoint:
    """`proof FILE --record FILE`: a C2SP tlog-proof says where in the log these very bytes are."""
    proof, data = read_proof(given.path, keys), read_record(given.record)
    found, seen, leaf = proof.checkpoint, state.checkpoint, leaf_hash(data)

    def sealed(body: bytes) -> bool:
        return included(leaf_hash(body), proof.place, found.size, proof.path, found.root)

    if not sealed(data):
        report.find(explain_mismatch(data, given.record, given.path, sealed), position=proof.place)
    report.checked |= {"position": proof.place, "leaf": leaf.hex()}
    report.shown.append(f"these very bytes were sealed at position {proof.place} of {found.origin}")
    if seen and (seen.origin, seen.size) == (found.origin, found.size):
        related(seen, found, [], report)
    elif seen and given.consistency and seen.origin == found.origin:
        path = read_consistency(given.consistency)
        old, new = sorted((seen, found), key=lambda one: one.size)
        _need_sizes((path.old, path.size), (old.size, new.size))
        related(old, new, path.hashes, report)
    elif seen:
        old_size, new_size = sorted((seen.size, found.size))
        how = f"--consistency with what `timewarden audit consistency --from {old_size} --to {new_size}` fetches"
        if seen.origin != found.origin:
            how = "a bundle"
        what = f"a proof in {found.origin} of size {found.size} does not show by itself how it relates to"
        report.find(Fault(f"{what} {seen.origin} of size {seen.size}, which you saw: {how} does", INCOMPLETE))
    else:
        report.unshown.append(ALONE)
    report.unshown.append("anything about other records")
    return found


def check_consistency(given: argparse.Namespace, keys: Keys, state: State, report: Report) -> Checkpoint:
    """`consistency FILE`: the checkpoint in the answer of /v1/audit/consistency extends an older one."""
    old = read_note(given.old, keys) if given.old else state.checkpoint
    if old is None:
        raise Fault("what should it extend? Give --old with a checkpoint, or a --state that has one", USAGE)
    path = read_consistency(given.path)
    new = read_checkpoint(path.note, keys)
    _need_sizes((path.old, path.size), (old.size, new.size))
    what = "--old is another checkpoint than the one in the state file: hold against one of them at a time"
    need(state.checkpoint is None or state.checkpoint[:3] == old[:3], what, USAGE)
    related(old, new, path.hashes, report)
    report.checked["extends"] = old.size
    report.unshown.append("what the records say: a bundle does")
    return new


def check_live(given: argparse.Namespace, keys: Keys, state: State, report: Report) -> Checkpoint:
    """`live URL`: today's log extends the one that was seen."""
    log = LiveLog(given.url, keys, report)
    log.extends(state.checkpoint)
    if given.token_file:
        newest = _newest(log, read_token(given.token_file))
        report.checked["newest"] = newest
        if report.verdict == INTACT:
            state.mark(log.checkpoint.size, moment(newest))
        if (age := time.time() - moment(newest).timestamp()) > LONG.total_seconds():
            report.note(f"the newest record was decided {age / 86_400:,.1f} days ago: nothing was sealed since")
    elif report.verdict == INTACT:
        state.mark_now(log.checkpoint.size)
    _claim_live(log, state, report)
    report.unshown.append("what the records say, and whether they are all still there: a bundle does")
    return log.checkpoint


def check_answer(given: argparse.Namespace, keys: Keys, state: State, report: Report) -> Checkpoint:
    """`answer`: the record of an answer is in the log, or it was left out."""
    uid: UUID = given.decision_id
    need(uid.version == UUID7, f"{uid} is no Decision-Id: those are UUIDs of version 7", USAGE)
    sought = Sought(uid, given.leaf)
    if given.bundle:
        with opened(given.bundle) as file:
            bundle = Bundle(file, keys, report, state=state, retention=given.retention)
            bundle.check(sought)
        _claim_bundle(bundle, state, report)
        _judge_bundle(bundle, sought, report)
        checkpoint = bundle.checkpoint
    else:
        log = LiveLog(given.live, keys, report)
        log.extends(state.checkpoint)
        sought.position = log.find(sought.leaf)
        _claim_live(log, state, report)
        _judge_live(log, sought, read_token(given.token_file) if given.token_file else "", report)
        checkpoint = log.checkpoint
    if sought.position is not None:
        report.checked["position"] = sought.position
        report.shown.append(f"the record of the answer was sealed at position {sought.position}")
    return checkpoint


def _judge_bundle(bundle: Bundle, sought: Sought, report: Report) -> None:
    """Whether an answer that is not here should be: records are sealed in the order of their answers, or nearly."""
    if sought.position is not None or sought.contradicted:
        return
    answered, oldest, last = _answered(sought.uid), bundle.oldest, bundle.last
    behind = bundle.start == 0 or (oldest is not None and oldest.timestamp() + SEALED_WITHIN < answered)
    if behind and last is not None and answered < min(last.timestamp(), time.time()) - SEALED_WITHIN:
        report.find(Fault("the record of this answer was left out of the log", uid=str(sought.uid)))
    elif last is not None and behind:
        what = f"its last record was decided at {written(last)}: make a bundle that goes on beyond the answer"
        report.find(Fault(f"the record of this answer is not in this bundle; {what}", INCOMPLETE, uid=str(sought.uid)))
    else:
        what = "the record of this answer is not here: it belongs before this bundle, or behind it"
        report.find(Fault(what, INCOMPLETE, uid=str(sought.uid)))


def _judge_live(log: LiveLog, sought: Sought, token: str, report: Report) -> None:
    """Whether an answer that no sealed record has should have one: only the moment of a later record tells, and nobody
    without a token knows that. A log that stands still seals nothing, and is no forgery."""
    if sought.position is not None or report.verdict != INTACT:
        return
    answered, uid, size = _answered(sought.uid), str(sought.uid), log.checkpoint.size
    newest = _newest(log, token) if token else ""
    if newest and answered < min(moment(newest).timestamp(), time.time()) - SEALED_WITHIN:
        what = f"the record of this answer was left out of the log, whose newest was decided at {newest}"
        report.find(Fault(what, uid=uid))
    elif newest:
        what = f"the record of this answer is not sealed yet: the newest of {size:,} that are was decided at {newest}"
        report.find(Fault(what, INCOMPLETE, uid=uid))
    elif time.time() - answered > LONG.total_seconds():
        what = f"the record of this answer was left out of the log: it should be there for more than {days(LONG)}"
        report.find(Fault(what, uid=uid))
    else:
        what = (
            f"the record of this answer is none of the {size:,} that are sealed: not sealed yet, or left out;"
            " with an auditor's token (--token-file), or in a bundle, it shows which"
        )
        report.find(Fault(what, INCOMPLETE, uid=uid))


def _claim_bundle(bundle: Bundle, state: State, report: Report) -> None:
    """What an intact bundle shows, and what it does not."""
    start, end, size = bundle.start, bundle.end, bundle.checkpoint.size
    report.checked["positions"] = [start, end - 1]
    pruned = report.checked.get("pruned", 0)
    of_those = f"; of {pruned:,} of them only the hash is left" if pruned else ""
    report.shown.append(
        f"positions {start:,} to {end - 1:,} of {bundle.checkpoint.origin} hold what was sealed there and signed, none"
        f" is missing{of_those}"
    )
    if bundle.oldest and bundle.last:
        first, last = written(bundle.oldest), written(bundle.last)
        report.checked |= {"first_decided": first, "last_decided": last}
        report.shown.append(f"the first record that is here was decided at {first}, the last at {last}")
    erased = report.checked.get("erased", 0)
    gone = f"; {erased:,} texts are erased" if erased else ""
    report.shown.append(f"the columns that people search by, and the texts, say what the records say{gone}")
    if state.checkpoint:
        report.shown.append(f"the log goes on from the {state.checkpoint.size:,} records that you saw before")
    else:
        report.unshown.append(ALONE)
    if (start, end) != (0, size):
        report.unshown.append(f"what stands outside these positions: the log has {size:,}")
    report.unshown.append("whether every answer has its record: `answer` shows that of each")
    report.unshown.append(INVENTED)
    if report.verdict == INTACT and bundle.newest is not None:
        state.mark(end, bundle.newest)


def _claim_live(log: LiveLog, state: State, report: Report) -> None:
    seen, now = state.checkpoint, log.checkpoint
    report.shown.append(f"the hashes of all {now.size:,} records of {now.origin} lead to the root that was signed")
    if seen:
        report.checked["extends"] = seen.size
        report.shown.append(f"the log goes on from the {seen.size:,} records that you saw before")
    else:
        report.unshown.append(ALONE)


def _newest(log: LiveLog, token: str) -> str:
    """When the newest sealed record was decided, as it says."""
    decided = str(read_object(log.newest(token)).get("decided_at"))
    try:
        moment(decided)
    except ValueError:
        raise Fault("the newest record does not say when it was decided") from None
    return decided


def _answered(uid: UUID) -> float:
    """The first 48 bits of a UUIDv7 are milliseconds since 1970 (RFC 9562 §5.7)."""
    return (uid.int >> 80) / 1000


def _need_sizes(said: tuple[int, int], wanted: tuple[int, int]) -> None:
    what = f"the proof leads from size {said[0]} to {said[1]}, and wanted is one from {wanted[0]} to {wanted[1]}"
    need(said == wanted, what, INCOMPLETE)
