"""A benchmark that a laptop can repeat: plain methods against RePre on photographs, over seeds."""
