"""What has happened, for those who want to hear of it."""
