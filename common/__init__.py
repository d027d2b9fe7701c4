"""Rules and tools that every room shares."""
