"""Commands of ``tdafd``: each parses, calls one function and prints.

Used elsewhere: `upscale.upscale`, `info.info`, `doctor.doctor`, `train.train`,
`benchmark.benchmark` and `weights.app`.
"""
