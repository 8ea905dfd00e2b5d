"""What a model costs on this machine: its time, its memory and its size, of several side by side."""
