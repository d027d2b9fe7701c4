"""What kfd.score writes: the lines of a file, the file of lines, and the processes that share the work."""
