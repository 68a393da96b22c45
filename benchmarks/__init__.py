"""How fast and how large: programs that print figures; their last line is one JSON object."""
