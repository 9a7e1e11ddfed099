"""The law of each operation: arity, dtypes, attributes, and how shape and dtype follow. `table.RULES` has one row per
operation; the other modules hold the rows of one family each."""
