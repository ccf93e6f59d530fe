"""The simulation: tokens, blocks and seconds; no GPU, model or dollar in here."""
