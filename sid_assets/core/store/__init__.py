"""Tables on disk, in versions that appear whole or not at all."""
