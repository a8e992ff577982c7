-- People are found by the beginnings of the words of their name. Run as timewarden_owner.

CREATE INDEX person_name ON person USING gin (to_tsvector('simple', display_name)) WHERE display_name IS NOT NULL;
