"""Evaluate a trained policy: `python evaluate.py --help`."""

from zo_gym.agents.evaluate import main

if __name__ == "__main__":
    main()
