"""The commands by which people work with a deployment."""
