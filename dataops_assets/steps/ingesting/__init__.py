"""How the bytes of inputs come into the raw area."""
