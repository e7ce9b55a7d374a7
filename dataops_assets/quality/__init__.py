"""Whether data may be trusted: contracts compiled to one query, profiles, the kinds of check, gates before publishing."""
