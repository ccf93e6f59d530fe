"""Long horizons: weeks of traffic from the hours that differ."""
