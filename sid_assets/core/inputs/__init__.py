"""What users bring: files, ids, vectors and interactions, validated at the edge."""
