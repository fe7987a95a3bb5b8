"""Simulated servers: loopback stand-ins for a paid API and for GPUs, so that a run needs no key.

They speak the real wire protocols, from a process of their own; whatever they say is marked SIMULATED.
"""
