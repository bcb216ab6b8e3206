"""Charts as Vega-Lite specifications, built from prepared data. Pages embed them; reports render them as SVG.

Rule 1: charts only display data; they do not query, evaluate or count.
Rule 2: Altair builds each specification once, without data (``spec_templates``); a request only binds its data.
Rule 3: all colours are from ``palette``, which matches the style sheet: one specification works for light, dark and
print.
"""
