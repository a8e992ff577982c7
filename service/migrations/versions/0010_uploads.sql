-- What an upload needs.
SELECT 1;
