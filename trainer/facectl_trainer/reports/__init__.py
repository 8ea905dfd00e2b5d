"""What people read of a run: a page that opens alone, pictures, and a comparison of several runs."""
