"""Compare `zo_gym.minimize` with other libraries' optimisers, on problems that mostly nobody here wrote.

`python evaluate.py --peers` runs what is missing and then makes the tables and figures from all stored results:

- targets: the measure, the share of COCO's targets that a run has hit
- oracle: the counted f that every solver gets, and what else a solver is told
- coco, own_problems: problems of the COCO platform, and of this package
- cases: the suites of problems, and the runs on them
- scipy_solvers, library_solvers, spsa: the peers
- solvers: all of them by name, with what each needs
- plan, runner: what is left to do, and one run of it
- summary, wins, tables, figure: what the stored runs amount to
- command: all of it in order
"""
