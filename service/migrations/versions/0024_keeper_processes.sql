-- Every keeper process speaks for itself, so that one that works hides none that is frozen. Run as timewarden_owner.

-- What each part of each keeper process said last, and within how many seconds it promises to be up to date (null: it
-- promises nothing). keeper_status stays for processes of the release before; nobody else reads or writes it.
CREATE TABLE keeper_report (
    process uuid NOT NULL,
    part    text NOT NULL CHECK (part IN ('sealer', 'signer', 'relay')),
    host    text NOT NULL,
    pid     integer NOT NULL,
    within  double precision,
    ready   boolean NOT NULL,
    detail  text NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (process, part)
);
GRANT SELECT ON keeper_report TO timewarden_app, timewarden_keeper, timewarden_auditor;
-- The keeper also forgets processes that ended long ago.
GRANT INSERT, UPDATE (within, ready, detail, at), DELETE ON keeper_report TO timewarden_keeper;
