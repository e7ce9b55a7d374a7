"""Object stores: what a look asks of a bucket beyond listing a folder and reading an object."""
