"""What must be true of the tables at the end of every transaction, each a function that returns what is not."""
