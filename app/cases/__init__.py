"""Cases: files examined together, noted on, reported on in one document, saved and opened again."""
