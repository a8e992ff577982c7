"""The directory: people, teams, memberships, roles and grants to importing clients. Relations are read from it."""
