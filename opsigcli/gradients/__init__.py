"""What mining needs of models and data: gradient sketches, candidates, curvature of pairs, ablations, pictures."""
