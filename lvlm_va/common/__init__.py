"""What knows nothing of the method: files, errors, seeds, processes. Imports nothing else of the package."""
