"""Tests of the calculations of the agent's benchmark."""

from __future__ import annotations

import os

from leadline.mesh.parser import parse_mesh
from tests.bench.agent import GOAL_TARGETS, RSS_KB_MAX, AgentRun, build_mesh, evaluate_goals, measure_bytes_per_sample
from tests.bench.agent_process import ProcessUsage, read_usage


def build_usage(rss_kb: int, cpu_s: float) -> ProcessUsage:
    return ProcessUsage(rss_kb=rss_kb, rss_peak_kb=rss_kb, pss_kb=rss_kb // 2, private_kb=rss_kb // 2, cpu_s=cpu_s)


def build_run(rss_kb: int, cpu_s: float) -> AgentRun:
    return AgentRun(
        targets=GOAL_TARGETS, seconds=100.0, loop=build_usage(rss_kb, cpu_s), prober=build_usage(rss_kb, cpu_s)
    )


def test_the_mesh_has_one_host_per_target() -> None:
    """Each host has its own address, also beyond 255."""
    mesh = parse_mesh(build_mesh(600, "1s"))

    assert len({host.address for host in mesh.hosts}) == 600


def test_goals_include_their_limits() -> None:
    """A value at the limit meets the goal; the sum of RSS counts shared pages twice."""
    at = evaluate_goals([build_run(RSS_KB_MAX, 1.0)], [0.4], measure_bytes_per_sample())
    past = evaluate_goals([build_run(RSS_KB_MAX + 2, 1.01)], [0.41], measure_bytes_per_sample())

    assert [goal.met for goal in at] == [False, True, True, True, True, True]
    assert [goal.met for goal in past] == [False, False, False, False, False, True]


def test_samples_of_long_paths_are_larger() -> None:
    """Long paths have larger numbers and more noise."""
    sizes = [size.on_the_wire for size in measure_bytes_per_sample()]

    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] < 8


def test_a_process_can_be_measured() -> None:
    """Measures the process of the test itself."""
    usage = read_usage(os.getpid())

    assert 0 < usage.private_kb <= usage.pss_kb <= usage.rss_kb <= usage.rss_peak_kb
    assert usage.cpu_s > 0
