"""When requests arrive."""
