"""The commands, a module for each group. They read the words, call the work and return an `Answer`.

A module imports only what parsing needs. A command imports its work when it runs, because `--help` and completion shall
not wait for it. The docstring of `operations.command` says how to add a command.
"""
