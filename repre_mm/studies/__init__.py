"""Studies of pre-trained encoders: parts, retrieval, ablations."""
