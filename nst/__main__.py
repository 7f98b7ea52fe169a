"""`python -m nst` is the command `nst`."""

from nst.cli import main

if __name__ == "__main__":
    main()
