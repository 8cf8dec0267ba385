"""Networks from low to high volumes, TDAFD and published ones, and what they take in numbers.

Used elsewhere: `tdafd.TDAFD` and `tdafd.TDAFDConfig`, `peers.PEERS`, `complexity.complexity` and
`limits.FALLOFF_LIMITS`.
"""
