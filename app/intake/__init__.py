"""What page and service take in, and from whom: names, uploads, the line before the detector, kept cases."""
