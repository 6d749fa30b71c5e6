"""The model's weights, on this machine or in the account."""
