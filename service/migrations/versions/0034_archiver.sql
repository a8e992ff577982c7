-- A keeper also reports whether it archives the log. Run as timewarden_owner.

-- The table has a row for each part of each process of the last day.
ALTER TABLE keeper_report
    DROP CONSTRAINT keeper_report_part_check,
    ADD CONSTRAINT keeper_report_part_check CHECK (part IN ('sealer', 'signer', 'relay', 'archiver'));
