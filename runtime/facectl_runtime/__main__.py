"""`python -m facectl_runtime` is `facectl`."""

from facectl_runtime.cli import main

if __name__ == "__main__":
    main()
