"""Who takes part in a comparison, each solver with what is tuned or trained for it.

- base: Solver, and the Setup and SolverOutcome of its runs
- zeroth_order: the methods of `zo_gym.METHODS`
- baselines: the external optimisers of `zo_gym.BASELINES`
- agents: ZO-RL and its controls; SOLVERS here is everything that `make paper` compares
- guesses: guesses of the gradient, trained or not, and the runs that follow them
- policies: policies that were trained before, with controls and ablations
- policy_training: how those policies are trained
- online: methods that learn the gradient while they descend

Each of these modules but base, guesses and policy_training holds a dict SOLVERS by name, where the runner finds them.
"""
