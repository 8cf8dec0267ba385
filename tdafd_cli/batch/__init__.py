"""Many volumes: found in folders, upscaled once each by one process or many, and accounted for.

Used elsewhere: `jobs.find_jobs` and `bids.find_bids_jobs` say what is to be done, and
`run.run_batch` does it as a `request.Request` asks; `replacement.check_replaceable` keeps scans.
"""
