"""The append-only log: records, group commit, sealing, Merkle tree, checkpoints, retention.

Tables, by writer: audit_record and audit_text (the API); audit_position, log_head, tile, checkpoint and keeper_status
(the keeper); audit_partition and audit_pruned (the owner).
Import from outside: `record` and `log` (append), `record_query` (filters); the keeper imports the sealing parts.
"""
