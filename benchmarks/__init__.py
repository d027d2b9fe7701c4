"""Speed and memory of the whole system; nothing of it is needed to use Unmask."""
