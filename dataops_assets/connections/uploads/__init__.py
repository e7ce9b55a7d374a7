"""Files that agents push (`dataops push`) to a receiver (`dataops receive`), in parts that go on where they ended."""
