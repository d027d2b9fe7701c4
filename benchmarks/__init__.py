"""What the whole system costs, and what its parts are worth; nothing of it is needed to use Unmask."""
