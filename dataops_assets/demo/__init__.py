"""The data of the demonstration: generators and delivery. Only the demonstration and tests depend on it."""
