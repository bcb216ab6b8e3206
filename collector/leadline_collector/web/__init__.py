"""HTML pages with the data of the API. They evaluate nothing themselves."""
