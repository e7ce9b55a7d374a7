"""DataOps assets: declared feeds become a gated, versioned Dagster asset graph."""

import gc
import logging

# without a handler of the application, lines of the steps go nowhere instead of to stderr
logging.getLogger(__name__).addHandler(logging.NullHandler())

# Python looks for garbage whenever there are 700 new objects. Imports and a load make hundreds of thousands that stay,
# and looking at them again and again takes a fifth of the time.
gc.set_threshold(100_000, 20, 20)
