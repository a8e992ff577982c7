"""Identity: who asks. Turns a bearer token into a Principal, or refuses it. Knows nothing of policy or log."""
