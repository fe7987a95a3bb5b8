"""The report of a run, rebuilt from what its folder holds: results, statistics, figures, tables."""
