"""Figures from stored results.

- catalogue: every figure and table by name, for `python evaluate.py --figure NAME`
- paper_figures: figures 4 to 6 of the paper
- panels: what these figures show, as numbers
- style: the line of each method, and the limits of axes
- gallery: what attacks did to images: image + perturbation = adversarial image
- filmstrip: one attack after another number of queries, with a policy and with ZO-SGD
- pictures: parts that gallery and filmstrip share
"""
