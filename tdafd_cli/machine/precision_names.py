"""Precisions that a network's trunk computes in, by name: known without importing torch."""

PRECISIONS = ("fp32", "bf16", "fp16")
"""From the most exact; `devices` says which type each is, and what a device computes in."""
