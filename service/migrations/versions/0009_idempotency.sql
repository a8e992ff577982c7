-- Answers kept under idempotency keys, and reminders.
SELECT 1;
