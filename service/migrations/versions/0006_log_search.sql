-- Questions to the log, legal holds, erasure and retention.
SELECT 1;
