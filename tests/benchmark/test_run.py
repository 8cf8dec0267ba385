import shutil

import pytest

from tdafd_cli.benchmark.methods import interpolations
from tdafd_cli.benchmark.results import Results
from tdafd_cli.benchmark.run import (
    BenchmarkSettings,
    find_volumes,
    run_benchmark,
    score_methods,
)
from tdafd_cli.errors import TdafdError
from tdafd_cli.inference.settings import InferenceSettings


def new_results() -> Results:
    return Results({"device": "cpu", "seed": 0})


def test_names_tell_volumes_apart(heads):
    nested = heads / "more"
    nested.mkdir()
    shutil.copy(heads / "head0.nii.gz", nested / "head0.nii.gz")
    names = list(find_volumes([heads, nested / "head0.nii.gz"]))
    assert names[:3] == ["head0.nii.gz", "head1.nii.gz", "more/head0.nii.gz"]
    assert len(set(names)) == 4


def test_one_bad_volume_does_not_stop_the_rest(heads):
    (heads / "broken.nii.gz").write_bytes(b"no volume")
    results = new_results()
    score_methods(
        results, find_volumes([heads]), interpolations(), scale=2, degradations=["kspace"]
    )
    assert [failure.volume for failure in results.failures] == ["broken.nii.gz"]
    assert len(results.rows) == 2 * 4


def test_two_methods_of_one_name_are_refused(heads):
    with pytest.raises(TdafdError, match="two methods are named bspline"):
        score_methods(
            new_results(), {}, [*interpolations(), *interpolations()], scale=2, degradations=[]
        )


@pytest.mark.parametrize("slices", [False, True])
def test_a_benchmark_is_one_call(heads, tiny_weights, slices):
    told = []
    results, panels = run_benchmark(
        BenchmarkSettings(
            places=(heads / "head0.nii.gz",),
            degradations=("average",),
            weights=(str(tiny_weights),),
            inference=InferenceSettings("cpu", "fp32", 64, threads=1),
            patch=16,
            slices=slices,
        ),
        command="as typed",
        progress=told.append,
    )
    methods = ["nearest", "trilinear", "bspline", "sinc", "tiny"]
    assert [row.method for row in results.rows] == methods
    assert {cost.scale for cost in results.costs} == {2}
    made = results.provenance
    assert (made["command"], made["device"], made["precision"]) == ("as typed", "cpu", "fp32")
    assert [panel.method for panel in panels[::3]] == ["reference", "low", *methods] * slices
    assert (told[0], told[-1]) == ("x2: TDAFD", "")
