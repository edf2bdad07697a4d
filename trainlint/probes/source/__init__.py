"""The text of the user's code: read, never run."""
