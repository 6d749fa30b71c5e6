"""What work says while it runs, and how facts are put into words."""
