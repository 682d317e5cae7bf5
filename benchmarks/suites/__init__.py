"""Says which problems are compared, and on which starts or images.

- task: Task: one problem with its rows to report, to tune on and to learn from
- paper: the four problems of the paper's section 4
- policies: attacks for policies that were trained before, with ablations and other victims
- online: classification for methods that learn the gradient while they descend

Each of the last three holds a dict SUITE (the full experiment) and a dict QUICK (minutes), by the problem's name.
"""
