"""Sphinx configuration of the documentation site (``make docs``)."""

project = "leadline"
project_copyright = "the leadline authors, Apache License 2.0"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
# Furo loads nothing from other hosts: the built pages work from a folder.
html_theme = "furo"
html_title = "leadline"
html_favicon = "../collector/leadline_collector/web/static/leadline.svg"
html_logo = "../collector/leadline_collector/web/static/leadline.svg"
html_static_path = ["_static"]
html_css_files = ["leadline.css"]
_COLOURS = {"light": "#005a9c", "dark": "#6cb6ff"}
html_theme_options = {
    "navigation_with_keys": True,
    **{
        f"{scheme}_css_variables": {"color-brand-primary": colour, "color-brand-content": colour}
        for scheme, colour in _COLOURS.items()
    },
}
html_show_sphinx = False
html_copy_source = False
# Headings are link targets, as on the repository's own pages: operations.md#retention.
myst_heading_anchors = 4
nitpicky = True
