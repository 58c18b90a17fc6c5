"""One file per format of checkpoints that can be read, and the readers they share."""
