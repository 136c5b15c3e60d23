"""Plain-torch oracles of the ops, one file each: clear before fast, and the fallback without a compiler."""
