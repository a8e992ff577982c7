"""Routes of the log: decisions, records, explanations, exports, proofs, checkpoint and hash tiles."""
