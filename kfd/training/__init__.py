"""Parts of the detector's training loop."""
