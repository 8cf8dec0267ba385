"""Files of every format: read into volumes, and written from them.

Used elsewhere: `files.read_volume`, `files.open_scan`, `files.write_volume` and
`files.check_target`; `folders.volume_paths`; `images.volume_of` for nibabel images in memory.
"""
