-- The rows of a COPY into the log are inserted together. Run as timewarden_owner.

-- With a volatile default, Postgres inserts and logs each row by itself. All rows of one statement now have its time.
ALTER TABLE audit_record ALTER COLUMN at SET DEFAULT statement_timestamp();
