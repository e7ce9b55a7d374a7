"""The metadata structure: what the platform knows of inputs, steps, checks and rules, in a relational database."""
