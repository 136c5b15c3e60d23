"""The tables of the paper and the demo, one file each."""
