"""Capacity of accounts at hosts: limits, pace, what 429s teach."""
