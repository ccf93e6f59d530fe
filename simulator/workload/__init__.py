"""What is asked: arrivals, lengths, sessions, traces."""
