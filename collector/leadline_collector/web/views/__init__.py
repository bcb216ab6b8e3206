"""View models of the HTML pages."""
