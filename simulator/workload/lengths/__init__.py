"""How many tokens prompts and outputs have."""
