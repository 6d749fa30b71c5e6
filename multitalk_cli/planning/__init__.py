"""From inputs to windows, time and money."""
