"""One recorded step, replayed with one thing changed."""
