"""Kinds of degradation and of data consistency, by name: known without importing torch."""

DEGRADATIONS = ("kspace", "gaussian", "average")
"""Those of the benchmark; `degradation.BENCHMARK_DEGRADATIONS` says what each does."""

CONSISTENCIES = ("auto", "none", *DEGRADATIONS)
"""Degradation under which a result is to give the scan again; `consistency` makes it so."""
