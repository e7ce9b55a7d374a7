"""Reads topics of Kafka: messages become raw files, and the offsets of each partition are kept with the inputs."""
