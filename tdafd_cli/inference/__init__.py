"""A network over a whole volume, in tiles that fit the memory, and from file to file.

Used elsewhere: `settings.InferenceSettings`; `files.upscale_file` and `upscaling.upscale_source`,
which give a `result.Result`; `prediction.predict_volume`, which works
on normalised tensors.
"""
