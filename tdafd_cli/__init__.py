"""Lightweight 3D MRI super-resolution with TDAFD."""

__version__ = "0.1.0"
