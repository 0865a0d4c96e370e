"""The card of a trained model: README.md of its folder, from the run folder alone."""
