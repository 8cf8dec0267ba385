"""Networks from low to high volumes, TDAFD and published ones, and what they cost.

Used elsewhere: `tdafd.TDAFD` and `tdafd.TDAFDConfig`, `peers.PEERS`, `complexity.complexity` and
`limits.FALLOFF_LIMITS`.
"""
