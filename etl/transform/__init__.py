"""The checking core. Pure: bytes and tables in and out; no file, no clock, no network."""
