"""Data sets: read, filtered, sampled."""
