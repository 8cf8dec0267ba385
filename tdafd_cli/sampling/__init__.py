"""Finer and coarser grids: resampling, interpolation, degradation, and its trace in spectra."""
