"""Watches a whole training run at almost no cost: light hooks, samples within a budget, verdicts as they become certain."""
