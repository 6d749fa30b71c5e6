"""What a terminal shows: every view, every command, every question."""
