# What is run most: `just` lists it.
export NO_MKDOCS_2_WARNING := "1"

_list:
    @just --list --unsorted

# Tests that take seconds each
test *ARGS:
    python -m pytest -m "not slow and not gpu" {{ ARGS }}

# Proofs that take minutes: kills, whole recipes, the wheel
test-slow *ARGS:
    python -m pytest -m "slow and not gpu" {{ ARGS }}

# Style and formatting
lint:
    ruff check .
    ruff format --check .

# Static types
types:
    mypy

# One benchmark, such as: just bench engine --json
bench NAME *ARGS:
    python benchmarks/{{ NAME }}.py {{ ARGS }}

# The documentation, into site/; broken links and missing pages are errors
docs:
    mkdocs build --strict

# The quickstart: reinforce real handwritten digits and show that it helps
demo *ARGS:
    reinforced run quickstart {{ ARGS }}
