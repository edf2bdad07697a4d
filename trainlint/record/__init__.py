"""Record: the user's code runs for a few real steps, and what it did becomes a :class:`~trainlint.record.recording.Recording`."""
