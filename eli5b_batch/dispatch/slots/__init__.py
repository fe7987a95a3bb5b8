"""Capacity of GPU slots: which model works where, and what happens when one fails."""
