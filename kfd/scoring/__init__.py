"""What is said of a face and of a file: second opinions, lines, files of them, shared work."""
