"""The commands: from arguments to calls of the package."""
