"""From the weights of one checkpoint to a sharpness point: eigenvalues, stability ratio, and where the curvature is."""
