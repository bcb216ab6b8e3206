"""Measurements that other programs wrote down, read as samples and cut into windows. No collector is needed for it.

Pure but for ``files``: text in, values out. Nothing is guessed in silence: a line that is not understood is an error,
and what had to be left out or assumed stands in the notes of a run.
"""
