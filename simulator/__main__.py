"""`python -m simulator` is `sim`."""

from simulator.cli import main

if __name__ == "__main__":
    main()
