"""The declared sources, warehouse and environment as immutable models, read without any I/O."""
