"""Everything asked of Modal."""
