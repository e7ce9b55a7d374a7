"""Makes sessions of AWS that share what botocore has read of its own files.

To read these files is most of the time that a client takes to begin.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from botocore.loaders import Loader
    from botocore.session import Session


def new_session() -> Session:
    """Return a session that reads keys, roles and regions anew, so that they can be rotated."""
    # takes long to import, and few deployments need it
    from botocore.session import Session

    session = Session()
    session.register_component("data_loader", _loader())
    return session


@functools.cache
def _loader() -> Loader:
    """Return what reads the files of botocore, and keeps what it has read."""
    from botocore.loaders import create_loader

    return create_loader()
