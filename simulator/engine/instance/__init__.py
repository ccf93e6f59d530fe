"""One engine instance: a scheduler with a clock."""
