"""Evaluate a trained policy: `python evaluate.py --help`."""

from agents.evaluate import main

if __name__ == "__main__":
    main()
