"""Vision-language encoders behind one interface."""
