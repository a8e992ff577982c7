-- The tree, its checkpoints and keys.
SELECT 1;
