"""Speed of the package beside the obvious way and beside FAISS."""
