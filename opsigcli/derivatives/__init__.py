"""Derivatives of an objective: products with its Hessian, gradients and curvatures of single examples, sketches."""
