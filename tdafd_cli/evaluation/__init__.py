"""How near an estimate comes to the volume that it stands for.

Used elsewhere: `case.reference`, `case.degraded`, `metrics.score`, `validation.validation_cases`
and `validation.validation_rows`.
"""
