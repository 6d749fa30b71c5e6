"""Everything that a terminal sees: commands, options, printing, progress, completion."""
