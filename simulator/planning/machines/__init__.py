"""Machines that compute many runs, and the results that are finished already."""
