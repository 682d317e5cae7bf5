"""Networks: the paper's convolutions, actors and critics of unit directions, and two models of grad f."""
