"""Layer 3: from a user's data to a job, and from a job's result to a model that predicts.

Into a job, in the order of processing:
table            CSV bytes become cells with line numbers
columns          cells become features, categories and targets
npz, digits      the same from arrays, and from the bundled data set
sources          which of the three a name means
examples         labelled rows before they are split
prepared         the canonical record of how columns became tensors; kept with the model
scaling          constants fitted once, applied as exact f32 operations
dataset          split, shards, blobs; shards of others decoded and checked
hyperparameters  inner and outer steps, with defaults
job              everything that a sponsor submits

Out of a job:
model            parameters with their record and provenance
safetensors      the container format, read with bounds
model_file       saved and loaded
predict          rows in, labels and probabilities or numbers out, on an injected backend
evaluate         how good that is on labelled rows
"""
