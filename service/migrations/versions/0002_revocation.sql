-- The deny list of access tokens, with the rights of each role. Run as timewarden_owner.

-- Tokens that are refused although their issuer still stands by them: one token by its jti, or all that were issued to a
-- subject, a person or a client before a moment. Read with the facts of each decision. A row works for as long as it is
-- there; behind `expires_at` no token that it is about can be valid any more, so it may be removed.
CREATE TABLE revocation (
    id            uuid PRIMARY KEY,
    what          text NOT NULL CHECK (what IN ('token', 'subject', 'person', 'client')),
    value         text NOT NULL CHECK (char_length(value) BETWEEN 1 AND 255),
    issuer        text CHECK (char_length(issuer) BETWEEN 1 AND 255),
    issued_before timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    by_person     uuid,
    by_client     text NOT NULL,
    CHECK (issuer IS NOT NULL OR what IN ('person', 'client')),
    CHECK ((what = 'token') = (issued_before = 'infinity'))
);
CREATE INDEX revocation_value ON revocation (value, what);
CREATE INDEX revocation_expires ON revocation (expires_at);

GRANT SELECT, INSERT, DELETE ON revocation TO timewarden_app;
-- The auditor reads all but token subjects.
GRANT SELECT (id, what, issuer, issued_before, expires_at, revoked_at, by_person, by_client)
    ON revocation TO timewarden_auditor;
