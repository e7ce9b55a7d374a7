"""Operations on buckets that looks need besides listing folders and reading objects."""
