"""Finer and coarser grids: resampling, interpolation, degradation, and its trace in spectra.

Used elsewhere: `matrices.apply_matrices` with a matrix per axis, `interpolation.interpolate`,
`degradation.degrade`, `spectrum.spectral_falloff` and `consistency.make_consistent_`.
"""
