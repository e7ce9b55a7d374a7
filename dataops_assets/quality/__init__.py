"""Whether data may be trusted: contracts in one query, profiles, the kinds of check, gates before publishing."""
