"""Model, loss and data together: the losses of examples, their mean over the examples that count, and its gradient."""
