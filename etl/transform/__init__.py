"""The checking core. Pure: bytes and tables in, tables and bytes out; no file, no clock, no network."""
