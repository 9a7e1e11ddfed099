"""Fit a network to the digits, stop early, save, load and go on: Model in one page.

python examples/fit_a_model.py [DIRECTORY]
"""

import sys
import tempfile
from pathlib import Path

import synaptic_mesh as sm


def main(directory: Path) -> None:
    digits = sm.load_examples("digits")
    x, y = digits.x / 16, digits.y
    network = sm.Sequential(
        [
            sm.Reshape((1, 8, 8)),
            sm.Conv2d(8, 3, padding="same", activation="relu"),
            sm.MaxPool(2),
            sm.Flatten(),
            sm.Dropout(0.1),
            sm.Dense(10),
        ]
    )
    model = sm.Model(network, optimizer=sm.AdamW(sm.cosine(0.01, steps=400)), seed=1)
    stop = sm.EarlyStopping("val_accuracy", patience=3, restore_best_weights=True)
    print(model.fit(x, y, epochs=8, validation_split=0.2, callbacks=[stop], verbose=2))
    print(model.summary())

    loaded = sm.Model.load(model.save(directory / "digits.safetensors"), backend="reference")
    print("predicted:", *loaded.predict(x[-5:]))
    print("actual:   ", *y[-5:])
    same = (loaded.scores(x[-5:]) == model.scores(x[-5:])).all()
    print("the reference interpreter gives", "the same bits" if same else "other bits")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
