from pathlib import Path

import numpy as np
import pytest
import torch

from tdafd_cli.benchmark.methods import external, itk_bspline
from tdafd_cli.errors import MethodError
from tdafd_cli.evaluation.case import degraded, reference
from tdafd_cli.formats.files import read_volume
from tdafd_cli.sampling.interpolation import interpolate
from tdafd_cli.volumes.grid import upscaled_affine


def case_of(heads: Path, scale: int = 2):
    return degraded(reference("head", read_volume(heads / "head0.nii.gz"), scale), "average")


@pytest.mark.parametrize("scale", [2, 3])
def test_bspline_of_simpleitk_agrees_with_ours(scale):
    low = torch.rand(9, 8, 7, generator=torch.Generator().manual_seed(0))
    ours = interpolate(low, scale, "bspline").numpy()
    np.testing.assert_allclose(itk_bspline(low, scale), ours, atol=1e-5)


def test_an_external_program_sees_the_low_volume_where_it_lies(heads, repeat):
    case = case_of(heads)
    estimate = external("mine", repeat).estimate(case)
    nearest = interpolate(case.low_intensities(), 2, "nearest").numpy()
    np.testing.assert_allclose(estimate, nearest, rtol=1e-5)
    low, high = case.low_volume(), case.reference.volume
    np.testing.assert_allclose(upscaled_affine(low.affine, 2), high.affine, atol=1e-6)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("false {input} {output}", "ended with exit code 1: it said nothing"),
        ("/no/such/program {input} {output}", "cannot run /no/such/program"),
        ("true {input} {output}", "wrote no {output}"),
        ("cp {input} {output}", "its output has shape (13, 12, 10), not (26, 24, 20)"),
        ("sh -c 'echo broken > {output}' {input}", "unusable output"),
        ("sh -c 'echo first; echo why >&2; exit 3' {input} {output}", "exit code 3: why"),
    ],
)
def test_a_failing_program_is_told_in_one_line(heads, command, message):
    with pytest.raises(MethodError) as caught:
        external("mine", command).estimate(case_of(heads))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_program_that_hangs_is_ended(heads):
    with pytest.raises(MethodError, match="still running after"):
        external("mine", "sh -c 'sleep 9' {input} {output}", seconds=0.2).estimate(case_of(heads))


@pytest.mark.parametrize("command", ["run {input}", "run {output}", "run '{input} {output}"])
def test_an_impossible_command_is_refused_at_once(command):
    with pytest.raises(MethodError, match="method mine"):
        external("mine", command)


def test_no_shell_reads_a_command(heads, tmp_path):
    mark = tmp_path / "mark"
    with pytest.raises(MethodError):
        external("mine", f"true {{input}} {{output}}; touch {mark}").estimate(case_of(heads))
    assert not mark.exists()
