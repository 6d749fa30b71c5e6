"""The MultiTalk inference engine in plain torch. It knows nothing of clouds, terminals or files of users."""
