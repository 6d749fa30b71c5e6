"""Drawing: the preview's mouths and strip, and the sheet of a plan."""
