"""Short trainings by replay, from the weights that the script began with."""
