"""`python -m synaptic_mesh` is `synaptic`."""

from synaptic_mesh.cli.main import main

if __name__ == "__main__":
    main()
