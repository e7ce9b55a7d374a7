"""Where data comes from: discovering inputs, and reading their bytes."""
