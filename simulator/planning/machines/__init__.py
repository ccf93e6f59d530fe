"""Where many runs are computed, and what of them is finished."""
