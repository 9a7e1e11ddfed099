"""Submit a job, follow its outer steps, predict: the whole of Synaptic Mesh in one process.

    python examples/train_and_predict.py [DIRECTORY]

The job is the one a mesh of strangers would run; here a mesh of one runs it, so nobody audits it.
"""

import sys
import tempfile
from pathlib import Path

import synaptic_mesh as sm


def main(directory: Path) -> None:
    examples = sm.load_examples("digits")
    short = sm.Hyperparameters(outer_steps=5)
    job = sm.prepare_job(examples, "mlp:32", sm.solo_terms(), seed=7, hyperparameters=short)

    with sm.LocalJob(job, directory) as running:
        for step in running:
            correct, rows, _ = step.metrics
            print(f"outer step {step.step}: root {step.root.hex()[:16]}, {correct} of {rows} held-out digits right")
        finished = running.result()

    model = sm.load_model(finished.model)
    backend = sm.open_backend("wasm")
    held_out = sm.load_labelled(model, "digits")
    answers = sm.predict(model, held_out.x[:5], backend)
    print("predicted:", *answers.labels)
    print("actual:   ", *[model.prepared.target.classes[label] for label in held_out.y[:5]])
    scores = sm.evaluate(model, held_out.x, held_out.y, backend)
    print(f"accuracy on {scores.rows} held-out digits: {scores.accuracy:.3f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
