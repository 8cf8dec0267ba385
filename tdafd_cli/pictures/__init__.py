"""Pictures of volumes.

Used elsewhere: `preview.write_preview`.
"""
