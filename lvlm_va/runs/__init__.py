"""Run directories: what each stage left, whole or in shards, and under which versions. Imports `data` and below."""
