"""Training logs of any maker: read, told apart as runs, and their curves named by shape."""
