"""`python -m bench` is the comparison."""

from bench.compare import main

if __name__ == "__main__":
    main()
