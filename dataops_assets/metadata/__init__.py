"""What the platform remembers, in a relational database."""
