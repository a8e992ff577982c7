"""Routes about the caller and tokens: who am I, revocations, protected-resource metadata."""
