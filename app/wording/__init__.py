"""What page and report say."""
