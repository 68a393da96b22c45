"""What is kept on disk: tables in versions that appear whole or not at all."""
