"""A repository as one file that other hubs and plain tools can read; docs/portability.md describes it."""
