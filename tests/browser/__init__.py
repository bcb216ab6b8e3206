"""The collector's pages in a real Chromium: what they do, what they ask for, how they look, who can use them."""
