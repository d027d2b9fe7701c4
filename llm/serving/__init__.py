"""Other servers, and ours."""
