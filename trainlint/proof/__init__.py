"""Proofs: a fix is tried on the user's own model and batches, by replay, before it is printed."""
