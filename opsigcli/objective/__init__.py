"""Model, loss and data together: losses, gradients, HVPs. The only room that averages over examples."""
