"""The code of study.py: claims and how they are run again. docs/architecture.md says which file does what."""
