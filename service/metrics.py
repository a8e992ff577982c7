"""The metrics of all processes: their names, labels and bounds. docs/metrics.md lists them, by test.

Names and labels follow OpenTelemetry's semantic conventions where these have a metric, and Prometheus's naming
otherwise. Owns the numbers of this process (see metric_families).
"""

from __future__ import annotations

from typing import Final

from service.metric_families import Counter, Family, Histogram

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
LOG_LINES_DROPPED: Final = Counter("timewarden_log_lines_dropped_total", "Log lines that standard error did not accept")
WORKER_RESTARTS: Final = Counter(
    "timewarden_worker_restarts_total", "Workers that ended or hung, and were started again", ("worker",)
)

FAMILIES: Final[tuple[Family, ...]] = tuple(found for found in globals().values() if isinstance(found, Family))
