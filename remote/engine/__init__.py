"""The MultiTalk inference engine in plain torch; it knows no cloud, terminal or file of a user."""
