"""MRI volumes: their files, headers, intensities and foreground."""
