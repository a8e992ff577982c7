"""Replays: recorded requests evaluated again, under one version or the versions that decided. Jobs are in Postgres.

Import from outside: `replays` (the jobs), `recorded_request` and `recorded_explanation` (one record).
"""
