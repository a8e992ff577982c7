"""Routes about the caller and tokens: `/v1/me`, revocations, protected-resource metadata. Owns no state."""
