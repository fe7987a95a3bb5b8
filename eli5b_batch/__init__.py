"""High-throughput, resumable batch runner for experiments in which a large model teaches small ones."""

__version__ = "0.1.0"
