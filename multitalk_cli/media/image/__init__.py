"""Pictures: decoding, sizes, framing."""
