-- A log that was dumped and restored into another cluster of Postgres, whose transactions are counted anew. Run as
-- timewarden_owner.

-- Which cluster this is: the same for as long as its files, their copies and standbys live, another after a restored dump.
CREATE FUNCTION this_cluster() RETURNS bigint LANGUAGE sql STABLE
RETURN (SELECT system_identifier FROM pg_control_system());
REVOKE ALL ON FUNCTION this_cluster() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION this_cluster() TO timewarden_keeper;

-- In which cluster `low_xid` was counted; null: in none. All records with ids below `settled` are sealed for good, so that
-- the numbers of another cluster's transactions need no look.
ALTER TABLE log_head
    ADD COLUMN cluster bigint DEFAULT this_cluster(),
    ADD COLUMN settled bigint NOT NULL DEFAULT 0;
GRANT UPDATE (cluster, settled) ON log_head TO timewarden_keeper;
