"""The demonstration's data: how it is made and delivered. Nothing else of the project depends on it."""
