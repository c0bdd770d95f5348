"""The import names of the house: every package is listed, and imports point inward only."""
