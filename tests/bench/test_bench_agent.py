"""The arithmetic of the agent's benchmark; the processes are its own business."""

from __future__ import annotations

import os

from leadline.mesh.parser import parse_mesh
from tests.bench.agent import GOAL_TARGETS, RSS_KB_MAX, AgentRun, build_mesh, evaluate_goals, measure_bytes_per_sample
from tests.bench.agent_process import ProcessUsage, read_usage


def used(rss_kb: int, cpu_s: float) -> ProcessUsage:
    return ProcessUsage(rss_kb=rss_kb, rss_peak_kb=rss_kb, pss_kb=rss_kb // 2, private_kb=rss_kb // 2, cpu_s=cpu_s)


def run(rss_kb: int, cpu_s: float) -> AgentRun:
    return AgentRun(targets=GOAL_TARGETS, seconds=100.0, loop=used(rss_kb, cpu_s), prober=used(rss_kb, cpu_s))


def test_the_mesh_is_one_path_a_target() -> None:
    """Each with an address of its own, also beyond 255."""
    found = parse_mesh(build_mesh(600, "1s"))

    assert len({host.address for host in found.hosts}) == 600


def test_goals_at_and_past_their_limits() -> None:
    """At the limit a goal is met; shared pages that are counted twice are not hidden."""
    at = evaluate_goals([run(RSS_KB_MAX, 1.0)], [0.4], measure_bytes_per_sample())
    past = evaluate_goals([run(RSS_KB_MAX + 2, 1.01)], [0.41], measure_bytes_per_sample())

    assert [goal.met for goal in at] == [False, True, True, True, True, True]
    assert [goal.met for goal in past] == [False, False, False, False, False, True]


def test_samples_of_long_paths_take_more() -> None:
    """Longer numbers, more noise."""
    sizes = [one.on_the_wire for one in measure_bytes_per_sample()]

    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] < 8


def test_a_process_can_be_measured() -> None:
    """This one."""
    found = read_usage(os.getpid())

    assert 0 < found.private_kb <= found.pss_kb <= found.rss_kb <= found.rss_peak_kb
    assert found.cpu_s > 0
