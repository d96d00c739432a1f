"""Python values to MessagePack and back."""
