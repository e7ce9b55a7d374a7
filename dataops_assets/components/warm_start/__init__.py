"""Start the processes of runs from a process that has loaded the code location already.

Dagster's code server starts a new interpreter for each run. It imports Dagster and loads all declarations: six seconds
of work for seven sources, and many more for hundreds. Instead, one process, the *preloader*, does this once and forks
for each run. See docs/decisions/0034-warm-runs.md.

`executable` tells Python's multiprocessing to start `client` instead of an interpreter. `client` asks `preloader` for a
fork. It becomes the ordinary interpreter if anything is not as expected.
"""
