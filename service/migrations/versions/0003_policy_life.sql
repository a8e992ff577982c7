-- What a policy version went through, and which replicas live.
SELECT 1;
