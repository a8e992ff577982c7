-- The bytes of frequent records are stored packed. Run as timewarden_owner.

-- `body` holds canonical bytes, or, if it begins with 01, canonical bytes that were deflated (service/log/packing.py).
-- The generated column is the hash of what is stored, so it is the leaf only of bytes that are not packed. Under the
-- old name, a process of the release before would seal it as the leaf of a packed record; now it fails instead.
ALTER TABLE audit_record RENAME COLUMN leaf TO stored_hash;
