"""The part-aware study: what frozen encoders know of parts and of whole objects."""
