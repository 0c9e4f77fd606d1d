"""The client: Docker's words on the command line, spoken to a daemon here or elsewhere."""
