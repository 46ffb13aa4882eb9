def latex_of(*a):
    raise NotImplementedError
