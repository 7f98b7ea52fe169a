"""`python -m bench.gpu`; its command is loaded once everything that it imports can be found."""

import sys

from bench.gpu.missing import lacking, make_importable

if __name__ == "__main__":
    if (advice := lacking()) is not None:
        sys.exit(advice)
    missing = make_importable()

    from bench.gpu.command import main

    sys.exit(main(sys.argv[1:], missing))
