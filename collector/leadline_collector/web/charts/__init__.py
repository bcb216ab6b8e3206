"""Charts as Vega-Lite specifications: data in, a dictionary out. Pages embed them, reports draw them as SVG.

Rule 1: a chart shows what it is given; nothing is read, judged or counted here.
Rule 2: Altair builds each specification once, without data (``templates``); a request only fills the data in.
Rule 3: colours are those of ``palette``, the style sheet's own, so that one specification serves light, dark and paper.
"""
