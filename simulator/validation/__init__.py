"""Against real runs: files of published measurements, what we predict for each row, and how far off that is."""
