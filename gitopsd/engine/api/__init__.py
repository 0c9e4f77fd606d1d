"""The Docker Engine API and /gitopsd/v1/ on one socket: one file an object, and the table that says who answers what."""
