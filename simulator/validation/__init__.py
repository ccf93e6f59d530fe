"""Against real runs: readers of measurements, comparison, calibration."""
