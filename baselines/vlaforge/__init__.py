"""VLAForge (document 000): forgery masks as attention bias, and texts that know the person in the picture."""
