"""Content by digest: blobs, and who needs which. One store for the engine and the registry of a machine."""
