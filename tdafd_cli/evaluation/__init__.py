"""Quality of an estimate, compared with the high-resolution volume that it estimates.

Used elsewhere: `case.reference`, `case.degraded`, `metrics.score`, `validation.validation_cases`
and `validation.validation_rows`, `checkup.check_installation`; `inspection.inspect_volume`,
which tells what a scan is and what upscaling would make of it.
"""
