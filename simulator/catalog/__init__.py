"""Facts, each with its source and date. Nothing is computed here."""
