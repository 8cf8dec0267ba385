"""MRI volumes: their headers, intensities, grids and foreground.

Used elsewhere: `volume.Volume`; `intensity.normalise`, `grid.regridded`,
`foreground.foreground_mask`; `findings.volume_findings` and `defects.find_defects`.
"""
