"""What nobody has run at full size yet: the list, and the checks of what came of it."""
