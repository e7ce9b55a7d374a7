"""DataOps assets: declared feeds become a gated, versioned Dagster asset graph."""

import logging

# without a handler of the application, lines of the steps go nowhere instead of to stderr
logging.getLogger(__name__).addHandler(logging.NullHandler())
