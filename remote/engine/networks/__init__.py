"""The networks of the model: transformer, VAE, encoders."""
