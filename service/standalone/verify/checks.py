"""The checks behind each command, and what their verdict shows and does not show, in words."""

from __future__ import annotations

import base64
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .bundle import MIN_AGREEING_RECORDS, SEALED_WITHIN, Bundle, SoughtAnswer
from .continuity import check_extension
from .findings import INCOMPLETE, INTACT, MALFORMED, UNTRUSTED, USAGE, Fault, Report, require
from .inputs import open_bundle, read_consistency, read_note, read_proof, read_record, read_token
from .live import LiveLog
from .mismatch import explain_mismatch
from .notes import read_checkpoint, read_cosignatures
from .period import Period
from .records import is_canonical, read_object
from .times import AHEAD, LONG, format_days, format_time, parse_time
from .tree import leaf_hash, verify_inclusion

if TYPE_CHECKING:
    import argparse
    from uuid import UUID

    from .notes import Checkpoint, Keys
    from .state import State

UUID7 = 7
ALONE = (
    "whether this is the log that others see, and the log of earlier days: keep a --state file out of the operator's"
    " reach"
)

FORGED_CONTENT = (
    "whether the content of a record is true: anybody who can write to the database can add records, even of erasures,"
    " but only at the end of the log"
)


def check_bundle(given: argparse.Namespace, keys: Keys, state: State, report: Report) -> Checkpoint:
    """`bundle PATH`: check a proof bundle."""
    period = Period(given.since, given.until)
    with open_bundle(given.path) as file:
        bundle = Bundle(file, keys, report, state=state, retention=given.retention, period=period)
        bundle.check()
    _claim_bundle(bundle, state, report)
    return bundle.checkpoint


def check_proof(given: argparse.Namespace, keys: Keys, state: State, report: Report) -> Checkpoint:
    """`proof FILE --record FILE`: check that a record is in the log, by its C2SP tlog-proof."""
    proof, data = read_proof(given.path, keys), read_record(given.record)
    found, seen, leaf = proof.checkpoint, state.checkpoint, leaf_hash(data)

    def matches(body: bytes) -> bool:
        return verify_inclusion(leaf_hash(body), proof.place, found.size, proof.path, found.root)

    if not matches(data):
        report.add(explain_mismatch(data, given.record, given.path, matches), position=proof.place)
    report.checked |= {"position": proof.place, "leaf": leaf.hex()}
    report.shown.append(f"exactly these bytes were sealed at position {proof.place} of {found.origin}")
    if seen and seen.origin == found.origin and seen.size in {0, found.size}:
        check_extension(seen, found, [], report)
    elif seen and given.consistency and seen.origin == found.origin:
        path = read_consistency(given.consistency)
        old, new = sorted((seen, found), key=lambda checkpoint: checkpoint.size)
        _require_sizes((path.old, path.size), (old.size, new.size))
        check_extension(old, new, path.hashes, report)
    elif seen:
        old_size, new_size = sorted((seen.size, found.size))
        how = f"use --consistency with the output of `timewarden audit consistency --from {old_size} --to {new_size}`"
        if seen.origin != found.origin:
            how = "use a bundle"
        what = f"a proof in {found.origin} of size {found.size} does not show that it continues"
        report.add(Fault(f"{what} {seen.origin} of size {seen.size}, seen before: {how}", INCOMPLETE))
    else:
        report.unshown.append(ALONE)
    report.unshown.append("anything about other records")
    return found


def check_consistency(given: argparse.Namespace, keys: Keys, state: State, report: Report) -> Checkpoint:
    """`consistency FILE`: check that the checkpoint in a response of /v1/audit/consistency extends an older one."""
    old = read_note(given.old, keys) if given.old else state.checkpoint
    if old is None:
        raise Fault("give the older checkpoint with --old, or a --state file that has one", USAGE)
    path = read_consistency(given.path)
    new = read_checkpoint(path.note, keys)
    _require_sizes((path.old, path.size), (old.size, new.size))
    what = "--old differs from the checkpoint in the state file: give one of them"
    require(state.checkpoint is None or state.checkpoint[:3] == old[:3], what, USAGE)
    check_extension(old, new, path.hashes, report)
    report.checked["extends"] = old.size
    report.unshown.append("the content of the records: use a bundle")
    return new


def check_live(given: argparse.Namespace, keys: Keys, state: State, report: Report) -> Checkpoint:
    """`live URL`: check that the served log extends the one seen before."""
    log = LiveLog(given.url, keys, report)
    log.check_extends(state.checkpoint)
    if given.token_file:
        times = sorted(_read_newest_times(log, read_token(given.token_file)))
        newest = times[-1]
        report.checked["newest"] = format_time(newest)
        if report.verdict == INTACT:
            # As in a bundle, two records must have reached it.
            state.add_mark(log.checkpoint.size, times[-2:][0])
        if (age := time.time() - newest.timestamp()) > LONG.total_seconds():
            report.note(f"the newest record was decided {age / 86_400:,.1f} days ago: nothing has been sealed since")
    elif report.verdict == INTACT:
        state.add_mark_now(log.checkpoint.size)
    _claim_live(log, state, report)
    report.unshown.append("the content of the records, and whether all are still stored: use a bundle")
    return log.checkpoint


def check_archive(given: argparse.Namespace, keys: Keys, state: State, report: Report) -> Checkpoint:
    """`archive PLACE`: check every record of an archived log, and write them to a file."""
    log = LiveLog(given.place, keys, report)
    log.check_extends(state.checkpoint)
    token, others = read_token(given.token_file) if given.token_file else "", 0
    with given.output.open("wb") if given.output else nullcontext() as file:
        for position, entry in log.read_records(token):
            if file is None:
                continue
            if _is_record(entry):
                file.write(b'{"position":%d,"record":%b}\n' % (position, entry))
            else:
                others += 1
                file.write(b'{"position":%d,"record":null,"bytes":"%b"}\n' % (position, base64.b64encode(entry)))
    if others:
        report.note(f"{others:,} entries are not records: {given.output} has their bytes as base64, and record is null")
    _claim_live(log, state, report)
    report.shown.append(f"{report.checked.get('records', 0):,} records are there as they were sealed")
    report.unshown.append(FORGED_CONTENT)
    return log.checkpoint


def _is_record(entry: bytes) -> bool:
    """Whether these are the canonical bytes of a JSON object, which cannot contain a line end. Other bytes, such as a
    checkpoint in a log of checkpoints, could contain anything, even further lines."""
    try:
        return is_canonical(read_object(entry), entry)
    except (Fault, *MALFORMED):
        return False


def check_witnesses(note: str, witnesses: Keys, quorum: int, report: Report) -> None:
    """Check that at least `quorum` of these witnesses have cosigned the checkpoint."""
    found = read_cosignatures(note, witnesses)
    report.checked["cosigned_by"] = sorted(found)
    for name, moment in sorted(found.items()):
        if moment > datetime.now(UTC) + AHEAD:
            report.note(f"{name} cosigned at {format_time(moment)}, in the future: its clock or yours is wrong")
    if len(found) < quorum:
        missing = ", ".join(sorted({name for name, _ in witnesses} - found.keys()))
        what = f"{len(found)} of the {quorum} witnesses that you ask for have cosigned the checkpoint; not {missing}"
        report.add(Fault(what, UNTRUSTED))
    else:
        names = ", ".join(f"{name} at {format_time(moment)}" for name, moment in sorted(found.items()))
        report.shown.append(f"witnesses that saw only extensions of this log cosigned the checkpoint: {names}")


def check_answer(given: argparse.Namespace, keys: Keys, state: State, report: Report) -> Checkpoint:
    """`answer`: check that the record of an answer is in the log."""
    uid: UUID = given.decision_id
    require(uid.version == UUID7, f"{uid} is not a Decision-Id, which is a UUID of version 7", USAGE)
    sought = SoughtAnswer(uid, given.leaf)
    if given.bundle:
        with open_bundle(given.bundle) as file:
            bundle = Bundle(file, keys, report, state=state, retention=given.retention)
            bundle.check(sought)
        _claim_bundle(bundle, state, report)
        _check_answer_in_bundle(bundle, sought, report)
        checkpoint = bundle.checkpoint
    else:
        log = LiveLog(given.live, keys, report)
        log.check_extends(state.checkpoint)
        sought.position = log.find_leaf(sought.leaf)
        _claim_live(log, state, report)
        _check_answer_in_log(log, sought, read_token(given.token_file) if given.token_file else "", report)
        checkpoint = log.checkpoint
    if sought.position is not None:
        report.checked["position"] = sought.position
        which = "the record of the answer" if sought.identified else "a record with the Decision-Leaf of the answer"
        report.shown.append(f"{which} was sealed at position {sought.position}")
        if not sought.identified and not sought.contradicted:
            report.unshown.append(
                "that this record has the Decision-Id: that takes its bytes, from a bundle or with an auditor's token"
                " (--token-file)"
            )
    return checkpoint


def _check_answer_in_bundle(bundle: Bundle, sought: SoughtAnswer, report: Report) -> None:
    """Decide about an answer that is not in the bundle. Records are sealed in nearly the order of their answers."""
    if sought.position is not None or sought.contradicted:
        return
    oldest, newest = bundle.oldest, bundle.newest
    begins_before = bundle.start == 0 or (
        oldest is not None
        and oldest.timestamp() + SEALED_WITHIN < sought.answered
        and sought.before >= MIN_AGREEING_RECORDS
    )
    missing, uid = "the record of this answer is not in this bundle", str(sought.uid)
    if begins_before and sought.is_overdue:
        report.add(Fault("the record of this answer was left out of the log", uid=uid))
    elif begins_before and sought.after:
        what = f"{_describe_doubt(sought)}: fetch a bundle that ends later"
        report.add(Fault(f"{missing}; {what}", INCOMPLETE, uid=uid))
    elif newest is not None and begins_before:
        what = f"its newest record was decided at {format_time(newest)}: fetch a bundle that ends after the answer"
        report.add(Fault(f"{missing}; {what}", INCOMPLETE, uid=uid))
    else:
        report.add(Fault(f"{missing}: it belongs before or after it", INCOMPLETE, uid=uid))


def _check_answer_in_log(log: LiveLog, sought: SoughtAnswer, token: str, report: Report) -> None:
    """Decide about an answer by its record, or without a sealed record. Reading records needs a token. Only later
    records show that one was left out, by their times: a keeper that is stopped seals nothing, which is not a
    forgery."""
    if report.verdict != INTACT:
        return
    if sought.position is not None:
        if token:
            sought.identify(read_object(log.read_record(sought.position, token)))
        return
    answered, uid, size = sought.answered, str(sought.uid), log.checkpoint.size
    times = _read_newest_times(log, token) if token else []
    for decided in times:
        sought.observe(decided)
    if sought.is_overdue:
        what = "the record of this answer was left out of the log, whose newest record was decided at"
        report.add(Fault(f"{what} {format_time(max(times))}", uid=uid))
    elif times:
        missing = "is not among the sealed records" if sought.after else "is not sealed yet"
        doubt = f"; {_describe_doubt(sought)}" if sought.after else ""
        what = (
            f"the record of this answer {missing}: the newest record in the last tile of {size:,} records was decided"
            f" at {format_time(max(times))}{doubt}; a bundle has the times of all"
        )
        report.add(Fault(what, INCOMPLETE, uid=uid))
    elif time.time() - answered > LONG.total_seconds():
        what = f"the record of this answer was left out of the log: it was due more than {format_days(LONG)} ago"
        report.add(Fault(what, uid=uid))
    else:
        what = (
            f"the record of this answer is not among the {size:,} sealed records: not sealed yet, or left out;"
            " an auditor's token (--token-file) or a bundle shows which"
        )
        report.add(Fault(what, INCOMPLETE, uid=uid))


def _claim_bundle(bundle: Bundle, state: State, report: Report) -> None:
    """Add what an intact bundle shows, and what it does not show."""
    start, end, size = bundle.start, bundle.end, bundle.checkpoint.size
    report.checked["positions"] = [start, end - 1]
    pruned = report.checked.get("pruned", 0)
    of_those = f"; {pruned:,} of them are pruned, and only their hashes are left" if pruned else ""
    report.shown.append(
        f"positions {start:,} to {end - 1:,} of {bundle.checkpoint.origin} hold what was sealed and signed, and none"
        f" is missing{of_those}"
    )
    if bundle.oldest and bundle.last:
        first, last = format_time(bundle.oldest), format_time(bundle.last)
        report.checked |= {"first_decided": first, "last_decided": last}
        report.shown.append(f"the first record in it was decided at {first}, the last at {last}")
    erased = report.checked.get("erased", 0)
    gone = f"; {erased:,} texts are erased" if erased else ""
    report.shown.append(f"the search columns and the texts agree with the records{gone}")
    if state.checkpoint:
        report.shown.append(f"the log extends the {state.checkpoint.size:,} records that you saw before")
    else:
        report.unshown.append(ALONE)
    if (start, end) != (0, size):
        report.unshown.append(f"the records outside these positions: the log has {size:,}")
    report.unshown.append("whether every answer has its record: `answer` checks a single one")
    report.unshown.append(FORGED_CONTENT)
    if report.verdict == INTACT and bundle.passed is not None:
        state.add_mark(end, bundle.passed)


def _claim_live(log: LiveLog, state: State, report: Report) -> None:
    seen, now = state.checkpoint, log.checkpoint
    report.shown.append(f"the hashes of all {now.size:,} records of {now.origin} lead to the root that was signed")
    if seen:
        report.checked["extends"] = seen.size
        report.shown.append(f"the log extends the {seen.size:,} records that you saw before")
    else:
        report.unshown.append(ALONE)


def _read_newest_times(log: LiveLog, token: str) -> list[datetime]:
    """When the records in the last tile were decided, by their bytes. The last record alone does not show how far the
    log goes: it may be backdated."""
    try:
        return [parse_time(str(read_object(record).get("decided_at"))) for record in log.read_newest(token)]
    except ValueError:
        raise Fault("one of the newest records has no valid decided_at") from None


def _describe_doubt(sought: SoughtAnswer) -> str:
    """Why later records do not show that the record of the answer was left out."""
    after, behind = sought.after, sought.out_of_order
    if behind:
        return (
            f"the times are not in order: records decided more than ten minutes after the answer: {after:,}; behind the"
            f" first of them, records decided before the answer: {behind:,}; so a clock was wrong, or times are false"
        )
    if after < MIN_AGREEING_RECORDS:
        return "only one record was decided more than ten minutes after the answer, and its time may be false"
    return "the answer was given less than ten minutes ago, by your clock"


def _require_sizes(sizes: tuple[int, int], wanted: tuple[int, int]) -> None:
    what = f"the proof is from size {sizes[0]} to {sizes[1]}, but it should be from {wanted[0]} to {wanted[1]}"
    require(sizes == wanted, what, INCOMPLETE)
