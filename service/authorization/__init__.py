"""Authorization: may they? Rules, engine, facts, decisions, and the enforcement that no write or list can go around."""
