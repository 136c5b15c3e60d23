"""The user's net: built, checked, and called for its logits. Imports `data` and `common`."""
