"""The metrics of all processes: their names, labels and bounds. docs/metrics.md lists them, by test.

Names and labels follow OpenTelemetry's semantic conventions where these have a metric, and Prometheus's naming
otherwise. Owns the numbers of this process (see metric_families).
"""

from __future__ import annotations

import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from service.metric_families import Counter, Family, Gauge, Histogram

# OpenTelemetry's bounds for the duration of requests, and two below them: most reads end within five milliseconds.
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
# A version stays on the log for ever, but the metrics of a process need only those that traffic moved between lately.
MAX_POLICY_VERSIONS: Final = 5

REQUEST_SECONDS: Final = Histogram(
    "http_server_request_duration_seconds",
    "Time from the head of a request to the end of its answer; without a route: no such route",
    ("http_request_method", "http_route", "http_response_status_code"),
    bounds=SECONDS,
)
DECISIONS: Final = Counter(
    "timewarden_decisions_total",
    "Decisions that were recorded",
    ("policy_version", "kind", "action", "outcome", "reason"),
    newest=MAX_POLICY_VERSIONS,
)
# The labels of STAGE_SECONDS.
TOKEN: Final = ("token",)
FACTS: Final = ("facts",)
ENGINE: Final = ("engine",)
RECORD: Final = ("record",)
CHANGE: Final = ("change",)
STAGE_SECONDS: Final = Histogram(
    "timewarden_stage_duration_seconds",
    "Time of a stage of a request: token (verified), facts (read), engine (decided), record (durable; of a read that is"
    " repeated, also its facts), change (its turn and its transaction, with other stages in it)",
    ("stage",),
    bounds=(0.0001, 0.00025, 0.0005, *SECONDS),
)
PROBLEMS: Final = Counter(
    "timewarden_problems_total", "Problem documents that were answered: docs/errors.md", ("problem", "status")
)
TOKENS_REFUSED: Final = Counter(
    "timewarden_tokens_refused_total",
    "Tokens and DPoP proofs that were refused, by the check that failed, also after revocation, and credentials that"
    " were malformed",
    ("cause",),
)
INTROSPECTION_SECONDS: Final = Histogram(
    "timewarden_introspection_duration_seconds",
    "Time of a request for introspection; failed: the issuer gave no usable answer",
    ("issuer", "outcome"),
    bounds=SECONDS,
)
KEYS: Final = Gauge("timewarden_issuer_keys", "Usable keys of an issuer", ("issuer",))
KEYS_AGE: Final = Gauge(
    "timewarden_issuer_keys_age_seconds", "Time since the issuer's keys were fetched; no value: never", ("issuer",)
)
KEY_FAILURES: Final = Counter(
    "timewarden_issuer_key_fetches_failed_total", "Attempts to fetch an issuer's keys that failed", ("issuer",)
)
UNKNOWN_KEYS: Final = Counter(
    "timewarden_issuer_unknown_keys_total", "Tokens that named a key that was not known", ("issuer",)
)
RATE_LIMITED: Final = Counter(
    "timewarden_rate_limited_total",
    "Requests that were refused with 429, by the limit: address (also instead of a refused token), client, or tiles",
    ("limit",),
)
LIMITS_SHARED: Final = Gauge(
    "timewarden_rate_limits_shared", "1: workers and replicas share rate limits; 0: Redis does not answer"
)
ADMISSION_WORKING: Final = Gauge("timewarden_admission_working", "Requests that are worked on", ("queue",))
ADMISSION_WAITING: Final = Gauge("timewarden_admission_waiting", "Requests that wait to be worked on", ("queue",))
ADMISSION_REFUSED: Final = Counter(
    "timewarden_admission_refused_total",
    "Requests that were refused before any work because they would wait too long; no other metric counts them",
    ("queue",),
)
CONNECTIONS: Final = Gauge(
    "db_client_connection_count",
    "Connections to Postgres",
    ("db_client_connection_pool_name", "db_client_connection_state"),
)
MAX_CONNECTIONS: Final = Gauge(
    "db_client_connection_max", "Connections that a pool may have", ("db_client_connection_pool_name",)
)
CONNECTION_WAIT: Final = Histogram(
    "db_client_connection_wait_time_seconds",
    "Time until a pool gave a connection",
    ("db_client_connection_pool_name",),
    bounds=SECONDS,
)
CONNECTION_TIMEOUTS: Final = Counter(
    "db_client_connection_timeouts_total",
    "Waits for a connection that ended without it",
    ("db_client_connection_pool_name",),
)
REPLICA_READS: Final = Counter(
    "timewarden_replica_reads_total",
    "Reads that are meant for the standby of TIMEWARDEN_REPLICA_URL, by the server that answered",
    ("server",),
)
REPLICA_LAG: Final = Gauge(
    "timewarden_replica_lag_seconds",
    "How long the standby took, or takes by now, to show what the primary had committed",
)
COMMIT_RECORDS: Final = Histogram(
    "timewarden_log_commit_records",
    "Records in one commit of the log, beside those that commit with a change",
    bounds=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
COMMIT_SECONDS: Final = Histogram("timewarden_log_commit_duration_seconds", "Time of such a commit", bounds=SECONDS)
COMMIT_WAIT: Final = Histogram(
    "timewarden_log_commit_wait_seconds",
    "How long the first append of such a commit waited for it to begin; an append that commits alone does not wait",
    bounds=(0.0001, 0.00025, 0.0005, *SECONDS),
)
COMMITS_FAILED: Final = Counter("timewarden_log_commits_failed_total", "Such commits that failed")
RECORDS_WAITING: Final = Gauge("timewarden_log_waiting_records", "Records that wait for such a commit")
POLICY_VERSION: Final = Gauge("timewarden_policy_version", "The policy version that decides")
PART_READY: Final = Gauge("timewarden_part_ready", "1: this part of readiness works; 0: it does not", ("part",))
WORKER_READY: Final = Gauge("timewarden_worker_ready", "1: the worker can decide and record", ("worker",))
WORKER_RESTARTS: Final = Counter(
    "timewarden_worker_restarts_total", "Workers that ended or hung, and were started again", ("worker",)
)
LOOP_LAG: Final = Gauge("timewarden_event_loop_lag_seconds", "How late the event loop did what was due last")
LOG_SIZE: Final = Gauge("timewarden_log_sealed_records", "Records that have a position in the log")
UNSEALED_SECONDS: Final = Gauge(
    "timewarden_log_unsealed_seconds", "How long the oldest record has waited for its position; 0: none waits"
)
CHECKPOINT_SIZE: Final = Gauge("timewarden_checkpoint_size_records", "Records that the newest checkpoint covers")
CHECKPOINT_AGE: Final = Gauge(
    "timewarden_checkpoint_age_seconds", "Time since the newest checkpoint; only new records bring a newer checkpoint"
)
UNSIGNED_SECONDS: Final = Gauge(
    "timewarden_log_unsigned_seconds", "How old the oldest record is that no checkpoint covers; 0: there is none"
)
WITNESS_REQUESTS: Final = Counter(
    "timewarden_witness_requests_total",
    "Requests for cosignatures by this keeper: cosigned, failed (no usable answer), or refused (the witness knows"
    " another history of the log)",
    ("witness", "outcome"),
)
WITNESS_SIZE: Final = Gauge(
    "timewarden_witness_size_records", "Records under the newest checkpoint that a witness cosigned here", ("witness",)
)
ARCHIVED_SIZE: Final = Gauge("timewarden_archived_records", "Records under the checkpoint of the archive")
RELAY_LAG: Final = Gauge(
    "timewarden_relay_lag_seconds", "How old the oldest change is that is not in the event stream; 0: there is none"
)
STREAM_POSITION: Final = Gauge("timewarden_event_stream_position", "The log's position of the newest event")
STREAM_LENGTH: Final = Gauge("timewarden_event_stream_length", "Events in the stream")
STREAM_DEAD: Final = Gauge("timewarden_event_stream_dead", "Events that a consumer group gave up")
GROUP_BEHIND: Final = Gauge(
    "timewarden_event_group_behind", "Events that a consumer group has not got yet, counted up to 10,000", ("group",)
)
GROUP_PENDING: Final = Gauge(
    "timewarden_event_group_pending", "Events that a consumer group has got and not acknowledged", ("group",)
)
REPLAYS: Final = Gauge("timewarden_replays", "Replays that are not finished", ("state",))
RECORDS_REPLAYED: Final = Counter("timewarden_replayed_decisions_total", "Recorded decisions that were evaluated again")
COLLECTED: Final = Gauge(
    "timewarden_keeper_collected", "1: the keeper could read its other metrics from there; 0: it could not", ("source",)
)
LOG_LINES_DROPPED: Final = Counter("timewarden_log_lines_dropped_total", "Log lines that standard error did not accept")
CPU: Final = Counter("process_cpu_seconds_total", "Processor time")
MEMORY: Final = Gauge("process_resident_memory_bytes", "Resident memory (Linux)")

FAMILIES: Final[tuple[Family, ...]] = tuple(found for found in globals().values() if isinstance(found, Family))


def measure_process(*, dropped_lines: int) -> None:
    """Set the metrics that every process has."""
    LOG_LINES_DROPPED.set(dropped_lines)
    CPU.set(time.process_time())
    with suppress(OSError, ValueError, IndexError):
        # The second number of statm is the resident pages (proc_pid_statm(5)).
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        MEMORY.set(pages * resource.getpagesize())
