"""What is declared: sources and environments as immutable models, read without any I/O."""
