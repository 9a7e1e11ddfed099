#!/bin/sh
# Make a virtual environment at $1 with the newest Python >= 3.11 that can do it, or say what to install.
# PYTHON=/path/to/python overrides the search.
set -u
venv=$1
fits='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
found=
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
	command -v "$candidate" >/dev/null 2>&1 || continue
	if "$candidate" -c "$fits" >/dev/null 2>&1; then
		found=$candidate
		break
	fi
done
if [ -z "$found" ]; then
	echo "No Python >= 3.11 with venv and ensurepip was found. Install one (on Debian or Ubuntu: apt install python3 python3-venv)," >&2
	echo "or name it: make PYTHON=/path/to/python3.12 install" >&2
	exit 1
fi
if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c "$fits" >/dev/null 2>&1; then
	exit 0
fi
rm -rf "$venv"
exec "$found" -m venv "$venv"
