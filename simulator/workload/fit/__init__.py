"""What is in a trace, in figures, and a workload that stands for it."""
