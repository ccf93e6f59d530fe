"""`python -m simulator`, and `sim`."""

import signal


def start() -> None:
    """Run the command line. Ctrl-C before it is ready, or after it has answered, ends the process without a word."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from simulator.cli import main

    main()


if __name__ == "__main__":
    start()
