"""The rates a deployment sustains, found by search over simulations."""
