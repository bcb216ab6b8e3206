"""Tests over an emulated WAN; ``tests.network.wan`` has the test bed, docs/testbed.md explains it."""
