"""Files of measurements, a reader for each format."""
