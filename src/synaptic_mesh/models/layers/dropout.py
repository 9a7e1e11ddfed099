"""Dropout from a counter-based stream: the same elements fall out on every machine."""

import msgspec
import numpy as np

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.functions.random import dropout, next_step, stream_key
from synaptic_mesh.engine.trace import Tensor
from synaptic_mesh.models.scope import Scope


class Dropout(msgspec.Struct, frozen=True, tag="dropout"):
    """In training each element is 0 with probability `rate`, else divided by 1 - rate; elsewhere x stays.

    State: "step", which counts the training steps. The stream derives from the model's seed and the layer's place. In a
    job, whose steps carry no count, a digest of the batch's rows stands for it: whoever executes the step again has it.
    """

    rate: float

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Raises LocalError unless 0 <= rate < 1."""
        if not 0 <= self.rate < 1:
            raise LocalError(f"Dropout({self.rate}): the rate is at least 0 and below 1")
        if self.rate == 0:
            return x
        key = stream_key(scope.seed, f"{scope.prefix}dropout")
        if scope.is_job:
            return dropout(x, self.rate, key, scope.batch_word()) if scope.is_training else x
        step = scope.state("step", np.zeros((), np.uint32))
        if not scope.is_training:
            return x
        scope.keep("step", next_step(step))
        return dropout(x, self.rate, key, step)
