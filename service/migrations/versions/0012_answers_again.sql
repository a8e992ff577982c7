-- In which state each of the resources of a kept answer was before its change, in their order: whoever may not read is
-- asked once more for the very thing that they did. Empty in answers that were kept before; they are gone in a day.
ALTER TABLE kept_answer ADD COLUMN states text[] NOT NULL DEFAULT '{}';
