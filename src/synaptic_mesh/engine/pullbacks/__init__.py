"""How a gradient goes back through each differentiable operation. `table.PULLBACKS` has one entry per operation; the
other modules hold those of one family each."""
