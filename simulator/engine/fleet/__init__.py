"""Instances side by side, and the routers that choose among them."""
