"""What prompts share: prefixes, conversations, the hashes of their blocks."""
