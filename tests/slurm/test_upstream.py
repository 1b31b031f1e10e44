"""Upstream bugs that profiles/slurm and the rules avoid, on a cluster. An xfail that passes shows a fixed bug.

tests/unit/workflow/test_slurm_plugin.py has what shows without one.
"""

import pytest
from head import Head


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="hence one job a shard, and no array")
def test_each_task_of_an_array_looks_after_its_own_output(steered_around: tuple[Head, Head]) -> None:
    """It looks for the first task's, which is not there yet, and counts as failed."""
    array, _ = steered_around
    status = array.wait()
    if "Submitted array job" not in array.said:
        pytest.fail(array.said)
    assert status == 0


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="hence no rule is in a group")
def test_jobs_of_a_group_get_a_gpu_each(steered_around: tuple[Head, Head]) -> None:
    """One takes the GPU of the other."""
    _, group = steered_around
    if group.wait() != 0:
        pytest.fail(group.said)
    assert {path.read_text() for path in group.log.parent.glob("*.group.txt")} == {"0\n", "1\n"}
