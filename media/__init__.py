"""Reading photographs and videos: pixels, faces, tracks, facial regions. Knows no model."""
