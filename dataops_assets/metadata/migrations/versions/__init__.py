"""The migrations, oldest first; they only go forward."""
