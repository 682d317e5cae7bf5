"""Train an agent: `python train.py --help`."""

from zo_gym.agents.train import main

if __name__ == "__main__":
    main()
