"""Experiments: every method on every problem at equal queries, one result file each; tables and figures from them.

Commands, each `python -m benchmarks.NAME` but for peers:

- paper: the paper's section 4 (`make paper`, `make paper-quick`)
- policies: learned policies against everything else (`make policies`, `make policies-quick`)
- speed: what the package adds to the cost of f and of training (`make bench`)
- peers: other libraries' optimisers against `minimize` (`python evaluate.py --peers`)
- publish: copies a policy of the benchmark into the package, with a card

Parts, in the order in which they are used:

- suites: which problems, and on which starts or images
- solvers: who takes part
- plan, worker, runner: what is left to do, one job of it, and all of it in worker processes
- tuner: the search of step sizes, the same for every method
- recorder, stored_runs: f against queries while a run goes on, and as a file
- results, summary: the files of one problem, and what they amount to in numbers
- tables, bars, orderings: the numbers as tables, beside bounds, and checked
- figures: the files as pictures
- theory: the gradient estimators against closed forms, without results
- seconds_per_step, overhead: the measurements behind speed

The package is in the repository and not in the wheel.
"""
