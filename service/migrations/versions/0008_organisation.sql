-- Deputies, fallback approvers and projects.
SELECT 1;
