"""From what the user passes as X and y to checked images, in memory or not, and training data. Imports `common`."""
