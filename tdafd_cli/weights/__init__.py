"""Trained networks as files: their format, registry, download and cache.

Used elsewhere: `store.load_weights` by name or path, `file.Weights` and `file.save_weights`,
`registry.read_registry` and `cache.download`.
"""
