"""Recorded requests, evaluated again: under the version they name, or under a draft. Jobs and counts are in Postgres.

Import from outside: `policy_replays` (jobs), `recorded_request` and `recorded_explanation` (one record).
"""
