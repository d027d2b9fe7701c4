"""What a photograph allows one to say: sharpness, compression, drawings, corruptions."""
