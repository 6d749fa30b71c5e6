"""What `multitalk doctor` looks at."""
