"""The only place where the river closes into a loop."""
