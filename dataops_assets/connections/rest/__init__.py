"""REST APIs as sources: requests that are tried again, pages, and extracts."""
