"""The audit log: records (pure), log (append), sealing (positions), search, and the feed that events are made from.

What is durable lies in Postgres: audit_record and audit_text (written by the app); audit_position, log_head, tile,
checkpoint and keeper_status (by the keeper); audit_partition and audit_pruned (by the owner).
"""
