"""Kinds of degradation and of data consistency, by name: known without importing torch."""

DEGRADATIONS = ("kspace", "gaussian", "average")
"""Those of the benchmark; `degradation.BENCHMARK_DEGRADATIONS` says what each does."""

SLICE_DEGRADATIONS = (
    "thick-boxcar",
    "thick-gaussian",
    "thick-slr",
    "thick-boxcar-gap",
    "thick-gaussian-gap",
)
"""Those of thick slices, as `slices` has their profiles; with gaps of a fifth of the spacing."""

CONSISTENCIES = ("auto", "none", *DEGRADATIONS)
"""Degradation under which a result is to give the scan again; `consistency` makes it so."""
