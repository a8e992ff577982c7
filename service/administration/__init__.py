"""The administration point (PAP): policies as people change them. `replay` stands on `versions`, those on `checks`."""
