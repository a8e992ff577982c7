"""Routes of the directory: people, teams, grants, delegations, projects, imports, personal data."""
