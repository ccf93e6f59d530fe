"""KV blocks: how many are free, and what they hold."""
