"""Sizing over time: what each hour needs, policies that follow it, spares, commitments."""
