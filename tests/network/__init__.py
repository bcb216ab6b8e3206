"""Tests over an emulated WAN: ``tests.network.wan`` is the test bed, docs/testbed.md describes it."""
