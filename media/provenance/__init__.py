"""What an image file tells of its own origin, beside its pixels; no part of any finding."""
