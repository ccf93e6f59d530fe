"""Recorded requests: files of every known format, cleaned and replayed."""
