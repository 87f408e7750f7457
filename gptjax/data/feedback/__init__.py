"""What people say of answers, kept in a database, and read as data to learn from."""
