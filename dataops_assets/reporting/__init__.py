"""Service levels, quality scores, and the page that shows them."""
