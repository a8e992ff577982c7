-- Answers that are kept under idempotency keys hold what people wrote. Run as timewarden_owner.

-- The keeper forgets those that are too old to be given, also when nobody sends keys any more. It reads none of them.
GRANT SELECT (name, at), DELETE ON kept_answer TO timewarden_keeper;
