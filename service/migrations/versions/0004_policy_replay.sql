-- Replays of recorded decisions.
SELECT 1;
