"""Each message once and in order, or reported as lost."""
