-- Client ids with an issuer's prefix fit everywhere. Run as timewarden_owner.

-- A client id has up to 255 characters, and 21 more with the prefix of its issuer.
ALTER TABLE revocation DROP CONSTRAINT revocation_value_check;
ALTER TABLE revocation ADD CONSTRAINT revocation_value_check
    CHECK (char_length(value) BETWEEN 1 AND CASE what WHEN 'client' THEN 276 ELSE 255 END);
ALTER TABLE importer_grant DROP CONSTRAINT importer_grant_client_id_check;
ALTER TABLE importer_grant ADD CONSTRAINT importer_grant_client_id_check
    CHECK (char_length(client_id) BETWEEN 1 AND 276);
