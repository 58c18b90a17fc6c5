"""One run opened again: its model, data and optimizer, the weights of its checkpoints, and updates made from them."""
