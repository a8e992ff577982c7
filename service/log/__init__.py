"""The append-only log: records, group commit, sealing, Merkle tree, checkpoints, retention.

Durable in Postgres: audit_record and audit_text (written by the app); audit_position, log_head, tile, checkpoint and
keeper_status (by the keeper); audit_partition and audit_pruned (by the owner).
Import from outside: `record` and `log` (append), `questions` (filters); the keeper imports the sealing parts.
"""
