"""Tests of the collector's pages in a real Chromium: behaviour, requests, layout and accessibility."""
