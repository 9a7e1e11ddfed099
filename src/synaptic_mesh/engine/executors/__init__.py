"""How the reference computes each operation, in numpy, one rounding per operation. `table.EXECUTORS` has one entry per
operation; the other modules hold those of one family each."""
