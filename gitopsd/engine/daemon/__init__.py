"""What should run on this machine, and what does."""
