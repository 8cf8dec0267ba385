"""Grids finer and coarser: resampling, interpolation, degradation and what spectra tell of it."""
