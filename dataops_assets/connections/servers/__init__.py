"""Landing areas on file servers: SFTP, FTP and listings of HTTP servers."""
