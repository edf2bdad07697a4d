"""The recorded steps as a whole: the loop, its optimizers and schedulers, the weights and their copies."""
