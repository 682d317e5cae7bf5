"""Compare the gradient estimators' measured bias, variance and cosine with closed forms.

- closed_forms: the moments of every estimator on a polynomial of degree 3
- plan: which of them are measured
- measure: the measurements
- panels: which measurements are drawn in which panel
- figure: the figure, the Markdown table and the CSV
"""
