"""The Campaign simulator and the embedded SFTP server; shares no code with the client it tests."""
