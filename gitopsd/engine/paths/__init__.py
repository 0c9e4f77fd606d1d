"""The one place where a path given by a stranger meets the file system: `Root` resolves it inside a directory."""
