"""The data: batches as recorded, samples read by index, and what the loaders make of them."""
