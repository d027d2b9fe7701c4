"""What is asked: the topics of a question, and the parts of a face that it names."""
