"""Tables and numbers out of a simulation."""
