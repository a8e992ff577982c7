-- Sheets that are locked for payroll.
SELECT 1;
