"""`python -m jaxreason`, the same as `jaxreason`."""

import sys

from jaxreason.cli import main

if __name__ == "__main__":
    sys.exit(main())
