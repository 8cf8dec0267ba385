"""Trained networks as files: their format, registry, download and cache."""
