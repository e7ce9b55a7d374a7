"""Where queries run: sessions over tables, one module an engine."""
