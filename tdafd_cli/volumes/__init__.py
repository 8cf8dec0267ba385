"""MRI volumes: their files, headers, intensities and foreground.

Used elsewhere: `volume.Volume`; `nifti.read_volume`, `nifti.write_volume`, `images.volume_of` and
`files.volume_paths`; `intensity.normalise`, `grid.regridded`, `foreground.foreground_mask`;
`findings.volume_findings` and `defects.find_defects`.
"""
